//! Hides how a numbered page becomes a limit and an offset.

use crate::StoreError;
use crate::driver::Query;
use crate::store::Store;
use crate::value::{Columns, Value};

/// A page of a list, and how many rows there are in all.
#[derive(Debug)]
pub struct Page<T> {
    /// The rows of this page.
    pub rows: Vec<T>,
    /// The rows of all pages.
    pub total: u64,
}

/// Which page of a list.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    /// From 1.
    pub page: u64,
    /// Rows a page.
    pub per_page: u32,
}

impl PageRequest {
    /// LIMIT and OFFSET.
    pub(crate) fn window(self) -> (Value, Value) {
        let skipped = self
            .page
            .saturating_sub(1)
            .saturating_mul(self.per_page.into());
        (
            self.per_page.into(),
            Value::Int(i64::try_from(skipped).unwrap_or(i64::MAX)),
        )
    }
}

impl Store {
    /// The rows of a page and the total, on one view of the database.
    pub(crate) async fn page<T>(
        &self,
        rows: Query,
        total: Query,
        read: impl FnMut(&mut Columns) -> Result<T, StoreError>,
    ) -> Result<Page<T>, StoreError> {
        let (rows, total) = self.read_two(rows, total).await?;
        let total = total.first(Columns::int)?.unwrap_or(0);
        Ok(Page {
            rows: rows.decode(read)?,
            total: u64::try_from(total).unwrap_or(0),
        })
    }
}
