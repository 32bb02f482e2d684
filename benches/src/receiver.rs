//! Hides a receiver that does as little as a receiver can: read, count, answer 200.
//!
//! It tells its port at the start, and for each line on standard input how many requests it has
//! answered.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use local_receiver::Authority;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What `receiver` is given.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to write the certificate to trust
    #[arg(long)]
    ca_file: PathBuf,
}

/// Receives until standard input ends.
pub(crate) async fn run(options: Options) -> Result<()> {
    let authority = Authority::new()?;
    std::fs::write(&options.ca_file, authority.pem())?;
    let acceptor = TlsAcceptor::from(authority.server_config(&["127.0.0.1"])?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let count = Arc::new(AtomicU64::new(0));
    println!("{}", listener.local_addr()?.port());
    tokio::spawn(accept(listener, acceptor, Arc::clone(&count)));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {
        println!("{}", count.load(Ordering::Relaxed));
    }
    Ok(())
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, count: Arc<AtomicU64>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
        tokio::spawn(async move {
            // A connection that ends early shows as a delivery that is missing in the count.
            let _ = converse(stream, acceptor, count).await;
        });
    }
}

async fn converse(stream: TcpStream, acceptor: TlsAcceptor, count: Arc<AtomicU64>) -> Result<()> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let service = service_fn(move |request| answer(request, Arc::clone(&count)));
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}

async fn answer(
    request: Request<Incoming>,
    count: Arc<AtomicU64>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            let mut broken = Response::new(Empty::new());
            *broken.status_mut() = StatusCode::BAD_REQUEST;
            return Ok(broken);
        }
    }
    count.fetch_add(1, Ordering::Relaxed);
    Ok(Response::new(Empty::new()))
}
