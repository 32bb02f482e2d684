//! Hides how values go into a database and come out of it: a flat list, read back column by column.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::StoreError;

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
    pub(crate) fn weight(&self) -> usize {
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
    model::id::AuditId, value => Self::Int(value.0);
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

/// What a query found.
#[derive(Debug, Default)]
pub struct Rows {
    width: usize,
    values: Vec<Value>,
    weight: usize,
    /// Whether reading ended for [`Query::max_bytes`](crate::driver::Query).
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
