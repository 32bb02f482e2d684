//! Hides rusqlite: values in and out, `$n` for `?n`, prepared statements, and what an error means.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, ErrorCode};

use super::outside::SharedMemory;
use crate::driver::Query;
use crate::error::StoreError;
use crate::value::{Rows, Value};

/// More than the store's statements, so that none is ever prepared twice.
const STATEMENTS_KEPT: usize = 256;

/// One connection to the database file.
pub(super) struct Connection {
    pub(super) raw: rusqlite::Connection,
    /// SQLite's spelling of each text of the program, by where the text stands in memory.
    spelled: RefCell<HashMap<(usize, usize), Arc<str>>>,
    /// Closed after `raw`: see there.
    pub(super) shared_memory: Option<Arc<SharedMemory>>,
}

impl Connection {
    pub(super) fn new(raw: rusqlite::Connection) -> Self {
        raw.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        Self {
            raw,
            spelled: RefCell::default(),
            shared_memory: None,
        }
    }

    fn prepare(&self, sql: &'static str) -> rusqlite::Result<CachedStatement<'_>> {
        let place = (sql.as_ptr() as usize, sql.len());
        let spelled = self
            .spelled
            .borrow_mut()
            .entry(place)
            .or_insert_with(|| respell(sql).into())
            .clone();
        self.raw.prepare_cached(&spelled)
    }

    /// Runs queries on one view of the database.
    pub(super) fn read(&self, queries: &[Query]) -> rusqlite::Result<Vec<Rows>> {
        if let [query] = queries {
            return Ok(vec![self.query(query)?]);
        }
        self.raw.prepare_cached("BEGIN")?.execute([])?;
        let answers: rusqlite::Result<Vec<_>> =
            queries.iter().map(|query| self.query(query)).collect();
        // Nothing was written; where even this fails, so has the read, or the next one will.
        let ended = self.raw.prepare_cached("COMMIT")?.execute([]);
        answers.and_then(|answers| ended.map(|_| answers))
    }

    fn query(&self, query: &Query) -> rusqlite::Result<Rows> {
        let mut statement = self.prepare(query.sql)?;
        bind(&mut statement, &query.values)?;
        let width = statement.column_count();
        let mut rows = Rows::new(width);
        let mut found = statement.raw_query();
        while let Some(row) = found.next()? {
            if !rows.is_empty() && rows.bytes() >= query.max_bytes {
                rows.cut = true;
                break;
            }
            for column in 0..width {
                rows.push(owned(row.get_ref(column)?, column)?);
            }
        }
        Ok(rows)
    }

    /// How many pages the write-ahead log holds, and how many of them are in the database too.
    pub(super) fn log_state(&self) -> rusqlite::Result<(i64, i64)> {
        self.checkpoint_with("PRAGMA wal_checkpoint(NOOP)")
    }

    /// Copies what it can from the log into the database without waiting for anyone.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<(i64, i64)> {
        self.checkpoint_with("PRAGMA wal_checkpoint(PASSIVE)")
    }

    /// Copies all of the log into the database and empties it.
    pub(super) fn checkpoint_wholly(&self) -> rusqlite::Result<(i64, i64)> {
        self.checkpoint_with("PRAGMA wal_checkpoint(TRUNCATE)")
    }

    /// As [`Connection::checkpoint_wholly`], without waiting long for anyone.
    pub(super) fn checkpoint_wholly_at_once(&self) -> rusqlite::Result<(i64, i64)> {
        self.raw.busy_timeout(Duration::from_millis(100))?;
        let done = self.checkpoint_wholly();
        self.raw.busy_timeout(super::BUSY_PATIENCE)?;
        done
    }

    fn checkpoint_with(&self, pragma: &'static str) -> rusqlite::Result<(i64, i64)> {
        self.raw
            .prepare_cached(pragma)?
            .query_row([], |row| Ok((row.get(1)?, row.get(2)?)))
    }
}

/// The statements used in one transaction, found again without hashing their text.
pub(super) struct Statements<'c> {
    connection: &'c Connection,
    ready: Vec<(&'static str, CachedStatement<'c>)>,
}

impl<'c> Statements<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            ready: Vec::with_capacity(16),
        }
    }

    /// Runs a statement; how many rows it changed.
    pub(super) fn run(&mut self, sql: &'static str, values: &[Value]) -> rusqlite::Result<u64> {
        let known = self
            .ready
            .iter()
            .position(|(text, _)| std::ptr::eq(*text, sql));
        let at = match known {
            Some(at) => at,
            None => {
                self.ready.push((sql, self.connection.prepare(sql)?));
                self.ready.len() - 1
            }
        };
        let statement = &mut self.ready[at].1;
        bind(statement, values)?;
        statement.raw_execute().map(|changed| changed as u64)
    }
}

