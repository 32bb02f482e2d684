//! Hides how file systems are mounted, changed and taken away.

use std::ffi::CString;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{StatVfs, statvfs};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount};

const NEEDS: &str = "This test mounts a file system, so it has to run as root (in a container, one that is started with \
                     --privileged)";

/// Mounts a file system in memory with these options (`size=1m`).
///
/// # Errors
/// Where nothing may be mounted here.
pub fn tmpfs(folder: &Path, options: &str) -> Result<()> {
    let options = CString::new(options)?;
    mount(
        "tmpfs",
        folder,
        "tmpfs",
        MountFlags::empty(),
        options.as_c_str(),
    )
    .with_context(|| format!("mounting a tmpfs at {}. {NEEDS}", folder.display()))
}

/// Mounts it again with other options; read-only where it is said.
///
/// # Errors
/// Where it cannot be: a file is open for writing, or less room is asked for than is used.
pub fn remount(folder: &Path, options: &str, read_only: bool) -> Result<()> {
    let options = CString::new(options)?;
    let flags = match read_only {
        true => MountFlags::RDONLY,
        false => MountFlags::empty(),
    };
    mount_remount(folder, flags, options.as_c_str())
        .with_context(|| format!("mounting {} again", folder.display()))
}

/// Shows a file or folder at another place too, over what is there.
///
/// # Errors
/// Where nothing may be mounted here.
pub fn bind(from: &Path, to: &Path) -> Result<()> {
    mount_bind(from, to)
        .with_context(|| format!("binding {} to {}. {NEEDS}", from.display(), to.display()))
}

/// Lets nobody write a file that was bound, not even root.
///
/// # Errors
/// Where it is not bound.
pub fn make_read_only(bound: &Path) -> Result<()> {
    mount_remount(bound, MountFlags::BIND | MountFlags::RDONLY, c"")
        .with_context(|| format!("making {} read-only", bound.display()))
}

/// Takes away what is mounted, at once for those who look for it by its path.
///
/// # Errors
/// Where nothing is mounted.
pub fn unmount(path: &Path) -> Result<()> {
    rustix::mount::unmount(path, UnmountFlags::DETACH)
        .with_context(|| format!("unmounting {}", path.display()))
}

/// How many bytes are free on the file system of `path`.
///
/// # Errors
/// Where it cannot be asked.
pub fn free(path: &Path) -> Result<u64> {
    let system = asked(path)?;
    Ok(system.f_bavail * system.f_frsize)
}

/// How many bytes of the file system of `path` are used.
///
/// # Errors
/// Where it cannot be asked.
pub fn used(path: &Path) -> Result<u64> {
    let system = asked(path)?;
    Ok((system.f_blocks - system.f_bfree) * system.f_frsize)
}

fn asked(path: &Path) -> Result<StatVfs> {
    statvfs(path).with_context(|| format!("the file system of {}", path.display()))
}
