//! TLS: what is offered in a handshake, by name and by address.

use std::time::Duration;

use hostile::certificates::Flaw;
use hostile::name_server::addresses;
use hostile::{Twist, answer_all, read_request};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use crate::peer::{AUTHORITY, egress, name_server, peer, post, response, url};

/// A receiver under TLS that answers everything with 200; returns its port.
async fn receiver(acceptor: TlsAcceptor) -> u16 {
    let address = peer(move |stream, _| {
        let acceptor = acceptor.clone();
        async move { answer_all(acceptor.accept(stream).await?).await }
    })
    .await;
    address.port()
}

#[tokio::test]
async fn a_valid_certificate_is_accepted_by_name_and_by_address() {
    let port = receiver(AUTHORITY.acceptor(Flaw::None, Twist::None).unwrap()).await;
    let dns = name_server(|_, _| addresses(&["127.0.0.1"])).await;
    let egress = egress(None, Some(dns.address));
    for host in ["receiver.test", "localhost", "127.0.0.1"] {
        let exchange = post(&egress, &url(format!("https://{host}:{port}/"))).await;
        assert!(exchange.timings.tls_ms.is_some());
        assert_eq!(response(exchange).status, 200, "{host}");
    }
}

#[tokio::test]
async fn the_name_is_sent_as_sni_and_only_http_1_1_is_offered() {
    let (seen, mut hellos) = tokio::sync::mpsc::unbounded_channel();
    let acceptor = AUTHORITY
        .acceptor_with(Flaw::None, Twist::None, |config| {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        })
        .unwrap();
    let address = peer(move |stream, _| {
        let (acceptor, seen) = (acceptor.clone(), seen.clone());
        async move {
            let stream = acceptor.accept(stream).await?;
            let (_, session) = stream.get_ref();
            let name = session.server_name().map(str::to_owned);
            seen.send((name, session.alpn_protocol().map(<[u8]>::to_vec)))
                .unwrap();
            answer_all(stream).await
        }
    })
    .await;
    let dns = name_server(|_, _| addresses(&["127.0.0.1"])).await;
    let egress = egress(None, Some(dns.address));
    for (host, sni) in [
        ("receiver.test", Some("receiver.test")),
        ("127.0.0.1", None),
    ] {
        response(post(&egress, &url(format!("https://{host}:{}/", address.port()))).await);
        let (name, protocol) = hellos.recv().await.unwrap();
        assert_eq!(name.as_deref(), sni);
        assert_eq!(protocol.as_deref(), Some(&b"http/1.1"[..]));
    }
}

#[tokio::test]
async fn strict_transport_security_changes_no_url() {
    let acceptor = AUTHORITY.acceptor(Flaw::None, Twist::None).unwrap();
    let strict = peer(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await?;
            read_request(&mut stream).await;
            let answer = "HTTP/1.1 200 OK\r\nstrict-transport-security: max-age=99999999; \
                          includeSubDomains\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await
        }
    })
    .await;
    let plain = peer(|stream, _| answer_all(stream)).await;
    let dns = name_server(|_, _| addresses(&["127.0.0.1"])).await;
    let egress = egress(None, Some(dns.address));
    for (scheme, host, port) in [
        ("https", "receiver.test", strict.port()),
        ("http", "receiver.test", plain.port()),
        ("http", "below.receiver.test", plain.port()),
    ] {
        let exchange = post(&egress, &url(format!("{scheme}://{host}:{port}/"))).await;
        assert_eq!(response(exchange).status, 200, "{scheme} {host}");
    }
}

#[tokio::test]
async fn the_environments_proxy_is_never_asked() {
    // Setting variables needs an unsafe call in this process, so a child process has them from its
    // start and runs one test of this very suite.
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy_url = format!("http://{}", proxy.local_addr().unwrap());
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child.args([
        "--exact",
        "tls::a_valid_certificate_is_accepted_by_name_and_by_address",
    ]);
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        child.env(name, &proxy_url);
    }
    let output = child.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    let asked = tokio::time::timeout(Duration::from_millis(1), proxy.accept()).await;
    assert!(asked.is_err(), "somebody connected to the proxy");
}
