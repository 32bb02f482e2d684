//! Hides what the checks need of the machine, and how each need is tried before the first check begins.
//!
//! A need is tried by doing the thing itself, not by looking whether it is configured. What apt can install is
//! installed. Everything that is still missing is named at once, each with how to get it, and no check is run: a run
//! of an hour that ends with "mount: permission denied" helps nobody.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use machine::{MemoryLimit, Space};
use rustix::process::{Resource, getrlimit, getuid};

use crate::command::{cargo, output_of, target_dir};
use crate::tools::{self, SystemTool};

/// Something that a check cannot do without.
pub(crate) enum Need {
    /// A program, which apt may bring.
    Tool(&'static SystemTool),
    /// Something of the machine.
    Machine(Machine),
}

/// Something of the machine that no package brings.
pub(crate) struct Machine {
    name: &'static str,
    /// Tries it; what was found.
    probe: fn() -> Result<String>,
    /// What to do where it is missing.
    how: &'static str,
}

const ROOT: Need = Need::Machine(Machine {
    name: "root",
    probe: || {
        ensure!(
            getuid().is_root(),
            "this user has the id {}",
            getuid().as_raw()
        );
        Ok("yes".to_owned())
    },
    how: "Run it as root: tests mount small file systems, make namespaces and limit memory. In a container, start \
          that with --privileged.",
});

const MOUNTS: Need = Need::Machine(Machine {
    name: "small file systems",
    probe: || {
        let folder = std::env::temp_dir().join(format!("vk-xtask-needs-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let tried = mounts(&folder);
        std::fs::remove_dir_all(&folder)?;
        tried
    },
    how: "Tests fill a tmpfs, and make files unwritable by a bind mount. In a container, start that with --privileged \
          (or with --cap-add SYS_ADMIN and an AppArmor profile that lets it mount).",
});

const NAMESPACES: Need = Need::Machine(Machine {
    name: "namespaces",
    probe: || {
        Space::within(|space| {
            let listener = TcpListener::bind("127.0.0.1:53").context("port 53 of a network")?;
            TcpStream::connect(listener.local_addr()?).context("loopback of a network")?;
            space.ports().usual()?;
            Ok("network and mounts".to_owned())
        })
    },
    how: "Tests take ports and name servers away from the service in a network and a mount namespace of its own \
          (CONFIG_NET_NS, and CAP_SYS_ADMIN). In a container, start that with --privileged.",
});

const CONTROL_GROUP: Need = Need::Machine(Machine {
    name: "control group",
    probe: || {
        let limit = MemoryLimit::new(64 << 20)?;
        ensure!(
            limit.peak().is_ok(),
            "the group does not tell how much memory it has used at most (Linux 5.19)"
        );
        Ok("limits memory".to_owned())
    },
    how: "The overload test limits memory by a control group. Where none is mounted: `mount -t cgroup2 none \
          /sys/fs/cgroup`, or, on a machine whose memory controller is one of the first version, `mkdir \
          /sys/fs/cgroup/memory && mount -t cgroup -o memory none /sys/fs/cgroup/memory`. In a container, start that \
          with --privileged --cgroupns=private.",
});

const LOOPBACK: Need = Need::Machine(Machine {
    name: "loopback",
    probe: || {
        for address in ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"] {
            TcpListener::bind(address).with_context(|| format!("TCP at {address}"))?;
            UdpSocket::bind(address).with_context(|| format!("UDP at {address}"))?;
        }
        Ok("127.0.0.0/8 and ::1".to_owned())
    },
    how: "Bring it up (`ip link set lo up`), with IPv6 (`sysctl net.ipv6.conf.lo.disable_ipv6=0`).",
});

/// What the street of hostile receivers opens at once.
const FILES: u64 = 8192;

const OPEN_FILES: Need = Need::Machine(Machine {
    name: "open files",
    probe: || match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < FILES => bail!("the hard limit is {most}, and {FILES} are needed"),
        Some(most) => Ok(format!("{most} at most")),
        None => Ok("no limit".to_owned()),
    },
    how: "Raise the hard limit (`ulimit -Hn 8192` as root; in a container, `--ulimit nofile=8192`).",
});

/// What the tests, their service and a linker have at most at a time.
const MEMORY: u64 = 3_000_000_000;

const FREE_MEMORY: Need = Need::Machine(Machine {
    name: "memory",
    probe: || {
        let info = std::fs::read_to_string("/proc/meminfo").context("is /proc mounted?")?;
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"));
        let kib: u64 = line
            .and_then(|line| line.split_whitespace().next())
            .context("MemAvailable")?
            .parse()?;
        enough("available", kib * 1024, MEMORY)
    },
    how: "End something else, or take a larger machine.",
});

/// What all that is built takes, with the tools that are built for it.
const BUILT: u64 = 14_000_000_000;
/// What has to be free also where all is built, and what the tests leave in the temporary folder at most at a time.
const LEFT: u64 = 2_000_000_000;

const FREE_DISK: Need = Need::Machine(Machine {
    name: "disk",
    probe: || {
        let target = target_dir();
        std::fs::create_dir_all(&target)?;
        let wanted = BUILT.saturating_sub(size_of(&target)).max(LEFT);
        let told = enough(
            &format!("free at {}", target.display()),
            machine::free(&target)?,
            wanted,
        )?;
        let temporary = std::env::temp_dir();
        enough(
            &format!("free at {}", temporary.display()),
            machine::free(&temporary)?,
            LEFT,
        )?;
        Ok(told)
    },
    how: "Make room, or say where else to build (CARGO_TARGET_DIR) and to put temporary files (TMPDIR).",
});

const PROC: Need = Need::Machine(Machine {
    name: "/proc",
    probe: || {
        std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
        // Of the network namespace of whoever looks.
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
            .context("/proc/sys/net")?;
        Ok("mounted".to_owned())
    },
    how: "`mount -t proc proc /proc`: tests read there what the service has in use.",
});

const FORMATTER: Need = component(
    "rustfmt",
    || cargo_says("fmt"),
    "`rustup component add rustfmt`",
);
const LINTER: Need = component(
    "clippy",
    || cargo_says("clippy"),
    "`rustup component add clippy`",
);

const fn component(name: &'static str, probe: fn() -> Result<String>, how: &'static str) -> Need {
    Need::Machine(Machine { name, probe, how })
}

/// What each check needs beside Rust and a C compiler, which have built this program.
pub(crate) fn of(check: &str) -> &'static [&'static Need] {
    const CC: Need = Need::Tool(&tools::CC);
    const CXX: Need = Need::Tool(&tools::CXX);
    const SH: Need = Need::Tool(&tools::SH);
    const NODE: Need = Need::Tool(&tools::NODE);
    const NPM: Need = Need::Tool(&tools::NPM);
    const CHROMIUM: Need = Need::Tool(&tools::CHROMIUM);
    const CURL: Need = Need::Tool(&tools::CURL);
    const GO: Need = Need::Tool(&tools::GO);
    const PYTHON: Need = Need::Tool(&tools::PYTHON);
    const VALGRIND: Need = Need::Tool(&tools::VALGRIND);
    const SQLITE3: Need = Need::Tool(&tools::SQLITE3);
    const OPENSSL: Need = Need::Tool(&tools::OPENSSL);
    const NGINX: Need = Need::Tool(&tools::NGINX);
    const CADDY: Need = Need::Tool(&tools::CADDY);
    const HAPROXY: Need = Need::Tool(&tools::HAPROXY);
    const APACHE: Need = Need::Tool(&tools::APACHE);
    match check {
        "format" => &[&FORMATTER],
        "lint" => &[&FREE_DISK, &LINTER],
        "deny" | "advisories" | "docs" => &[&FREE_DISK],
        "unit" => &[
            &ROOT,
            &PROC,
            &FREE_DISK,
            &FREE_MEMORY,
            &OPEN_FILES,
            &LOOPBACK,
            &MOUNTS,
            &NAMESPACES,
            &CONTROL_GROUP,
            &CC,
            &SH,
            &SQLITE3,
            &OPENSSL,
        ],
        "proxies" => &[&LOOPBACK, &NGINX, &CADDY, &HAPROXY, &APACHE, &CURL],
        "receivers" => &[&LOOPBACK, &NODE, &PYTHON, &GO],
        "api" => &[&FREE_DISK, &LOOPBACK, &PYTHON],
        "browser" => &[
            &FREE_DISK, &LOOPBACK, &NODE, &NPM, &CHROMIUM, &CURL, &PYTHON, &GO, &SH,
        ],
        "fuzz" => &[&FREE_DISK, &CXX],
        "instructions" => &[&FREE_DISK, &VALGRIND],
        _ => &[],
    }
}

