//! Hides which database it is: a write is a [`Unit`] of statements, a read is a [`Query`], and both
//! are plain data in the SQL that every supported engine speaks.
//!
//! The SQL binds every value, names parameters `$1`, `$2`, … (in the order of the values), knows only
//! integers, text and bytes, and writes so that the same unit may be run twice.

use std::future::Future;
use std::pin::Pin;

use crate::error::StoreError;
use crate::value::{Rows, Value};

/// What a driver answers with: a boxed future, so that a store can hold any driver.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A database engine.
pub trait Driver: Send + Sync + 'static {
    /// Does all of a unit or nothing of it. When this returns [`Commit::Done`], it is on disk.
    fn commit(&self, line: Line, unit: Unit) -> Pending<'_, Result<Commit, StoreError>>;

    /// Runs queries one after the other on one view of the database; one answer for each.
    fn read(&self, queries: Vec<Query>) -> Pending<'_, Result<Vec<Rows>, StoreError>>;

    /// Finishes what was taken on, then closes. What comes later is [`StoreError::Unavailable`].
    fn close(&self) -> Pending<'_, ()>;

    /// Waits until only opening it anew helps.
    fn failed(&self) -> Pending<'_, Fatal> {
        Box::pin(std::future::pending())
    }

    /// What it has done since it was opened.
    fn stats(&self) -> Stats;
}

/// Why a driver can never go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fatal {
    /// The disk failed, and nobody knows what of the last writes is there.
    Disk,
    /// A part of the driver panicked, which is a bug: what it was doing is left half done.
    Panic,
}

/// Which queue a unit waits in. Each gets its share, so that neither starves the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Events coming in. Full means [`StoreError::Overloaded`] at once.
    Publishing,
    /// Everything else, outcomes above all. Full means waiting.
    Recording,
}

/// What came of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// It is durable; its statements changed this many rows.
    Done {
        /// The sum over all statements.
        affected: u64,
    },
    /// A guarded statement changed another number of rows than it had to; nothing was done.
    Refused {
        /// Which statement of the unit, from 0.
        statement: usize,
    },
}

/// What a driver has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transactions committed.
    pub commits: u64,
    /// Units that came to an end in them, refused ones included.
    pub units: u64,
    /// Transactions that failed as a whole.
    pub failed_commits: u64,
    /// Units refused because the publishing queue was full.
    pub overloaded: u64,
    /// Units that wait now.
    pub queued: u64,
    /// Times the write-ahead log was copied into the database.
    pub checkpoints: u64,
    /// The size of the write-ahead log's file now, in bytes.
    pub log_bytes: u64,
}

/// One statement of a unit: its text, how many values it binds, and what it must do.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// The SQL.
    pub sql: &'static str,
    /// How many of the unit's values are its own, after those of the statements before it.
    pub values: usize,
    /// How many rows it has to change; none: any number.
    pub expect: Option<u64>,
}

/// A write: all of its statements or none.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    statements: Vec<Statement>,
    /// All statements' values one after the other: one allocation, not one a statement.
    values: Vec<Value>,
    weight: usize,
    guarded: bool,
}

impl Unit {
    /// An empty unit with room for so many statements and values.
    pub fn with_capacity(statements: usize, values: usize) -> Self {
        Self {
            statements: Vec::with_capacity(statements),
            values: Vec::with_capacity(values),
            weight: 0,
            guarded: false,
        }
    }

    /// A unit of one statement.
    pub fn of<const N: usize>(sql: &'static str, values: [Value; N]) -> Self {
        let mut unit = Self::default();
        unit.add(sql, values);
        unit
    }

    /// Adds a statement that may change any number of rows.
    pub fn add<const N: usize>(&mut self, sql: &'static str, values: [Value; N]) {
        self.push(sql, values, None);
    }

    /// Adds a statement that has to change exactly `expect` rows, else nothing of the unit is done.
    pub fn guard<const N: usize>(&mut self, sql: &'static str, values: [Value; N], expect: u64) {
        self.push(sql, values, Some(expect));
        self.guarded = true;
    }

    fn push<const N: usize>(&mut self, sql: &'static str, values: [Value; N], expect: Option<u64>) {
        self.weight += values.iter().map(Value::weight).sum::<usize>();
        self.values.extend(values);
        self.statements.push(Statement {
            sql,
            values: N,
            expect,
        });
    }

    /// The statements, each with its values.
    pub fn statements(&self) -> impl Iterator<Item = (&Statement, &[Value])> {
        let mut rest = self.values.as_slice();
        self.statements.iter().map(move |statement| {
            let (own, others) = rest.split_at(statement.values);
            rest = others;
            (statement, own)
        })
    }

    /// How many statements it has.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// Whether any statement has a guard.
    pub fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// About how many bytes of memory it holds.
    pub fn bytes(&self) -> usize {
        self.weight
            + self.values.len() * size_of::<Value>()
            + self.statements.len() * size_of::<Statement>()
    }
}

/// A read.
#[derive(Clone, Debug)]
pub struct Query {
    /// The SQL.
    pub sql: &'static str,
    /// Its values.
    pub values: Vec<Value>,
    /// No further row is read once the rows hold this many bytes; at least one is.
    pub max_bytes: usize,
}

impl Query {
    /// A query for all of its rows.
    pub fn new<const N: usize>(sql: &'static str, values: [Value; N]) -> Self {
        Self {
            sql,
            values: values.into(),
            max_bytes: usize::MAX,
        }
    }
}
