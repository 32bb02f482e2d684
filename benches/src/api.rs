//! Hides the operator's side of the service's API: teams, keys, endpoints, and questions about the log.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// The operator's key, which the service is started with.
pub(crate) const OPERATOR_KEY: &str = "vk_admin_0123456789abcdefghijABCDEFGHIJ01";

/// One kept connection to the service.
pub(crate) struct Api {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

/// A team with its endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Furnished {
    /// To publish with.
    pub(crate) key: String,
    pub(crate) endpoints: Vec<String>,
}

impl Api {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let sender = sender(address).await?;
        Ok(Self { address, sender })
    }

    /// Makes a team with a key and so many endpoints, all at this URL.
    pub(crate) async fn furnish(
        &mut self,
        team: &str,
        endpoints: usize,
        url: &str,
    ) -> Result<Furnished> {
        let body = json!({"id": team, "name": team});
        self.send(Method::POST, team, "/v1/teams", Some(body))
            .await?;
        let key = self.key(team).await?;
        let mut made = Vec::new();
        for _ in 0..endpoints {
            let body = json!({"url": url});
            let path = "/v1/webhook-endpoints";
            let answer = self.send(Method::POST, team, path, Some(body)).await?;
            made.push(text(&answer["data"]["id"])?);
        }
        Ok(Furnished {
            key,
            endpoints: made,
        })
    }

    /// Makes a key to publish with.
    pub(crate) async fn key(&mut self, team: &str) -> Result<String> {
        let path = format!("/v1/teams/{team}/api-keys");
        let body = json!({"name": "bench", "scopes": ["events:write"]});
        let answer = self.send(Method::POST, team, &path, Some(body)).await?;
        text(&answer["data"]["key"])
    }

    /// Changes an endpoint.
    pub(crate) async fn change(&mut self, team: &str, endpoint: &str, change: Value) -> Result<()> {
        let path = format!("/v1/webhook-endpoints/{endpoint}");
        self.send(Method::PATCH, team, &path, Some(change)).await?;
        Ok(())
    }

    /// What is at this path, for that team.
    pub(crate) async fn get(&mut self, team: &str, path: &str) -> Result<Value> {
        self.send(Method::GET, team, path, None).await
    }

    async fn send(
        &mut self,
        method: Method,
        team: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value> {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {OPERATOR_KEY}"))
            .header("x-vantagekit-team", team)
            .body(Full::new(body))?;
        if self.sender.ready().await.is_err() {
            // The service closes what has been idle for long.
            self.sender = sender(self.address).await?;
        }
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let said = String::from_utf8_lossy(&body);
        ensure!(
            status.is_success(),
            "{method} {path} was answered with {status}: {said}"
        );
        Ok(serde_json::from_slice(&body)?)
    }
}

async fn sender(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // How it ends is told to the request that runs over it.
    tokio::spawn(connection);
    Ok(sender)
}

/// A value that has to be text.
pub(crate) fn text(value: &Value) -> Result<String> {
    let text = value.as_str().context("the service left something out")?;
    Ok(text.to_owned())
}
