//! Hides how a library is made that is put before the C library of the real binary.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Compiles a C source of this crate (`power/disk.c`, say) into `folder`: what `LD_PRELOAD` wants.
///
/// # Errors
/// Where there is no C compiler, or it has something to say.
pub fn compile(source: &str, folder: &Path) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let name = path.file_stem().context("a source has a name")?;
    let library = folder.join(name).with_extension("so");
    let mut compile = Command::new("cc");
    compile.args(["-O2", "-Wall", "-shared", "-fPIC", "-o"]);
    let compiled = compile.arg(&library).arg(&path).arg("-ldl").output();
    let compiled = compiled.context("this test needs a C compiler, called cc")?;
    let said = String::from_utf8_lossy(&compiled.stderr);
    ensure!(
        compiled.status.success(),
        "{source} does not compile: {said}"
    );
    Ok(library)
}
