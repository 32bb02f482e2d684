//! Hides how the API of a service is asked: one kept-alive connection, JSON both ways.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING};
use http::uri::Scheme;
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

/// Asks one service, with one key.
pub(crate) struct Client {
    base: Uri,
    headers: Vec<(&'static str, String)>,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Client {
    /// For the service at this URL, such as `http://127.0.0.1:8080`.
    pub(crate) fn new(url: &str, key: &str) -> Result<Self> {
        let base: Uri = url
            .parse()
            .with_context(|| format!("{url:?} is not the URL of a service"))?;
        let known = [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&base.scheme());
        ensure!(
            known && base.host().is_some(),
            "the URL of a service starts with http:// or https://, unlike {url:?}"
        );
        Ok(Self {
            base,
            headers: vec![("authorization", format!("Bearer {key}"))],
            connection: Mutex::default(),
        })
    }

    /// The same, for an operator who speaks for a team.
    pub(crate) fn of_team(mut self, team: &str) -> Self {
        self.headers.push(("x-vantagekit-team", team.to_owned()));
        self
    }

    /// Gets a resource: the whole answer.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.ask("GET", path, Bytes::new()).await
    }

    /// Posts JSON; the whole answer.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask("POST", path, body.to_string().into()).await
    }

    async fn ask(&self, method: &str, path: &str, body: Bytes) -> Result<Value> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.authority())
            .header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body))?;
        let mut connection = self.connection.lock().await;
        let mut sender = match connection.take() {
            Some(sender) if sender.is_ready() => sender,
            _ => connect(&self.base).await?,
        };
        let response = sender
            .send_request(request)
            .await
            .with_context(|| format!("{method} {path} was not answered"))?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        *connection = Some(sender);
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if !status.is_success() {
            let sentence = answer["error"].as_str().unwrap_or("no reason was given");
            bail!("{method} {path} was refused with {status}: {sentence}");
        }
        Ok(answer)
    }

    fn authority(&self) -> &str {
        self.base
            .authority()
            .map_or("", |authority| authority.as_str())
    }
}

/// Sends a request as it came to another server; its status and the beginning of its answer.
pub(crate) async fn forward(
    target: &Uri,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<(u16, Bytes)> {
    let mut request = Request::post(target.path_and_query().map_or("/", |path| path.as_str()));
    for (name, value) in headers.iter().filter(|(name, _)| !OURS.contains(name)) {
        request = request.header(name, value);
    }
    let host = target
        .authority()
        .map_or("", |authority| authority.as_str());
    let request = request.header(HOST, host).body(Full::new(body))?;
    let response = connect(target).await?.send_request(request).await?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), FORWARDED_MAX)
        .collect()
        .await;
    let body = body.map_err(|error| anyhow!("its answer could not be read: {error}"))?;
    Ok((status, body.to_bytes()))
}

/// Headers that belong to a connection, not to what is sent over it.
const OURS: &[HeaderName] = &[HOST, CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING];
/// The largest answer that is handed back.
const FORWARDED_MAX: usize = 1 << 20;

async fn connect(base: &Uri) -> Result<SendRequest<Full<Bytes>>> {
    let https = base.scheme() == Some(&Scheme::HTTPS);
    let host = base.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = base.port_u16().unwrap_or(if https { 443 } else { 80 });
    let stream = TcpStream::connect((bare, port))
        .await
        .with_context(|| format!("cannot connect to {host}:{port}; does anything listen there?"))?;
    stream.set_nodelay(true)?;
    if !https {
        return handshake(stream).await;
    }
    let name = ServerName::try_from(bare.to_owned())?;
    let stream = tls()?
        .connect(name, stream)
        .await
        .with_context(|| format!("cannot speak TLS with {host}:{port}"))?;
    handshake(stream).await
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Whatever ends the connection is told to the request that runs over it.
    tokio::spawn(connection);
    Ok(sender)
}

/// TLS that trusts what the system trusts.
fn tls() -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
