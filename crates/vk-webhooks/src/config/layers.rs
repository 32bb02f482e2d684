//! Hides which layer a setting's value comes from, so that every complaint can name it.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::key::{ENV_PREFIX, Given, KEYS, Kind, OTHER_VARIABLES};
use super::{ConfigError, DEFAULTS};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    CommandLine(String),
    Environment(String),
    File(PathBuf),
    Defaults,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine(option) => write!(f, "the option --{option}"),
            Self::Environment(variable) => write!(f, "the environment variable {variable}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Defaults => f.write_str("the defaults"),
        }
    }
}

/// All layers; the first that has a key wins.
pub(super) struct Layers {
    command_line: Table,
    environment: Table,
    file: Option<(PathBuf, Table)>,
    defaults: Table,
    remarks: Vec<String>,
}

impl Layers {
    /// Reads every layer.
    pub(super) fn gather(
        given: &Given,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut command_line = Table::new();
        for (name, written) in &given.values {
            let value = match written.as_slice() {
                [one] => Value::String(one.clone()),
                many => Value::String(many.join(",")),
            };
            command_line.insert((*name).to_owned(), value);
        }
        let (environment, remarks) = from_environment(environment);
        let file = match &given.config {
            Some(path) => Some((path.clone(), from_file(path)?)),
            None => None,
        };
        Ok(Self {
            command_line,
            environment,
            file,
            defaults: parse(DEFAULTS, Path::new("config.default.toml"))?,
            remarks,
        })
    }

    /// What the log should say about the configuration.
    pub(super) fn remarks(&self) -> &[String] {
        &self.remarks
    }

    fn find(&self, name: &str) -> (&Value, Source) {
        let key = KEYS.iter().find(|key| key.name == name);
        let key = key.expect("settings are asked for by the names in KEYS");
        if let Some(value) = self.command_line.get(name) {
            return (value, Source::CommandLine(key.option()));
        }
        if let Some(value) = self.environment.get(name) {
            return (value, Source::Environment(key.variable()));
        }
        if let Some((path, table)) = &self.file
            && let Some(value) = table.get(name)
        {
            return (value, Source::File(path.clone()));
        }
        let value = self.defaults.get(name);
        (
            value.expect("the defaults have every key"),
            Source::Defaults,
        )
    }

    /// Whose value wins.
    pub(super) fn source(&self, name: &str) -> Source {
        self.find(name).1
    }

    /// A setting that is text.
    pub(super) fn text(&self, name: &str) -> Result<(String, Source), ConfigError> {
        let (value, source) = self.find(name);
        match value {
            Value::String(text) => Ok((text.trim().to_owned(), source)),
            other => Err(wrong(name, other, &source, "text in quotes")),
        }
    }

    /// A setting that is text, read by `parse`.
    pub(super) fn read<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let (value, source) = self.find(name);
        value
            .as_str()
            .and_then(|text| parse(text.trim()))
            .ok_or_else(|| wrong(name, value, &source, expected))
    }

    /// A setting that may be empty.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let (value, source) = self.find(name);
        match value.as_str().map(str::trim) {
            Some("") => Ok(None),
            Some(text) => parse(text)
                .map(Some)
                .ok_or_else(|| wrong(name, value, &source, expected)),
            None => Err(wrong(name, value, &source, expected)),
        }
    }

    /// A setting that is a whole number in a range.
    pub(super) fn integer(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let (value, source) = self.find(name);
        integer_of(value)
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                wrong(name, value, &source, &expected)
            })
    }

    /// A setting that is yes or no.
    pub(super) fn boolean(&self, name: &str) -> Result<bool, ConfigError> {
        let (value, source) = self.find(name);
        match (value, value.as_str()) {
            (Value::Boolean(yes), _) => Ok(*yes),
            (_, Some("true" | "1" | "yes")) => Ok(true),
            (_, Some("false" | "0" | "no")) => Ok(false),
            _ => Err(wrong(name, value, &source, "true or false")),
        }
    }

    /// A setting that is a list of texts, each read by `parse`.
    pub(super) fn list<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let (value, source) = self.find(name);
        let items: Vec<Value> = match value {
            Value::Array(items) => items.clone(),
            Value::String(text) => texts(text),
            other => {
                return Err(wrong(
                    name,
                    other,
                    &source,
                    &format!("a list of {expected}"),
                ));
            }
        };
        items
            .iter()
            .map(|item| {
                let read = item.as_str().and_then(|text| parse(text.trim()));
                read.ok_or_else(|| wrong(name, item, &source, expected))
            })
            .collect()
    }

    /// The plans: (name, endpoints, API keys).
    pub(super) fn plans(&self) -> Result<Vec<(String, u32, u32)>, ConfigError> {
        let (value, source) = self.find("plans");
        let items = match value {
            Value::Array(items) => items.clone(),
            Value::String(text) => texts(text),
            other => vec![other.clone()],
        };
        items
            .iter()
            .map(|item| {
                plan_of(item).ok_or_else(|| {
                    let expected = "[[plans]] with exactly the keys name, endpoints and api_keys, \
                                    or a plan written NAME:ENDPOINTS:API_KEYS";
                    wrong("plans", item, &source, expected)
                })
            })
            .collect()
    }
}