/// Tries what these checks need, installs what apt has, and says what was found.
///
/// # Errors
/// Where something is missing: all of it, each with how to get it.
pub(crate) fn meet(checks: &[&str]) -> Result<()> {
    println!("== needs: what these checks need of the machine");
    let mut needs: Vec<&'static Need> = Vec::new();
    for need in checks.iter().flat_map(|check| of(check)) {
        if !needs.iter().any(|known| known.name() == need.name()) {
            needs.push(need);
        }
    }
    let mut missing = Vec::new();
    for need in needs {
        match need.meet() {
            Ok(found) => println!("{:20} {found}", need.name()),
            Err(error) => {
                println!("{:20} MISSING: {error:#}", need.name());
                let how = need
                    .how()
                    .map(|how| format!("\n    {how}"))
                    .unwrap_or_default();
                missing.push(format!("- {}: {error:#}{how}", need.name()));
            }
        }
    }
    ensure!(
        missing.is_empty(),
        "this machine lacks what the checks need, and none was run. Checks that need less can be run alone with \
         --only CHECK.\n{}",
        missing.join("\n")
    );
    Ok(())
}

impl Need {
    fn name(&self) -> &'static str {
        match self {
            Self::Tool(tool) => tool.name(),
            Self::Machine(machine) => machine.name,
        }
    }

    fn meet(&self) -> Result<String> {
        match self {
            Self::Tool(tool) => tool.get().map(|_| "there".to_owned()),
            Self::Machine(machine) => (machine.probe)(),
        }
    }

    /// What to do where it is missing; a tool's own error says so already.
    fn how(&self) -> Option<&'static str> {
        match self {
            Self::Tool(_) => None,
            Self::Machine(machine) => Some(machine.how),
        }
    }
}