fn bind(statement: &mut CachedStatement<'_>, values: &[Value]) -> rusqlite::Result<()> {
    let expected = statement.parameter_count();
    if expected != values.len() {
        return Err(rusqlite::Error::InvalidParameterCount(
            values.len(),
            expected,
        ));
    }
    for (index, value) in values.iter().enumerate() {
        let value = match value {
            Value::Null => ValueRef::Null,
            Value::Int(value) => ValueRef::Integer(*value),
            Value::Word(text) => ValueRef::Text(text.as_bytes()),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Shared(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        };
        statement.raw_bind_parameter(index + 1, ToSqlOutput::Borrowed(value))?;
    }
    Ok(())
}

fn owned(value: ValueRef<'_>, column: usize) -> rusqlite::Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Text(text) => Value::Text(
            std::str::from_utf8(text)
                .map_err(|error| rusqlite::Error::Utf8Error(column, error))?
                .into(),
        ),
        ValueRef::Blob(bytes) => Value::Bytes(Bytes::copy_from_slice(bytes)),
        ValueRef::Real(_) => {
            return Err(rusqlite::Error::InvalidColumnType(
                column,
                String::new(),
                value.data_type(),
            ));
        }
    })
}

/// `$1` means "the first value" to PostgreSQL and "a name" to SQLite, which says `?1`. The store's
/// statements have no `$` in a literal.
fn respell(sql: &str) -> String {
    sql.replace('$', "?")
}

/// Whether the file is not as SQLite left it.
pub(super) fn means_damage(error: &rusqlite::Error) -> bool {
    use ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(
        error.sqlite_error_code(),
        Some(DatabaseCorrupt | NotADatabase)
    )
}

/// What an error of SQLite means to whoever asked.
pub(super) fn meaning(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        // The statement or its values are at fault: another may well succeed.
        None
        | Some(
            ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::TooBig
            | ErrorCode::ParameterOutOfRange
            | ErrorCode::ApiMisuse
            | ErrorCode::InternalMalfunction
            | ErrorCode::Unknown,
        ) => StoreError::Internal(error.to_string()),
        Some(ErrorCode::DiskFull) => StoreError::Unavailable(
            "the disk is full; writing goes on by itself once there is room".into(),
        ),
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged,
        Some(ErrorCode::NotADatabase) => StoreError::Unavailable(
            "the database file is damaged at its beginning; stop the service and restore it from a \
             backup"
                .into(),
        ),
        // Disk, file system or another process: it may pass.
        Some(_) => StoreError::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_its_number_wherever_it_stands() {
        let connection = Connection::new(rusqlite::Connection::open_in_memory().unwrap());
        let query = Query::new(
            "SELECT $2, $1, $2, $3, $4",
            [
                Value::Int(1),
                "two".into(),
                Value::Null,
                Bytes::from_static(b"four").into(),
            ],
        );
        let rows = connection.read(&[query]).unwrap().remove(0);
        let row = rows
            .first(|row| {
                Ok((
                    row.text()?,
                    row.int()?,
                    row.text()?,
                    row.maybe_int()?,
                    row.bytes()?,
                ))
            })
            .unwrap();
        assert_eq!(
            row,
            Some((
                "two".into(),
                1,
                "two".into(),
                None,
                Bytes::from_static(b"four")
            ))
        );
        let missing = Query::new("SELECT $1, $2", [Value::Int(1)]);
        assert!(connection.read(&[missing]).is_err(), "a value is missing");
    }

    #[test]
    fn reading_stops_after_the_bytes_asked_for_but_not_before_one_row() {
        let connection = Connection::new(rusqlite::Connection::open_in_memory().unwrap());
        let mut query = Query::new(
            "SELECT x'00112233' UNION ALL SELECT x'44' UNION ALL SELECT x'55'",
            [],
        );
        for (max_bytes, rows, cut) in [(0, 1, true), (4, 1, true), (5, 2, true), (6, 3, false)] {
            query.max_bytes = max_bytes;
            let found = connection
                .read(std::slice::from_ref(&query))
                .unwrap()
                .remove(0);
            assert_eq!((found.len(), found.cut), (rows, cut), "{max_bytes}");
        }
    }
}