fn texts(list: &str) -> Vec<Value> {
    let items = list
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    items.map(|item| Value::String(item.to_owned())).collect()
}

fn integer_of(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn plan_of(value: &Value) -> Option<(String, u32, u32)> {
    let number = |value: &Value| u32::try_from(integer_of(value)?).ok();
    match value {
        Value::String(text) => {
            let mut parts = text.split(':').map(str::trim);
            let (name, endpoints, keys) = (parts.next()?, parts.next()?, parts.next()?);
            let complete = parts.next().is_none();
            complete.then_some((name.to_owned(), endpoints.parse().ok()?, keys.parse().ok()?))
        }
        Value::Table(table) if table.len() == 3 => Some((
            table.get("name")?.as_str()?.to_owned(),
            number(table.get("endpoints")?)?,
            number(table.get("api_keys")?)?,
        )),
        _ => None,
    }
}

fn wrong(name: &str, value: &Value, source: &Source, expected: &str) -> ConfigError {
    ConfigError(format!(
        "{name} is {value} (from {source}), but has to be {expected}"
    ))
}

fn from_environment(variables: impl Iterator<Item = (String, String)>) -> (Table, Vec<String>) {
    let mut table = Table::new();
    let mut remarks = Vec::new();
    for (variable, value) in variables {
        let Some(rest) = variable.strip_prefix(ENV_PREFIX) else {
            continue;
        };
        match KEYS.iter().find(|key| key.variable() == variable) {
            // Set but empty is how many tools write "not set".
            Some(_) if value.is_empty() => {}
            Some(key) => {
                table.insert(key.name.to_owned(), Value::String(value));
            }
            None if OTHER_VARIABLES.contains(&rest) => {}
            // No error: an orchestrator may invent such names from a service's name.
            None => remarks.push(format!(
                "the environment variable {variable} is no setting of this service and has no \
                 effect; `vk-webhooks serve --help` lists those that have"
            )),
        }
    }
    (table, remarks)
}

fn from_file(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError(format!(
            "the configuration file {} cannot be read: {error}",
            path.display()
        ))
    })?;
    let table = in_our_spelling(parse(&text, path)?, path)?;
    match table
        .keys()
        .find(|name| !KEYS.iter().any(|key| key.name == name.as_str()))
    {
        Some(unknown) => Err(ConfigError(format!(
            "{} has the key {unknown:?}, which is no setting of this service{}; `vk-webhooks \
             config` prints all settings",
            path.display(),
            suggestion(unknown)
        ))),
        None => Ok(table),
    }
}

/// A key may also be written as its option is, with hyphens.
fn in_our_spelling(table: Table, path: &Path) -> Result<Table, ConfigError> {
    let mut ours = Table::new();
    for (key, value) in table {
        let name = key.replace('-', "_");
        if ours.insert(name.clone(), value).is_some() {
            return Err(ConfigError(format!(
                "{} has {name:?} twice, once with hyphens; keep one of them",
                path.display()
            )));
        }
    }
    Ok(ours)
}

fn parse(text: &str, path: &Path) -> Result<Table, ConfigError> {
    text.parse::<Table>().map_err(|error| {
        ConfigError(format!(
            "{} is not valid TOML: {}",
            path.display(),
            error.to_string().trim_end()
        ))
    })
}

/// The setting that was probably meant, as the rest of a sentence.
fn suggestion(unknown: &str) -> String {
    let plain = unknown.to_lowercase().replace('-', "_");
    KEYS.iter()
        .map(|key| (distance(key.name, &plain), key))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, key)| *distance <= key.name.len() / 3)
        .map(|(_, key)| {
            let list = if key.kind == Kind::List {
                " (a list)"
            } else {
                ""
            };
            format!(" (did you mean {:?}{list}?)", key.name)
        })
        .unwrap_or_default()
}

/// How many letters one must add, drop or change to get from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}
