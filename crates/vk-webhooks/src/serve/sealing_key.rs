//! Hides where the keys come from that signing secrets are sealed with: the environment, a file, or made
//! at first start.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use store::Keyring;
use tracing::{info, warn};

/// The variable that brings the keys.
const VARIABLE: &str = "VK_WEBHOOKS_SECRETS_KEY";

/// The keys: those in the environment, else those in the file. Where there is no file one is made, unless
/// the database already has secrets that are sealed with another.
pub(super) fn find(file: &Path, database: &Path) -> Result<Keyring> {
    match std::env::var(VARIABLE) {
        Ok(keys) if !keys.is_empty() => {
            return Keyring::parse(&keys).map_err(|why| {
                anyhow!("{VARIABLE} cannot be used: {why}. It holds what a key file would")
            });
        }
        Ok(_) | Err(std::env::VarError::NotPresent) => {}
        Err(std::env::VarError::NotUnicode(_)) => bail!("{VARIABLE} is not text"),
    }
    let name = file.display();
    match std::fs::read_to_string(file) {
        Ok(keys) => {
            warn_where_others_may_read(file)?;
            Keyring::parse(&keys).map_err(|why| {
                anyhow!(
                    "the key file {name} cannot be used: {why}. It was left as it is; restore it from \
                     its backup"
                )
            })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make(file, database),
        Err(error) => Err(error).with_context(|| {
            format!(
                "the key file {name} cannot be read. See that the user this service runs as may"
            )
        }),
    }
}

fn make(file: &Path, database: &Path) -> Result<Keyring> {
    let name = file.display();
    if store::holds_sealed_secrets(database)? {
        bail!(
            "the key file {name} is not there, but the signing secrets in {} are sealed with a key. \
             Restore the file from its backup, or name where it is in secrets_key_file. If it is lost, \
             so are the secrets: start with a new database. Nothing was changed",
            database.display()
        );
    }
    let line = Keyring::new_line().map_err(|why| anyhow!("cannot make a key: {why}"))?;
    let keyring = Keyring::parse(&line).map_err(|why| anyhow!("the key just made: {why}"))?;
    // Before anything is sealed with it.
    write_durably(file, &format!("{}\n", line.as_str())).with_context(|| {
        format!(
            "the key file {name} cannot be written. Signing secrets are sealed in the database with the \
             key in it: see that its folder can be written, or name another place in secrets_key_file"
        )
    })?;
    info!(
        "made the key that signing secrets are sealed with, in {name}: keep a copy of it, apart from the \
         backups of the database"
    );
    Ok(keyring)
}

/// A new file that only its owner may read, on disk with its entry in the folder.
fn write_durably(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| File::open(folder)?.sync_all());
    if written.is_err() {
        // It is ours, and nothing is sealed with it: what a full disk left of it would be taken for a key
        // file that is damaged. Where it cannot be removed either, the next start says so.
        let _ = std::fs::remove_file(path);
    }
    written
}

fn warn_where_others_may_read(file: &Path) -> Result<()> {
    let name = file.display();
    let metadata = std::fs::metadata(file).with_context(|| format!("the key file {name}"))?;
    let others = metadata.permissions().mode() & 0o077;
    if others != 0 {
        warn!(
            "the key file {name} may be read by other users of this machine: take that from them with \
             `chmod 600`"
        );
    }
    Ok(())
}
