//! Hides the raw limit: a bare client that posts the same bytes to the same receiver.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::event::EVENT;
use crate::receiver::Temper;

/// What `raw` is given.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The receiver's port
    #[arg(long)]
    port: u16,
    /// Whose certificates to trust
    #[arg(long)]
    ca_file: PathBuf,
    /// Connections that post
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// For how long
    #[arg(long)]
    seconds: f64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Posted {
    /// Requests that were answered.
    pub(crate) requests: u64,
    /// Within this.
    pub(crate) seconds: f64,
}

/// Posts, prints what came of it, and lives on until standard input ends.
pub(crate) async fn run(options: Options) -> Result<()> {
    let mut senders = Vec::new();
    let connector = connector(&options)?;
    for _ in 0..options.connections {
        senders.push(connect(options.port, &connector).await?);
    }
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(options.seconds);
    let mut posters = JoinSet::new();
    for sender in senders {
        posters.spawn(post(sender, end));
    }
    let mut requests = 0;
    while let Some(poster) = posters.join_next().await {
        requests += poster??;
    }
    let posted = Posted {
        requests,
        seconds: start.elapsed().as_secs_f64(),
    };
    println!("{}", serde_json::to_string(&posted)?);
    // Until the conductor has read what we used.
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await?;
    Ok(())
}

fn connector(options: &Options) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(&options.ca_file);
    roots.add(certificate.context("the receiver's authority")?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect(port: u16, connector: &TlsConnector) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let stream = connector
        .connect(ServerName::try_from("127.0.0.1")?, stream)
        .await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // How it ends is told to the request that runs over it.
    tokio::spawn(connection);
    Ok(sender)
}

async fn post(mut sender: SendRequest<Full<Bytes>>, end: Instant) -> Result<u64> {
    let mut count = 0;
    while Instant::now() < end {
        sender.ready().await?;
        let response = sender.send_request(delivery()?).await?;
        ensure!(
            response.status() == 200,
            "the receiver answered {}",
            response.status()
        );
        response.into_body().collect().await?;
        count += 1;
    }
    Ok(count)
}

/// The bytes of a delivery, though with a signature that was made once: nothing is signed here.
fn delivery() -> Result<Request<Full<Bytes>>> {
    Ok(Request::post(Temper::Plain.path())
        .header("host", "127.0.0.1")
        .header("content-type", "application/json")
        .header("user-agent", "VantageKit-Webhooks/1.0")
        .header("x-vantagekit-event", "document.viewed")
        .header(
            "x-vantagekit-delivery",
            "0198a6f0-3a5b-7c1d-9e2f-0123456789ab",
        )
        .header("x-vantagekit-timestamp", "1775044800")
        .header(
            "x-vantagekit-signature",
            "sha256=954fdbff664822c994937b22a1ad5a53365f0d547fc79874f7eb9b6ab76cfded",
        )
        .header("webhook-id", "0198a6f0-3a5b-7c1d-9e2f-0123456789ab")
        .header("webhook-timestamp", "1775044800")
        .header(
            "webhook-signature",
            "v1,AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        )
        .body(Full::new(Bytes::from_static(EVENT.as_bytes())))?)
}
