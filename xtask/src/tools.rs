//! Hides where the programs that a check needs come from: found, installed, or an error that
//! names what to install.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::process::getuid;

use crate::command::{cargo, program, run, succeeds, target_dir};

/// A program of the system and the Debian package that has it.
pub(crate) struct SystemTool {
    program: &'static str,
    /// Arguments with which it exits with 0 where it is fit for use.
    probe: &'static [&'static str],
    package: &'static str,
}

/// Compiles what is put before the C library of the real binary.
pub(crate) const CC: SystemTool = SystemTool {
    program: "cc",
    probe: &["--version"],
    package: "build-essential",
};
/// Compiles libFuzzer.
pub(crate) const CXX: SystemTool = SystemTool {
    program: "c++",
    probe: &["--version"],
    package: "build-essential",
};
/// Starts the real binary under a limit.
pub(crate) const SH: SystemTool = SystemTool {
    program: "sh",
    probe: &["-c", "ulimit -n"],
    package: "dash",
};
/// Sends again what a page gives to copy.
pub(crate) const CURL: SystemTool = SystemTool {
    program: "curl",
    probe: &["--version"],
    package: "curl",
};
/// Runs the Node.js receiver.
pub(crate) const NODE: SystemTool = SystemTool {
    program: "node",
    probe: &["--version"],
    package: "nodejs",
};
/// Brings the browser tests' own packages.
pub(crate) const NPM: SystemTool = SystemTool {
    program: "npm",
    probe: &["--version"],
    package: "npm",
};
/// The browser that the settings pages are walked in.
pub(crate) const CHROMIUM: SystemTool = SystemTool {
    program: "chromium",
    probe: &["--version"],
    package: "chromium",
};
/// Runs the Go receiver.
pub(crate) const GO: SystemTool = SystemTool {
    program: "go",
    probe: &["version"],
    package: "golang-go",
};
/// Runs the Python receiver, and schemathesis in a virtual environment.
pub(crate) const PYTHON: SystemTool = SystemTool {
    program: "python3",
    probe: &["-c", "import ensurepip, venv"],
    package: "python3-venv",
};
/// Counts instructions. Whether it can is tried: on a processor it does not know it cannot.
pub(crate) const VALGRIND: SystemTool = SystemTool {
    program: "valgrind",
    probe: &[
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "--quiet",
        "true",
    ],
    package: "valgrind",
};

/// Reads a database beside the service, as docs/operating.md has it; the tests run that page's commands.
pub(crate) const SQLITE3: SystemTool = SystemTool {
    program: "sqlite3",
    probe: &["--version"],
    package: "sqlite3",
};
/// Makes a key, as docs/operating.md has it.
pub(crate) const OPENSSL: SystemTool = SystemTool {
    program: "openssl",
    probe: &["version"],
    package: "openssl",
};
/// A proxy of docs/operating.md.
pub(crate) const NGINX: SystemTool = SystemTool {
    program: "nginx",
    probe: &["-v"],
    package: "nginx-light",
};
/// A proxy of docs/operating.md.
pub(crate) const CADDY: SystemTool = SystemTool {
    program: "caddy",
    probe: &["version"],
    package: "caddy",
};
/// A proxy of docs/operating.md.
pub(crate) const HAPROXY: SystemTool = SystemTool {
    program: "haproxy",
    probe: &["-v"],
    package: "haproxy",
};
/// A proxy of docs/operating.md.
pub(crate) const APACHE: SystemTool = SystemTool {
    program: "apache2",
    probe: &["-v"],
    package: "apache2",
};

impl SystemTool {
    /// What it is called.
    pub(crate) fn name(&self) -> &'static str {
        self.program
    }

    /// The program, installed by apt where it is missing and we may.
    pub(crate) fn get(&self) -> Result<&'static str> {
        if self.is_there() {
            return Ok(self.program);
        }
        if getuid().is_root() && succeeds(program("apt-get", &["--version"])) {
            println!("{} is missing: installing {}", self.program, self.package);
            let apt = |args: &[&str]| {
                let mut command = program("apt-get", args);
                command.env("DEBIAN_FRONTEND", "noninteractive");
                run(command)
            };
            apt(&["update", "-q"])?;
            apt(&[
                "install",
                "-y",
                "-q",
                "--no-install-recommends",
                self.package,
            ])?;
        }
        if !self.is_there() {
            bail!(
                "this check needs {}, which is not here; install it (Debian: apt-get install {}) \
                 and run again",
                self.program,
                self.package
            );
        }
        Ok(self.program)
    }

    fn is_there(&self) -> bool {
        succeeds(program(self.program, self.probe))
    }
}

/// The version of cargo-deny that `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

/// `cargo-deny`, built once into the target directory.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    let tools = target_dir().join("tools");
    let deny = tools.join("bin/cargo-deny");
    let is_it = |deny: &PathBuf| {
        Command::new(deny)
            .arg("--version")
            .output()
            .is_ok_and(|output| {
                String::from_utf8_lossy(&output.stdout).trim() == format!("cargo-deny {CARGO_DENY}")
            })
    };
    if !is_it(&deny) {
        println!(
            "cargo-deny {CARGO_DENY} is missing: building it once into {}",
            tools.display()
        );
        let mut install = cargo(&["install", "cargo-deny", "--locked", "--version", CARGO_DENY]);
        // Unoptimised: it is built once and runs for a second, so building it is all the time
        // there is to save.
        install.arg("--debug").arg("--root").arg(&tools);
        install.env("CARGO_TARGET_DIR", tools.join("build"));
        run(install).context("cargo-deny could not be built")?;
        // Half a gigabyte that nobody needs again.
        std::fs::remove_dir_all(tools.join("build")).context("cannot remove its build")?;
    }
    Ok(deny)
}

/// The version of schemathesis that the check is tuned to.
const SCHEMATHESIS: &str = "4.32.5";

/// `schemathesis`, in a virtual environment in the target directory.
pub(crate) fn schemathesis() -> Result<PathBuf> {
    let venv = target_dir().join("tools/schemathesis");
    let tool = venv.join("bin/schemathesis");
    let is_it = |tool: &PathBuf| {
        Command::new(tool)
            .arg("--version")
            .output()
            .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(SCHEMATHESIS))
    };
    if !is_it(&tool) {
        let python = PYTHON.get()?;
        println!(
            "schemathesis {SCHEMATHESIS} is missing: installing it into {}",
            venv.display()
        );
        let mut make = program(python, &["-m", "venv", "--clear"]);
        make.arg(&venv);
        run(make)?;
        run(program(
            venv.join("bin/pip"),
            &[
                "install",
                "--quiet",
                "--disable-pip-version-check",
                &format!("schemathesis=={SCHEMATHESIS}"),
            ],
        ))
        .context("schemathesis could not be installed from PyPI")?;
    }
    Ok(tool)
}
