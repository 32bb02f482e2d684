//! Hides how a setting is spelled on the command line and in the environment: one table of keys
//! makes `--max-in-flight`, `VK_WEBHOOKS_MAX_IN_FLIGHT` and `max_in_flight` the same thing.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

/// What every environment variable of ours starts with.
pub(super) const ENV_PREFIX: &str = "VK_WEBHOOKS_";

/// Environment variables of ours that are not settings of `serve`.
pub(super) const OTHER_VARIABLES: &[&str] = &[
    "ADMIN_KEY",
    "SECRETS_KEY",
    "CONFIG",
    "URL",
    "API_KEY",
    "SECRET",
];

/// What a setting holds, as far as the command line must know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One value.
    One,
    /// Several: the option may be repeated, and a value may hold several with commas between.
    List,
    /// Yes or no: the option alone means yes.
    Switch,
}

/// One setting.
pub(super) struct Key {
    /// Its name in the file.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What the help calls its value.
    value: &'static str,
    /// What it is, for the help; the whole story is in the defaults file.
    help: &'static str,
}

const fn key(name: &'static str, kind: Kind, value: &'static str, help: &'static str) -> Key {
    Key {
        name,
        kind,
        value,
        help,
    }
}

/// The settings, in the order of the defaults file.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("listen", Kind::One, "HOST:PORT", "Address to listen on; port 0 takes a free one"),
    key("public_url", Kind::One, "URL", "What this service is called from outside"),
    key("brand_name", Kind::One, "NAME", "The product's name, on the settings pages"),
    key("drain_delay", Kind::One, "TIME", "How long to answer on after SIGTERM, with /readyz at 503"),
    key("max_connections", Kind::One, "N", "Connections served at once"),
    key("idle_timeout", Kind::One, "TIME", "How long a connection is kept between two requests"),
    key("metrics_listen", Kind::One, "HOST:PORT", "An address of its own for /metrics"),
    key("rate_limit_per_key", Kind::One, "N", "Requests an hour of one API key"),
    key("rate_limit_per_team", Kind::One, "N", "Requests an hour of one team"),
    key("database_url", Kind::One, "URL", "Where the store is: sqlite:PATH"),
    key("secrets_key_file", Kind::One, "FILE", "The keys that signing secrets are sealed with"),
    key("retention_days", Kind::One, "N", "Days until a finished event is deleted; 0 keeps all"),
    key("retry_schedule", Kind::List, "WAITS", "Waits before each retry, such as 1s,2s,4s"),
    key("attempt_timeout", Kind::One, "TIME", "How long one attempt may take"),
    key("max_in_flight", Kind::One, "N", "Attempts under way, in all"),
    key("max_in_flight_per_team", Kind::One, "N", "Attempts under way, of one team"),
    key("max_in_flight_per_endpoint", Kind::One, "N", "Attempts under way, to one endpoint"),
    key("allow_cidr", Kind::List, "CIDR", "Addresses allowed in spite of the SSRF rules"),
    key("allow_http", Kind::Switch, "BOOL", "Allow receivers without TLS"),
    key("ca_file", Kind::One, "PEM", "Certificates to trust beside the system's"),
    key("dns_server", Kind::List, "IP:PORT", "Name servers to ask instead of the system's, in order"),
    key("catalog", Kind::One, "FILE", "Event types to use instead of the compiled-in ones"),
    key("header_prefix", Kind::One, "PREFIX", "What the signature headers start with"),
    key("user_agent", Kind::One, "TEXT", "The User-Agent of every delivery"),
    key("log_level", Kind::One, "LEVEL", "error, warn, info, debug, trace, or a filter"),
    key("log_format", Kind::One, "FORMAT", "text or json"),
    key("plans", Kind::List, "PLAN", "What teams may have: NAME:ENDPOINTS:API_KEYS"),
];

impl Key {
    /// Its name on the command line, without the dashes.
    pub(super) fn option(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Its name in the environment.
    pub(super) fn variable(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.to_uppercase())
    }
}

/// What the command line says about the settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    /// The file to read.
    pub(crate) config: Option<PathBuf>,
    /// Keys by name, with their values as they were written.
    pub(crate) values: Vec<(&'static str, Vec<String>)>,
}

impl clap::Args for Given {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .env("VK_WEBHOOKS_CONFIG")
            .help("A TOML file of settings; `vk-webhooks config` prints the documented defaults");
        KEYS.iter()
            .map(option_of)
            .fold(command.arg(config), Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn option_of(key: &'static Key) -> Arg {
    let option = Arg::new(key.name)
        .long(key.option())
        .value_name(key.value)
        .help(format!("{} [env: {}]", key.help, key.variable()));
    match key.kind {
        Kind::One => option.action(ArgAction::Set),
        Kind::List => option.action(ArgAction::Append),
        Kind::Switch => option
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}

impl clap::FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let values = KEYS.iter().filter_map(|key| {
            let written = matches.get_many::<String>(key.name)?;
            Some((key.name, written.cloned().collect()))
        });
        Ok(Self {
            config: matches.get_one::<PathBuf>("config").cloned(),
            values: values.collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
