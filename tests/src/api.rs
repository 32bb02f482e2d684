//! Hides how HTTP is spoken to the service.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// What the service answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as JSON; null where it is none.
    pub json: Value,
    /// The body, as text.
    pub text: String,
}

impl Reply {
    /// The resource in it.
    pub fn data(&self) -> &Value {
        &self.json["data"]
    }

    /// The error code in it.
    pub fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }
}

/// A caller with a key.
#[derive(Clone, Debug)]
pub struct Api {
    address: SocketAddr,
    headers: Vec<(&'static str, String)>,
}

impl Api {
    /// A caller who shows these headers.
    pub(crate) fn new(address: SocketAddr, headers: Vec<(&'static str, String)>) -> Self {
        Self { address, headers }
    }

    /// A caller without a key.
    pub fn to(address: SocketAddr) -> Self {
        Self::new(address, vec![])
    }

    /// Its key; empty where it has none.
    pub fn key(&self) -> &str {
        self.headers.first().map_or("", |(_, key)| key)
    }

    /// The same caller, at the service's address after a restart.
    #[must_use]
    pub fn moved_to(&self, address: SocketAddr) -> Self {
        Self {
            address,
            headers: self.headers.clone(),
        }
    }

    /// Makes a request on a connection of its own.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its errors come out of the request too.
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/json");
        let own = self
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        for (name, value) in own.chain(headers.iter().copied()) {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.into()))?;
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        if parts.status.is_client_error() || parts.status.is_server_error() {
            leaks::look_through(&format!("the answer {} to {path}", parts.status), &text)?;
        }
        Ok(Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            json: serde_json::from_slice(&body).unwrap_or_default(),
            text,
        })
    }

    /// A GET; an error where the answer is not 200.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        expect(200, "GET", path, self.send("GET", path, &[], "").await?)
    }

    /// A request with JSON; an error where the answer has another status.
    pub async fn call(&self, method: &str, path: &str, body: &Value, want: u16) -> Result<Reply> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        expect(
            want,
            method,
            path,
            self.send(method, path, &[], body).await?,
        )
    }

    /// Publishes an event; its id.
    pub async fn publish(&self, event_type: &str, data: &Value) -> Result<String> {
        let event = serde_json::json!({"type": event_type, "data": data});
        let reply = self.call("POST", "/v1/events", &event, 202).await?;
        text(&reply.data()["id"])
    }

    /// The deliveries of an event.
    pub async fn deliveries_of(&self, event: &str) -> Result<Vec<Value>> {
        self.deliveries(&format!("event_id={event}")).await
    }

    /// All deliveries that this filter selects.
    pub async fn deliveries(&self, filter: &str) -> Result<Vec<Value>> {
        let mut all = vec![];
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/deliveries?{filter}&per_page=100&cursor={cursor}");
            let reply = self.get(&path).await?;
            all.extend(reply.data().as_array().cloned().context("a list")?);
            match reply.json["meta"]["pagination"]["nextCursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => return Ok(all),
            }
        }
    }

    /// Whether every delivery of the team has come to its end.
    pub async fn owes_nothing(&self) -> Result<bool> {
        for status in ["pending", "retrying", "held"] {
            let path = format!("/v1/deliveries?status={status}&per_page=1");
            let some = self.get(&path).await?;
            if !some.data().as_array().context("a list")?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// One delivery with its attempts.
    pub async fn delivery(&self, id: &str) -> Result<Value> {
        Ok(self
            .get(&format!("/v1/deliveries/{id}"))
            .await?
            .data()
            .clone())
    }
}

fn expect(want: u16, method: &str, path: &str, reply: Reply) -> Result<Reply> {
    ensure!(
        reply.status == want,
        "{method} {path} answered {} instead of {want}: {}",
        reply.status,
        reply.json
    );
    Ok(reply)
}

pub(crate) fn text(value: &Value) -> Result<String> {
    let text = value.as_str().map(str::to_owned);
    text.with_context(|| format!("{value} is no text"))
}
