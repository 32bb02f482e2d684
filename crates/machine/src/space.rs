//! Hides how a thread gets a network and mounts of its own, and what is changed in them.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, sendto, socket};
use rustix::process::{chroot, fchdir};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::mounts::{bind, make_read_only, unmount};

/// The thread that made it has a network of its own, in which there is only loopback, and mounts of its own. So have
/// the threads and processes that it starts. Both end with the last of them.
pub struct Space(());

impl Space {
    /// Gives them to this thread.
    ///
    /// # Errors
    /// Where the system does not let us: what it takes.
    pub fn enter() -> Result<Self> {
        separate(UnshareFlags::NEWNET | UnshareFlags::NEWNS).context(
            "this test takes a network and a mount namespace of its own, so it has to run as root (in a container, \
             one that is started with --privileged)",
        )?;
        keep_mounts_here().context("mounts of its own")?;
        raise_loopback().context("loopback of a network of its own")?;
        Ok(Self(()))
    }

    /// Runs `work` on a thread that has them.
    ///
    /// # Errors
    /// Those of `work`, or where the system does not let us.
    pub fn within<T: Send + 'static>(
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match std::thread::spawn(move || work(&Self::enter()?)).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// The ports that connections of this network leave from.
    #[must_use]
    pub fn ports(&self) -> Ports {
        Ports(())
    }

    /// Has everybody here see a folder of our own as `/etc`: all files of the real one, but for those that are
    /// written into it afterwards, such as `resolv.conf`. What that takes is kept in `folder`, which is empty.
    ///
    /// # Errors
    /// Where nothing may be mounted here.
    pub fn own_etc(&self, folder: &Path) -> Result<Etc> {
        let (real, own) = (folder.join("real"), folder.join("etc"));
        for made in [&real, &own] {
            std::fs::create_dir_all(made)?;
        }
        bind(Path::new("/etc"), &real)?;
        // Whoever removes `folder` while it is here must not remove the real one.
        make_read_only(&real)?;
        for entry in std::fs::read_dir(&real)? {
            let name = entry?.file_name();
            if name != "resolv.conf" {
                std::os::unix::fs::symlink(real.join(&name), own.join(&name))?;
            }
        }
        bind(&own, Path::new("/etc"))?;
        Ok(Etc { real, own })
    }
}

/// An `/etc` of our own. The real one is there again when it is dropped.
pub struct Etc {
    real: PathBuf,
    own: PathBuf,
}

impl Drop for Etc {
    fn drop(&mut self) {
        // Where it fails, it ends with the mounts of this thread; the real one is read-only meanwhile.
        let _ = unmount(Path::new("/etc"));
        let _ = unmount(&self.real);
    }
}

impl Etc {
    /// Writes a file of it, by a rename as most tools do, so that nobody reads half of it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.own.join(name);
        let new = path.with_extension("new");
        std::fs::write(&new, text)?;
        Ok(std::fs::rename(new, path)?)
    }
}

/// The ports that connections of a network of our own leave from.
pub struct Ports(());

impl Ports {
    const FILE: &'static str = "/proc/sys/net/ipv4/ip_local_port_range";

    /// From now on there are so many, 61,000 and those after it.
    ///
    /// # Errors
    /// Where the system does not let us.
    pub fn only(&self, count: u16) -> Result<()> {
        self.set(61_000, 61_000 + count.saturating_sub(1))
    }

    /// From now on there are as many as usual.
    ///
    /// # Errors
    /// Where the system does not let us.
    pub fn usual(&self) -> Result<()> {
        self.set(32_768, 60_999)
    }

    /// The file is of the network of whoever opens it: to be called on a thread of it.
    fn set(&self, first: u16, last: u16) -> Result<()> {
        std::fs::write(Self::FILE, format!("{first} {last}")).context(Self::FILE)
    }
}

