//! The settings as tables: what wins over what, and what each complaint says.

use super::key::KEYS;
use super::*;

struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let file = format!("vk-config-{}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn environment(variables: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    let own = |(name, value): &(&str, &str)| (format!("VK_WEBHOOKS_{name}"), (*value).to_owned());
    variables.iter().map(own).collect::<Vec<_>>().into_iter()
}

fn on_command_line(key: &'static str, values: &[&str]) -> Given {
    Given {
        config: None,
        values: vec![(key, values.iter().map(ToString::to_string).collect())],
    }
}

fn complaint(key: &'static str, value: &str) -> String {
    load(&on_command_line(key, &[value]), environment(&[]))
        .unwrap_err()
        .to_string()
}

#[test]
fn the_defaults_file_has_every_key_and_no_other_and_means_the_contract() {
    let table: toml::Table = DEFAULTS.parse().unwrap();
    let mut documented: Vec<&str> = table.keys().map(String::as_str).collect();
    let mut known: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    documented.sort_unstable();
    known.sort_unstable();
    assert_eq!(documented, known);

    let settings = load(&Given::default(), environment(&[])).unwrap();
    assert_eq!(settings.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(settings.retry_schedule, RetrySchedule::default());
    assert_eq!(settings.attempt_timeout, Duration::from_secs(10));
    assert_eq!(settings.brand, Brand::default());
    assert_eq!(settings.plans, Plans::default());
    assert_eq!(settings.rate_limit_per_key, RateLimit::per_hour(1000));
    assert_eq!(settings.rate_limit_per_team, RateLimit::per_hour(3000));
    assert_eq!(settings.retention, None);
    assert_eq!(settings.idle_timeout, Duration::from_secs(620));
    assert_eq!(settings.metrics_listen, None);
    let strict = settings.allow_cidr.is_empty()
        && !settings.allow_http
        && settings.ca_file.is_none()
        && settings.dns_server.is_empty();
    assert!(strict, "nothing is loosened by default");
}

#[test]
fn the_command_line_wins_over_the_environment_over_the_file() {
    let file = TempFile::new(
        "order",
        "max_in_flight = 1\nmax_connections = 1\nuser_agent = \"f\"",
    );
    let given = Given {
        config: Some(file.0.clone()),
        values: vec![("max_in_flight", vec!["3".into()])],
    };
    let variables = [
        ("MAX_IN_FLIGHT", "2"),
        ("MAX_CONNECTIONS", "2"),
        ("USER_AGENT", ""),
    ];
    let settings = load(&given, environment(&variables)).unwrap();
    assert_eq!(
        (
            settings.max_in_flight,
            settings.max_connections,
            settings.brand.user_agent.as_str(),
            settings.max_in_flight_per_team
        ),
        (3, 2, "f", 512),
        "an empty variable counts as none"
    );
}

#[test]
fn lists_are_repeated_or_separated_by_commas() {
    let given = on_command_line(
        "allow_cidr",
        &["127.0.0.0/8", "10.0.0.0/8,fd00::/8", "192.168.7.7"],
    );
    let settings = load(&given, environment(&[("RETRY_SCHEDULE", "10ms, 1m")])).unwrap();
    assert_eq!(settings.allow_cidr.len(), 4);
    let single = settings.allow_cidr[3].to_string();
    assert_eq!(single, "192.168.7.7/32", "an address is a range of one");
    assert_eq!(
        settings.retry_schedule.waits(),
        [Duration::from_millis(10), Duration::from_secs(60)]
    );
    let plans = load(
        &on_command_line("plans", &["free:0:1", "scale:7:2"]),
        environment(&[]),
    )
    .unwrap()
    .plans;
    assert_eq!(plans.names().collect::<Vec<_>>(), ["free", "scale"]);
    assert_eq!(plans.get("scale").map(|plan| plan.endpoints), Some(7));
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_the_one_that_was_meant() {
    for (text, key, meant) in [
        (
            "max_inflight = 3",
            "\"max_inflight\"",
            "did you mean \"max_in_flight\"?",
        ),
        (
            "allow-cidrs = []",
            "\"allow_cidrs\"",
            "did you mean \"allow_cidr\" (a list)?",
        ),
        (
            "allow-cidr = []\nallow_cidr = []",
            "\"allow_cidr\"",
            "twice, once with hyphens",
        ),
        (
            "[server]\nport = 1",
            "\"server\"",
            "which is no setting of this service;",
        ),
    ] {
        let file = TempFile::new("unknown", text);
        let given = Given {
            config: Some(file.0.clone()),
            values: vec![],
        };
        let error = load(&given, environment(&[])).unwrap_err().to_string();
        for part in [key, meant, &file.0.display().to_string()] {
            assert!(error.contains(part), "{error} lacks {part}");
        }
    }
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let missing = Given {
        config: Some("/nonexistent/vk.toml".into()),
        values: vec![],
    };
    let error = load(&missing, environment(&[])).unwrap_err().to_string();
    assert!(
        error.contains("/nonexistent/vk.toml cannot be read"),
        "{error}"
    );
    let file = TempFile::new("broken", "listen = \n");
    let broken = Given {
        config: Some(file.0.clone()),
        values: vec![],
    };
    let error = load(&broken, environment(&[])).unwrap_err().to_string();
    assert!(
        error.contains("is not valid TOML") && error.contains("line 1"),
        "{error}"
    );
}

#[test]
fn a_bad_value_is_named_with_its_key_its_source_and_what_is_expected() {
    assert_eq!(
        complaint("attempt_timeout", "10 parsecs"),
        "attempt_timeout is \"10 parsecs\" (from the option --attempt-timeout), but has to be a \
         duration from 100ms to 5m, such as 10s"
    );
    let error = load(&Given::default(), environment(&[("LISTEN", "8080")])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "listen is \"8080\" (from the environment variable VK_WEBHOOKS_LISTEN), but has to be an \
         address or a host name of this machine, and a port, such as 127.0.0.1:8080"
    );
    let file = TempFile::new("value", "max_connections = 0");
    let given = Given {
        config: Some(file.0.clone()),
        values: vec![],
    };
    let error = load(&given, environment(&[])).unwrap_err().to_string();
    let expected = format!(
        "max_connections is 0 (from {}), but has to be a whole number from 1 to 1000000",
        file.0.display()
    );
    assert_eq!(error, expected);
}

#[test]
fn values_out_of_their_domain_are_refused() {
    for (key, value) in [
        ("attempt_timeout", "99ms"),
        ("attempt_timeout", "6m"),
        ("retry_schedule", "1s,2"),
        ("retry_schedule", "31d"),
        ("allow_cidr", "10.0.0.0/33"),
        ("allow_http", "maybe"),
        ("dns_server", "10.0.0.2"),
        ("public_url", "https://a.example/path"),
        ("public_url", "ftp://a.example"),
        ("public_url", "https://"),
        ("public_url", "a.example"),
        ("public_url", "https://user@a.example"),
        ("header_prefix", "X Bad"),
        ("header_prefix", "X-"),
        ("user_agent", "a\nb"),
        ("brand_name", ""),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("plans", "scale:10"),
        ("plans", "scale:99999:1"),
        ("database_url", "mysql://x"),
        ("database_url", "sqlite:"),
        ("database_url", "sqlite::memory:"),
        ("database_url", "sqlite:a.db?mode=ro"),
        ("max_in_flight", "-1"),
    ] {
        let error = complaint(key, value);
        assert!(error.starts_with(key), "{key}={value}: {error}");
    }
}

#[test]
fn postgresql_is_refused_clearly_and_without_its_password() {
    let error = complaint("database_url", "postgres://user:hunter2@db/vk");
    assert!(
        error.contains("PostgreSQL is not available in this build"),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn database_urls_name_files() {
    for (url, path) in [
        ("sqlite:vk.db", "vk.db"),
        ("sqlite:/var/lib/vk.db", "/var/lib/vk.db"),
        ("sqlite:///var/lib/vk.db", "/var/lib/vk.db"),
        ("sqlite://vk.db", "vk.db"),
    ] {
        assert_eq!(value::sqlite_path(url), Ok(PathBuf::from(path)), "{url}");
    }
}

#[test]
fn the_listening_address_may_be_a_name() {
    let listening = |text: &str| {
        let settings = load(&on_command_line("listen", &[text]), environment(&[]));
        settings.map(|settings| settings.listen)
    };
    let named = listening("localhost:8080").unwrap();
    assert!(named.ip().is_loopback() && named.port() == 8080, "{named}");
    assert_eq!(listening("[::1]:0"), Ok("[::1]:0".parse().unwrap()));
    for wrong in [
        "localhost",
        "localhost:",
        ":8080",
        "::1",
        "127.0.0.1:65536",
        "",
    ] {
        assert!(listening(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_public_url_is_an_origin_in_lower_case() {
    for (text, origin) in [
        ("https://hooks.example.com", "https://hooks.example.com"),
        (
            "HTTPS://Hooks.Example.com:8443/",
            "https://hooks.example.com:8443",
        ),
        ("Http://[::1]:8080", "http://[::1]:8080"),
    ] {
        assert_eq!(value::origin(text).as_deref(), Some(origin), "{text}");
    }
}

#[test]
fn durations_are_numbers_with_units() {
    for (text, expected) in [
        ("0s", Some(0)),
        ("500ms", Some(500)),
        ("10s", Some(10_000)),
        ("5m", Some(300_000)),
        ("2h", Some(7_200_000)),
        ("1d", Some(86_400_000)),
        ("10", None),
        ("s", None),
        ("1.5s", None),
        ("-1s", None),
        ("1w", None),
        ("99999999999999999999s", None),
        ("18446744073709551615d", None),
    ] {
        assert_eq!(
            duration(text),
            expected.map(Duration::from_millis),
            "{text}"
        );
    }
}

#[test]
fn a_variable_that_is_no_setting_is_remarked_and_ours_are_not() {
    let variables = [("LISTN", "x"), ("ADMIN_KEY", "x"), ("API_KEY", "x")];
    let settings = load(&Given::default(), environment(&variables)).unwrap();
    assert_eq!(settings.remarks.len(), 1);
    assert!(settings.remarks[0].contains("VK_WEBHOOKS_LISTN"));
}

#[test]
fn a_key_of_the_file_may_be_spelled_like_its_option() {
    let file = TempFile::new(
        "hyphens",
        "allow-cidr = [\"10.0.0.0/8\"]\nattempt_timeout = \"2s\"\n",
    );
    let given = Given {
        config: Some(file.0.clone()),
        values: vec![],
    };
    let settings = load(&given, environment(&[])).unwrap();
    assert_eq!(settings.allow_cidr.len(), 1);
    assert_eq!(settings.attempt_timeout, Duration::from_secs(2));
}
