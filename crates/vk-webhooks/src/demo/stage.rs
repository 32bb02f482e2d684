//! Hides what is set up for a demo and taken down after it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use local_receiver::Authority;
use serde_json::{Value, json};

use crate::client::Client;
use crate::config::{self, Given};
use crate::logging;
use crate::serve::{Service, Signals};

use super::temper::{Kind, Temper};

const TEAM: &str = "demo";

/// Everything that is there while the demo runs.
pub(super) struct Stage {
    service: Service,
    tempers: Vec<Temper>,
    /// The endpoint of each temper, in their order.
    endpoints: Vec<String>,
    event_types: Vec<(String, Value)>,
    publisher: Client,
    reader: Client,
    operator_key: String,
    team_key: String,
    settings_link: String,
    folder: Folder,
}

impl Stage {
    /// Sets everything up.
    pub(super) async fn set(signals: &mut Signals) -> Result<Self> {
        tokio::select! {
            set = Self::set_up() => set,
            name = signals.next() => bail!("stopped by {name} before it had begun"),
        }
    }

    async fn set_up() -> Result<Self> {
        let folder = Folder::make()?;
        let authority = Authority::new()?;
        let ca_file = folder.0.join("receivers.pem");
        std::fs::write(&ca_file, authority.pem())?;
        let settings = config::load(&given(&folder, &ca_file), std::iter::empty())?;
        logging::start(&settings)?;

        let mut tempers = Vec::new();
        for kind in Kind::ALL {
            tempers.push(Temper::open(kind, &authority).await?);
        }
        let operator_key = engine::new_operator_key()?.text().to_owned();
        let service = Service::start(&settings, Some(operator_key.clone())).await?;
        let url = format!("http://{}", service.address());
        let operator = Client::new(&url, &operator_key)?;
        operator
            .post("/v1/teams", &json!({"id": TEAM, "name": "Demo"}))
            .await?;
        let key = json!({"name": "demo", "scopes": ["read", "webhooks:write", "events:write"]});
        let key = operator
            .post(&format!("/v1/teams/{TEAM}/api-keys"), &key)
            .await?;
        let team_key = text(&key["data"]["key"])?;
        let link = format!("/v1/teams/{TEAM}/settings-link");
        let settings_link = text(&operator.post(&link, &json!({})).await?["data"]["url"])?;

        // The reader looks more often than a team's key may: it is the operator, for the team.
        let reader = Client::new(&url, &operator_key)?.of_team(TEAM);
        let publisher = Client::new(&url, &team_key)?;
        let mut endpoints = Vec::new();
        for temper in &tempers {
            let endpoint = json!({"url": temper.url(), "description": temper.kind.explained()});
            let made = publisher.post("/v1/webhook-endpoints", &endpoint).await?;
            temper.trust(&text(&made["data"]["secret"])?);
            endpoints.push(text(&made["data"]["id"])?);
        }
        let event_types = event_types(&reader).await?;
        Ok(Self {
            service,
            tempers,
            endpoints,
            event_types,
            publisher,
            reader,
            operator_key,
            team_key,
            settings_link,
            folder,
        })
    }

    /// Takes everything down.
    pub(super) async fn strike(self) {
        self.service.stop(Duration::ZERO).await;
        drop(self.tempers);
        drop(self.folder);
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.service.address())
    }

    pub(super) fn operator_key(&self) -> &str {
        &self.operator_key
    }

    pub(super) fn team_key(&self) -> &str {
        &self.team_key
    }

    pub(super) fn settings_link(&self) -> &str {
        &self.settings_link
    }

    pub(super) fn tempers(&self) -> &[Temper] {
        &self.tempers
    }

    pub(super) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Every type's name and example.
    pub(super) fn event_types(&self) -> &[(String, Value)] {
        &self.event_types
    }

    pub(super) fn publisher(&self) -> &Client {
        &self.publisher
    }

    pub(super) fn reader(&self) -> &Client {
        &self.reader
    }
}

/// The settings of the demo's service, as if they had been typed.
fn given(folder: &Folder, ca_file: &std::path::Path) -> Given {
    let database = format!("sqlite:{}", folder.0.join("demo.db").display());
    let one = |name, value: &str| (name, vec![value.to_owned()]);
    Given {
        config: None,
        values: vec![
            one("listen", "127.0.0.1:0"),
            one("database_url", &database),
            one("allow_cidr", "127.0.0.1/32"),
            one("ca_file", &ca_file.display().to_string()),
            // The demo says itself what is to be said.
            one("log_level", "error"),
        ],
    }
}

async fn event_types(reader: &Client) -> Result<Vec<(String, Value)>> {
    let answer = reader.get("/v1/event-types?per_page=100").await?;
    let types = answer["data"].as_array().context("the catalog is a list")?;
    types
        .iter()
        .map(|each| Ok((text(&each["name"])?, each["example"].clone())))
        .collect()
}

pub(super) fn text(value: &Value) -> Result<String> {
    let text = value.as_str().map(str::to_owned);
    text.with_context(|| format!("the service answered {value} where a text was expected"))
}

/// A folder of one's own, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("vk-webhooks-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is a few kilobytes in the system's temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
