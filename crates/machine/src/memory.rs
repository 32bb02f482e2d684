//! Hides how Linux limits the memory of a service, and tells what it had of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// A limit of memory, under which a service can be started. It is a control group of our own: one of the first
/// version where this machine has that, else one of the second.
pub struct MemoryLimit {
    group: PathBuf,
    version: Version,
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

impl MemoryLimit {
    /// A limit of so many bytes.
    ///
    /// # Errors
    /// Where no control group can be made here: what is missing.
    pub fn new(bytes: u64) -> Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let name = format!("vk-tests-{}", std::process::id());
        let first = mount_point(&mounts, |kind, options| {
            kind == "cgroup" && options.split(',').any(|one| one == "memory")
        });
        let (group, version) = match first {
            // Below our own, so that what limits us limits it too.
            Some(mount) => (
                below(&mount, &own_path(&own, "memory")?, &name),
                Version::One,
            ),
            None => {
                let mount = mount_point(&mounts, |kind, _| kind == "cgroup2");
                let mount =
                    mount.context("this test limits memory by a control group: none is mounted")?;
                (
                    sharing_group(&mount, &own_path(&own, "")?)?.join(&name),
                    Version::Two,
                )
            }
        };
        fs::create_dir(&group).with_context(|| {
            format!(
                "this test limits memory by the control group {}, which cannot be made: run it as root",
                group.display()
            )
        })?;
        let limit = Self { group, version };
        match version {
            Version::One => limit.set("memory.limit_in_bytes", bytes)?,
            Version::Two => {
                limit.set("memory.max", bytes)?;
                // Not where the system has no swap.
                let swap = limit.group.join("memory.swap.max");
                if swap.exists() {
                    fs::write(swap, "0")?;
                }
            }
        }
        Ok(limit)
    }

    fn set(&self, name: &str, bytes: u64) -> Result<()> {
        let path = self.group.join(name);
        fs::write(&path, bytes.to_string())
            .with_context(|| format!("the memory controller has no {}", path.display()))
    }

    /// The program that starts another one under the limit.
    pub fn starter(&self) -> [String; 3] {
        let enter = format!(
            "echo $$ > '{}/cgroup.procs' && exec \"$0\" \"$@\"",
            self.group.display()
        );
        ["sh".to_owned(), "-c".to_owned(), enter]
    }

    /// The most that was in use under it, in bytes, with what the system keeps of files and gives back where
    /// it is short.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn peak(&self) -> Result<u64> {
        let name = match self.version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        };
        let text = fs::read_to_string(self.group.join(name))
            .with_context(|| format!("{name} of the group"))?;
        Ok(text.trim().parse()?)
    }

    /// How many processes were killed since there was no more.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn kills(&self) -> Result<u64> {
        let name = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(self.group.join(name))?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(count
            .with_context(|| format!("{name} without oom_kill"))?
            .trim()
            .parse()?)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // Best effort: an empty group limits nobody.
        let _ = fs::remove_dir(&self.group);
    }
}

/// Where a file system is mounted whose kind and options are these.
fn mount_point(mounts: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (place, kind, options) = (words.next()?, words.next()?, words.next()?);
        wanted(kind, options).then(|| PathBuf::from(place))
    })
}

/// The path of our own group, of this controller; of the second version where it is empty.
fn own_path(own: &str, controller: &str) -> Result<String> {
    let path = own.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers
            .split(',')
            .any(|one| one == controller)
            .then_some(path)
    });
    Ok(path
        .context("our own control group is not known")?
        .to_owned())
}

fn below(mount: &Path, own: &str, name: &str) -> PathBuf {
    let own = mount.join(own.trim_start_matches('/'));
    // In a container our path may be one of the machine's, of which we see the end only.
    if own.is_dir() {
        own.join(name)
    } else {
        mount.join(name)
    }
}

/// The nearest group above us that shares out memory: in the second version, groups with processes in them
/// may not.
fn sharing_group(mount: &Path, own: &str) -> Result<PathBuf> {
    let shares = |group: &Path, what| {
        let list = fs::read_to_string(group.join(what)).unwrap_or_default();
        list.split_whitespace().any(|one| one == "memory")
    };
    let own = mount.join(own.trim_start_matches('/'));
    let mut above = own.ancestors().take_while(|group| group.starts_with(mount));
    if let Some(group) = above.find(|group| shares(group, "cgroup.subtree_control")) {
        return Ok(group.to_owned());
    }
    ensure!(
        shares(mount, "cgroup.controllers"),
        "this test limits memory by a control group, and the memory controller is not to be had at {}",
        mount.display()
    );
    if let Err(error) = fs::write(mount.join("cgroup.subtree_control"), "+memory") {
        bail!(
            "this test limits memory by a control group, and {} does not let us: {error}. Run it as root, in a \
             container with `--cgroupns=private --privileged`",
            mount.display()
        );
    }
    Ok(mount.to_owned())
}
