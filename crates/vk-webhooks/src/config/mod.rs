//! Hides where a setting comes from: the command line, the environment, a file, or the defaults.
//!
//! [`key`] lists the settings there are, [`layers`] finds the value that wins and says whose it
//! is, [`value`] reads its text; here they become typed [`Settings`]. The defaults are
//! `config.default.toml`, which is compiled in and is the manual too.

mod key;
mod layers;
mod value;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use model::brand::Brand;
use model::rate::RateLimit;
use model::retry::RetrySchedule;
use model::team::{Plan, Plans};

pub(crate) use key::Given;
pub(crate) use value::duration;

use layers::Layers;

/// The defaults, and the manual.
pub(crate) const DEFAULTS: &str = include_str!("../../config.default.toml");

/// What `serve` runs with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    /// Without a slash at its end; none where links follow from the listening address.
    pub(crate) public_url: Option<String>,
    /// How long everything is answered as before once it was asked to stop.
    pub(crate) drain_delay: Duration,
    pub(crate) max_connections: usize,
    /// How long a connection is kept between two requests.
    pub(crate) idle_timeout: Duration,
    /// Where /metrics is served; none where that is `listen`.
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) rate_limit_per_key: RateLimit,
    pub(crate) rate_limit_per_team: RateLimit,
    pub(crate) database: PathBuf,
    /// Where the keys are that signing secrets are sealed with.
    pub(crate) secrets_key_file: PathBuf,
    /// How long finished events are kept; none keeps them all.
    pub(crate) retention: Option<Duration>,
    pub(crate) retry_schedule: RetrySchedule,
    pub(crate) attempt_timeout: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) max_in_flight_per_team: usize,
    pub(crate) max_in_flight_per_endpoint: usize,
    pub(crate) allow_cidr: Vec<IpNet>,
    pub(crate) allow_http: bool,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) dns_server: Vec<SocketAddr>,
    pub(crate) catalog: Option<PathBuf>,
    pub(crate) brand: Brand,
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
    pub(crate) plans: Plans,
    /// Things about the configuration that the log should say, once there is a log.
    pub(crate) remarks: Vec<String>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line, for machines.
    Json,
}

