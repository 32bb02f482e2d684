//! Rooms of the measurements: [`throughput`] (and the raw limit), [`latency`] by a schedule, [`idle`],
//! [`full`] (the store with millions of deliveries, and starts with it), [`pages`] of its log,
//! [`hanging`] (one endpoint of a thousand), [`limited`] (a receiver that takes fewer a second), [`backlog`]. What publishes does so through `publishing`.

pub(crate) mod backlog;
pub(crate) mod full;
pub(crate) mod hanging;
pub(crate) mod idle;
pub(crate) mod latency;
pub(crate) mod limited;
pub(crate) mod pages;
mod publishing;
pub(crate) mod throughput;