/// A tmpfs that can be written, and a file of it that can not.
fn mounts(folder: &Path) -> Result<String> {
    machine::tmpfs(folder, "size=1m")?;
    let tried = (|| {
        let file = folder.join("file");
        std::fs::write(&file, "written").context("writing to a tmpfs")?;
        std::fs::File::open(&file)?.sync_all().context("fsync")?;
        machine::bind(&file, &file)?;
        machine::make_read_only(&file)?;
        ensure!(
            std::fs::write(&file, "again").is_err(),
            "a read-only file was written"
        );
        machine::unmount(&file)?;
        Ok("tmpfs and bind mounts".to_owned())
    })();
    machine::unmount(folder)?;
    tried
}

fn enough(what: &str, has: u64, wanted: u64) -> Result<String> {
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    let told = format!("{:.1} GB {what}", gigabytes(has));
    ensure!(
        has >= wanted,
        "{told}, and {:.1} GB are needed",
        gigabytes(wanted)
    );
    Ok(told)
}

/// The size of all files below, as far as they can be read: files come and go while others build.
fn size_of(folder: &Path) -> u64 {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    let mut size = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => size += entry.metadata().map_or(0, |data| data.len()),
                Err(_) => {}
            }
        }
    }
    size
}

/// The version of one of cargo's own parts.
fn cargo_says(part: &str) -> Result<String> {
    Ok(output_of(cargo(&[part, "--version"]))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::CHECKS;

    #[test]
    fn every_check_says_what_it_needs() {
        for check in CHECKS {
            assert!(!of(check.name).is_empty(), "{}", check.name);
        }
    }

    #[test]
    fn what_is_missing_is_named_with_how_to_get_it() {
        let error = enough("free at /somewhere", 1_500_000_000, 14_000_000_000);
        let told = error.expect_err("it is not enough").to_string();
        assert_eq!(told, "1.5 GB free at /somewhere, and 14.0 GB are needed");
        assert!(enough("free", 14, 14).is_ok());
    }
}