/// Why the configuration cannot be used: which setting, from where, and what is expected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Reads the settings out of all layers.
pub(crate) fn load(
    given: &Given,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Settings, ConfigError> {
    settings(&Layers::gather(given, environment)?)
}

/// Where the store is, as all layers say, and the file of its keys.
pub(crate) struct StorePlace {
    pub(crate) database: PathBuf,
    pub(crate) secrets_key_file: PathBuf,
}

/// Reads only the settings that say where the store is.
pub(crate) fn load_store_place(
    given: &Given,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<StorePlace, ConfigError> {
    let layers = Layers::gather(given, environment)?;
    Ok(StorePlace {
        database: database(&layers)?,
        secrets_key_file: secrets_key_file(&layers)?,
    })
}

/// The most attempts that may be under way: each holds a file descriptor and some memory.
const IN_FLIGHT_MAX: u64 = 100_000;

fn settings(layers: &Layers) -> Result<Settings, ConfigError> {
    let per_hour = |key| layers.integer(key, 1..=u64::from(u32::MAX)).map(hourly);
    let in_flight = |key| layers.integer(key, 1..=IN_FLIGHT_MAX).map(size);
    Ok(Settings {
        listen: layers.read(
            "listen",
            "an address or a host name of this machine, and a port, such as 127.0.0.1:8080",
            value::listening_address,
        )?,
        public_url: layers.optional(
            "public_url",
            "http:// or https:// and a host, such as https://webhooks.example.com",
            value::origin,
        )?,
        drain_delay: layers.read("drain_delay", "a duration up to 10m, such as 5s", |text| {
            duration(text).filter(|span| *span <= Duration::from_secs(600))
        })?,
        max_connections: layers.integer("max_connections", 1..=1_000_000).map(size)?,
        idle_timeout: layers.read(
            "idle_timeout",
            "a duration from 1s to 1d, such as 620s",
            |text| {
                let most = Duration::from_secs(24 * 3600);
                duration(text).filter(|span| (Duration::from_secs(1)..=most).contains(span))
            },
        )?,
        metrics_listen: layers.optional(
            "metrics_listen",
            "an address or a host name of this machine, and a port, such as 127.0.0.1:9464",
            value::listening_address,
        )?,
        rate_limit_per_key: per_hour("rate_limit_per_key")?,
        rate_limit_per_team: per_hour("rate_limit_per_team")?,
        secrets_key_file: secrets_key_file(layers)?,
        database: database(layers)?,
        retention: match layers.integer("retention_days", 0..=36_500)? {
            0 => None,
            days => Some(Duration::from_secs(days * 24 * 3600)),
        },
        retry_schedule: retry_schedule(layers)?,
        attempt_timeout: layers.read(
            "attempt_timeout",
            "a duration from 100ms to 5m, such as 10s",
            |text| {
                let shortest = Duration::from_millis(100);
                duration(text).filter(|span| (shortest..=Duration::from_secs(300)).contains(span))
            },
        )?,
        max_in_flight: in_flight("max_in_flight")?,
        max_in_flight_per_team: in_flight("max_in_flight_per_team")?,
        max_in_flight_per_endpoint: in_flight("max_in_flight_per_endpoint")?,
        allow_cidr: layers.list(
            "allow_cidr",
            "address ranges, such as 10.1.0.0/16 or fd00::/8",
            value::addresses,
        )?,
        allow_http: layers.boolean("allow_http")?,
        ca_file: layers.optional("ca_file", "the path of a PEM file", value::path)?,
        dns_server: layers.list(
            "dns_server",
            "addresses and ports of name servers, such as 10.0.0.2:53",
            |text| text.parse().ok(),
        )?,
        catalog: layers.optional("catalog", "the path of a JSON file", value::path)?,
        brand: brand(layers)?,
        log_level: layers.read(
            "log_level",
            "error, warn, info, debug, trace, or a filter such as info,vk_engine=debug",
            value::log_filter,
        )?,
        log_format: layers.read("log_format", "text or json", |text| match text {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        })?,
        plans: plans(layers)?,
        remarks: layers.remarks().to_vec(),
    })
}

fn hourly(requests: u64) -> RateLimit {
    RateLimit::per_hour(u32::try_from(requests).unwrap_or(u32::MAX))
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn database(layers: &Layers) -> Result<PathBuf, ConfigError> {
    let (url, source) = layers.text("database_url")?;
    value::sqlite_path(&url)
        .map_err(|problem| ConfigError(format!("database_url (from {source}): {problem}")))
}

fn secrets_key_file(layers: &Layers) -> Result<PathBuf, ConfigError> {
    let expected = "the path of a file of keys";
    match layers.optional("secrets_key_file", expected, value::path)? {
        Some(file) => Ok(file),
        None => Ok(database(layers)?.with_added_extension("key")),
    }
}

fn retry_schedule(layers: &Layers) -> Result<RetrySchedule, ConfigError> {
    let waits = layers.list(
        "retry_schedule",
        "durations, such as 1s, 500ms, 5m, 2h or 1d",
        duration,
    )?;
    RetrySchedule::new(waits).map_err(|problem| {
        let source = layers.source("retry_schedule");
        ConfigError(format!("retry_schedule (from {source}): {problem}"))
    })
}

fn brand(layers: &Layers) -> Result<Brand, ConfigError> {
    Ok(Brand {
        name: layers.read("brand_name", "a name of 1 to 64 characters", |text| {
            (1..=64)
                .contains(&text.chars().count())
                .then(|| text.to_owned())
        })?,
        header_prefix: layers.read(
            "header_prefix",
            "the start of a header name: letters, digits and hyphens, such as X-Example",
            value::header_prefix,
        )?,
        user_agent: layers.read(
            "user_agent",
            "1 to 200 printable ASCII characters, such as Example-Webhooks/1.0",
            value::user_agent,
        )?,
    })
}

fn plans(layers: &Layers) -> Result<Plans, ConfigError> {
    let plans = layers
        .plans()?
        .into_iter()
        .map(|(name, endpoints, api_keys)| Plan {
            name,
            endpoints,
            api_keys,
        });
    Plans::new(plans).map_err(|problem| {
        let source = layers.source("plans");
        ConfigError(format!("plans (from {source}): {problem}"))
    })
}

#[cfg(test)]
mod tests;