/// Gives this thread, and no other, namespaces of its own.
#[expect(
    deprecated,
    reason = "it is unsafe with UnshareFlags::FILES alone, which is not among the flags of any caller"
)]
fn separate(namespaces: UnshareFlags) -> io::Result<()> {
    Ok(rustix::thread::unshare(namespaces)?)
}

/// Has nothing that this thread mounts be seen by others. In a chroot, `/` is no mount whose ways could be changed: we
/// leave for the root of our mounts, whose ways are, and come back.
fn keep_mounts_here() -> io::Result<()> {
    let change = || {
        let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", all)
    };
    let Err(error) = change() else { return Ok(()) };
    if error != Errno::INVAL {
        return Err(error.into());
    }
    let here = File::open("/")?;
    let own = File::open("/proc/thread-self/ns/mnt")?;
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount))?;
    let changed = change();
    fchdir(&here)?;
    chroot(".")?;
    Ok(changed?)
}

/// Loopback is down in a new network. Says what `ip link set lo up` does: RTM_NEWLINK, with IFF_UP for the first
/// interface (rtnetlink(7)).
fn raise_loopback() -> Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const NLMSG_ERROR: u16 = 2;
    const LOOPBACK: i32 = 1;
    const IFF_UP: u32 = 1;
    let mut message = Vec::new();
    message.extend(32_u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend([0; 8]); // number and sender: the kernel fills in
    message.extend([0; 4]); // any family, any kind
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes()); // which flags are meant
    let kernel: OwnedFd = socket(
        AddressFamily::NETLINK,
        SocketType::RAW,
        None, // NETLINK_ROUTE is protocol 0
    )?;
    sendto(
        &kernel,
        &message,
        SendFlags::empty(),
        &SocketAddrNetlink::new(0, 0),
    )?;
    let mut answer = [0; 128];
    let (length, _) = recv(&kernel, &mut answer, RecvFlags::empty())?;
    ensure!(length >= 20, "the kernel answered {length} bytes");
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    match (kind, code) {
        (NLMSG_ERROR, 0) => Ok(()),
        (NLMSG_ERROR, code) => Err(io::Error::from_raw_os_error(-code).into()),
        (kind, _) => bail!("the kernel answered with a message of kind {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_network_of_its_own_has_loopback_and_as_few_ports_as_is_said() -> Result<()> {
        Space::within(|space| {
            // Port 53 is free there, whatever runs on this machine.
            let listener = TcpListener::bind("127.0.0.1:53")?;
            space.ports().only(2)?;
            let _both = (
                TcpStream::connect(listener.local_addr()?)?,
                TcpStream::connect(listener.local_addr()?)?,
            );
            let third = TcpStream::connect(listener.local_addr()?);
            let error = third.err().context("a third port was found")?;
            ensure!(error.kind() == io::ErrorKind::AddrNotAvailable, "{error}");
            space.ports().usual()?;
            TcpStream::connect(listener.local_addr()?)?;
            Ok(())
        })
    }

    #[test]
    fn an_etc_of_its_own_is_seen_by_its_thread_alone() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("vk-machine-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let before = std::fs::read_to_string("/etc/resolv.conf").ok();
        let (own, real) = (folder.clone(), before.clone());
        Space::within(move |space| {
            let etc = space.own_etc(&own)?;
            for text in ["nameserver 127.0.0.1\n", "nameserver 127.0.0.2\n"] {
                etc.write("resolv.conf", text)?;
                ensure!(std::fs::read_to_string("/etc/resolv.conf")? == text);
            }
            ensure!(std::fs::read_to_string("/etc/passwd")?.contains("root"));
            let written = std::fs::write(own.join("real/vk-machine"), "");
            ensure!(written.is_err(), "the real /etc can be written through it");
            drop(etc);
            ensure!(std::fs::read_to_string("/etc/resolv.conf").ok() == real);
            Ok(())
        })?;
        assert_eq!(std::fs::read_to_string("/etc/resolv.conf").ok(), before);
        // The mounts went with the thread; what is left is links and an empty folder.
        std::fs::remove_dir_all(&folder)?;
        Ok(())
    }
}
