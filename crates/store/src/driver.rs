//! Hides which database it is: a write is a [`Unit`] of statements, a read is a [`Query`], and both
//! are plain data in the SQL that every supported engine speaks.
//!
//! The SQL binds every value, names parameters `$1`, `$2`, … (in the order of the values), knows only
//! integers, text and bytes, and writes so that the same unit may be run twice.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::StoreError;

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

    /// What it has done since it was opened.
    fn stats(&self) -> Stats;
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
}

/// A value to bind, or one that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// An integer; also times, ids and booleans.
    Int(i64),
    /// Text that is part of the program.
    Word(&'static str),
    /// Text.
    Text(String),
    /// Text that is shared.
    Shared(Arc<str>),
    /// Bytes.
    Bytes(Bytes),
}

impl Value {
    /// How many bytes it holds.
    fn weight(&self) -> usize {
        match self {
            Self::Null | Self::Int(_) | Self::Word(_) => 0,
            Self::Text(text) => text.len(),
            Self::Shared(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

macro_rules! values {
    ($($type:ty, $value:pat => $made:expr;)*) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $made
            }
        })*
    };
}
values! {
    i64, value => Self::Int(value);
    u32, value => Self::Int(i64::from(value));
    bool, value => Self::Int(i64::from(value));
    model::time::Timestamp, value => Self::Int(value.as_millis());
    model::id::TeamId, value => Self::Int(value.0);
    model::id::KeyId, value => Self::Int(value.0);
    model::id::EndpointId, value => Self::Int(value.0);
    model::id::EventId, value => Self::Int(value.0);
    model::id::DeliveryId, value => Self::Int(value.0);
    &'static str, value => Self::Word(value);
    String, value => Self::Text(value);
    Arc<str>, value => Self::Shared(value);
    Bytes, value => Self::Bytes(value);
    [u8; 32], value => Self::Bytes(Bytes::copy_from_slice(&value));
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
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

/// What a query found.
#[derive(Debug, Default)]
pub struct Rows {
    width: usize,
    values: Vec<Value>,
    weight: usize,
    /// Whether reading ended for [`Query::max_bytes`].
    pub cut: bool,
}

impl Rows {
    /// No rows yet, of so many columns.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            ..Self::default()
        }
    }

    /// Adds the next value of the row being read.
    pub fn push(&mut self, value: Value) {
        self.weight += value.weight();
        self.values.push(value);
    }

    /// How many bytes the rows hold.
    pub fn bytes(&self) -> usize {
        self.weight
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Turns every row into a thing. `read` has to take all of a row's columns, in order.
    pub fn decode<T>(
        self,
        mut read: impl FnMut(&mut Columns) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let count = self.len();
        let mut columns = Columns(self.values.into_iter());
        let mut things = Vec::with_capacity(count);
        for row in 1..=count {
            things.push(read(&mut columns)?);
            debug_assert_eq!(
                columns.0.len(),
                (count - row) * self.width,
                "columns left over"
            );
        }
        Ok(things)
    }

    /// As [`Rows::decode`], for a query of at most one row.
    pub fn first<T>(
        self,
        read: impl FnMut(&mut Columns) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.decode(read)?.into_iter().next())
    }
}

/// The columns of a row, taken one after the other.
#[derive(Debug)]
pub struct Columns(std::vec::IntoIter<Value>);

impl Columns {
    fn next(&mut self) -> Result<Value, StoreError> {
        self.0.next().ok_or_else(|| damaged("a column is missing"))
    }

    /// An integer.
    pub fn int(&mut self) -> Result<i64, StoreError> {
        self.maybe_int()?
            .ok_or_else(|| damaged("a number is missing"))
    }

    /// An integer, or NULL.
    pub fn maybe_int(&mut self) -> Result<Option<i64>, StoreError> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Int(value) => Ok(Some(value)),
            other => Err(damaged(&format!("{other:?} stands where a number should"))),
        }
    }

    /// An integer that counts something.
    pub fn count(&mut self) -> Result<u32, StoreError> {
        narrow(self.int()?)
    }

    /// As [`Columns::count`], or NULL.
    pub fn maybe_count(&mut self) -> Result<Option<u32>, StoreError> {
        self.maybe_int()?.map(narrow).transpose()
    }

    /// An integer that is 0 or not.
    pub fn flag(&mut self) -> Result<bool, StoreError> {
        Ok(self.int()? != 0)
    }

    /// A moment.
    pub fn time(&mut self) -> Result<model::time::Timestamp, StoreError> {
        Ok(model::time::Timestamp::from_millis(self.int()?))
    }

    /// A moment, or NULL.
    pub fn maybe_time(&mut self) -> Result<Option<model::time::Timestamp>, StoreError> {
        Ok(self.maybe_int()?.map(model::time::Timestamp::from_millis))
    }

    /// An id.
    pub fn id<I: model::id::Id>(&mut self) -> Result<I, StoreError> {
        Ok(I::from_raw(self.int()?))
    }

    /// Text.
    pub fn text(&mut self) -> Result<String, StoreError> {
        self.maybe_text()?
            .ok_or_else(|| damaged("a text is missing"))
    }

    /// Text, or NULL.
    pub fn maybe_text(&mut self) -> Result<Option<String>, StoreError> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            Value::Word(text) => Ok(Some(text.into())),
            Value::Shared(text) => Ok(Some(text.to_string())),
            _ => Err(damaged("something else stands where a text should")),
        }
    }

    /// Bytes.
    pub fn bytes(&mut self) -> Result<Bytes, StoreError> {
        self.maybe_bytes()?
            .ok_or_else(|| damaged("bytes are missing"))
    }

    /// Bytes, or NULL.
    pub fn maybe_bytes(&mut self) -> Result<Option<Bytes>, StoreError> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Bytes(bytes) => Ok(Some(bytes)),
            _ => Err(damaged("something else stands where bytes should")),
        }
    }

    /// Exactly `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let bytes = self.bytes()?;
        bytes
            .as_ref()
            .try_into()
            .map_err(|_| damaged("bytes have another length than they should"))
    }
}

fn narrow(value: i64) -> Result<u32, StoreError> {
    u32::try_from(value).map_err(|_| damaged(&format!("{value} is not a count")))
}

/// What was read is not what this program writes.
pub(crate) fn damaged(what: &str) -> StoreError {
    StoreError::Internal(format!("what is stored is damaged: {what}"))
}
