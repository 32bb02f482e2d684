//! Hides how a database file comes to have the tables this program expects, or is refused.

use rusqlite::Connection;

use crate::error::OpenError;

/// Marks a file as ours ("VKWH"), so that no other program's database is ever touched.
pub(super) const APPLICATION_ID: i32 = 0x564b_5748;

/// Every step from an empty file on; the n-th leads to version n. Never changed once released.
pub(super) const STEPS: &[&str] = &[
    include_str!("migrations/0001_start.sql"),
    include_str!("migrations/0002_rows_once.sql"),
    include_str!("migrations/0003_sealed_secrets.sql"),
    include_str!("migrations/0004_audit_log.sql"),
    include_str!("migrations/0005_pages.sql"),
    include_str!("migrations/0006_sent_as.sql"),
    include_str!("migrations/0007_actor_names.sql"),
];

/// The version this program writes.
pub(super) const VERSION: usize = STEPS.len();

/// Brings the database up to [`VERSION`], each step in a transaction of its own.
pub(super) fn migrate(connection: &mut Connection, name: &str) -> Result<(), OpenError> {
    let trouble = |error: rusqlite::Error| super::cannot_open(name, &error);
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let application = number("PRAGMA application_id").map_err(trouble)?;
    let version = number("PRAGMA user_version").map_err(trouble)?;
    let tables = number("SELECT count(*) FROM sqlite_schema").map_err(trouble)?;
    let is_new = (application, version, tables) == (0, 0, 0);
    if !is_new && application != i64::from(APPLICATION_ID) {
        return Err(OpenError::new(format!(
            "{name} is a database of another program. It was left as it is; \
             name another file in --database-url."
        )));
    }
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > VERSION {
        return Err(OpenError::new(format!(
            "{name} was written by a newer version of this program (its format is {version}, this \
             program knows up to {VERSION}). It was left as it is; start the newer program, or \
             restore a backup made before the upgrade."
        )));
    }
    let meta = number("SELECT count(*) FROM sqlite_schema WHERE name = 'meta'").map_err(trouble)?;
    if !is_new && (version == 0 || meta == 0) {
        return Err(super::damaged_file(name)); // the first step makes the table and writes its version
    }
    for (index, step) in STEPS.iter().enumerate().skip(version) {
        let transaction = connection.transaction().map_err(trouble)?;
        transaction.execute_batch(step).map_err(trouble)?;
        transaction
            .pragma_update(None, "application_id", APPLICATION_ID)
            .and_then(|()| transaction.pragma_update(None, "user_version", (index + 1) as i64))
            .map_err(trouble)?;
        transaction.commit().map_err(trouble)?;
        if !is_new {
            tracing::info!(
                version = index + 1,
                "the store's format was brought up to date"
            );
        }
    }
    Ok(())
}
