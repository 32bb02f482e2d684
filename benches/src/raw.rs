//! Hides the raw limit: a bare client that posts the same bytes to the same receiver.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::load::EVENT;

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
    seconds: u64,
}

/// Posts and prints how many requests were answered.
pub(crate) async fn run(options: Options) -> Result<()> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(&options.ca_file);
    roots.add(certificate.context("the receiver's authority")?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let mut posters = JoinSet::new();
    for _ in 0..options.connections {
        posters.spawn(post(options.port, connector.clone(), end));
    }
    let mut total = 0;
    while let Some(poster) = posters.join_next().await {
        total += poster??;
    }
    println!("{total}");
    Ok(())
}

async fn post(port: u16, connector: TlsConnector, end: Instant) -> Result<u64> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let stream = connector
        .connect(ServerName::try_from("127.0.0.1")?, stream)
        .await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // How it ends is told to the request that runs over it.
    tokio::spawn(connection);
    let mut count = 0;
    while Instant::now() < end {
        // Headers as a delivery has them, though made once: nothing is signed here.
        let request = Request::post("/")
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
            .body(Full::new(Bytes::from_static(EVENT.as_bytes())))?;
        sender.ready().await?;
        let response = sender.send_request(request).await?;
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
