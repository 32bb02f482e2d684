//! Hides how an event type's example is changed and published.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::console;

/// What `trigger` is given.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The event type, such as link.clicked
    #[arg(value_name = "TYPE")]
    event_type: String,
    /// The service
    #[arg(long, env = "VK_WEBHOOKS_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// A team's API key with the scopes read and events:write, or the operator's with --team
    #[arg(long, env = "VK_WEBHOOKS_API_KEY", hide_env_values = true)]
    key: String,
    /// The team, where the key is the operator's
    #[arg(long)]
    team: Option<String>,
    /// Change a field of the example; the value is JSON, or else text; repeatable
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    set: Vec<String>,
}

/// Publishes and says what became of it.
pub(crate) async fn run(options: Options) -> Result<()> {
    let mut client = Client::new(&options.url, &options.key)?;
    if let Some(team) = &options.team {
        client = client.of_team(team);
    }
    let path = format!("/v1/event-types/{}", options.event_type);
    let answer = client.get(&path).await?;
    let Value::Object(mut data) = answer["data"]["example"].clone() else {
        bail!("the service has no example of {}", options.event_type);
    };
    for assignment in &options.set {
        assign(&mut data, assignment)?;
    }
    let event = json!({"type": options.event_type, "data": data});
    let answer = client.post("/v1/events", &event).await?;
    let accepted = &answer["data"];
    let id = accepted["id"].as_str().context("the service gave no id")?;
    let made = match accepted["deliveries"].as_u64() {
        Some(0) => "no endpoint wants it".to_owned(),
        Some(1) => "1 delivery".to_owned(),
        other => format!("{} deliveries", other.unwrap_or_default()),
    };
    console::print(format_args!(
        "published {} as {id}: {made}",
        options.event_type
    ))
}

/// Sets one field, as `name=value`.
fn assign(data: &mut Map<String, Value>, assignment: &str) -> Result<()> {
    let Some((field, value)) = assignment.split_once('=') else {
        bail!("--set wants FIELD=VALUE, unlike {assignment:?}");
    };
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    data.insert(field.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_set_to_json_or_else_to_text() {
        for (assignment, field, expected) in [
            ("name=Acme", "name", json!("Acme")),
            ("pageCount=7", "pageCount", json!(7)),
            ("version=\"7\"", "version", json!("7")),
            ("changes=[\"name\"]", "changes", json!(["name"])),
            ("reason=null", "reason", Value::Null),
            ("note=a=b", "note", json!("a=b")),
        ] {
            let mut data = Map::new();
            assign(&mut data, assignment).unwrap();
            assert_eq!(data.get(field), Some(&expected), "{assignment}");
        }
        assert!(assign(&mut Map::new(), "name").is_err());
    }
}
