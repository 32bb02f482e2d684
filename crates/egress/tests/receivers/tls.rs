//! Receivers under TLS: certificates of every flaw, and handshakes that go wrong.

use std::time::{Duration, Instant};

use bytes::Bytes;
use model::attempt::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use vk_egress::Connections;

use crate::certificates::{Flaw, acceptor, acceptor_with};
use crate::name_server::{self, addresses};
use crate::peer::{
    answer_all, egress, failure, peer, post, post_with, read_request, response, stay, url,
};

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
    let port = receiver(acceptor(Flaw::None)).await;
    let dns = name_server::start(|_, _| addresses(&["127.0.0.1"])).await;
    let egress = egress(None, Some(dns.address));
    for host in ["receiver.test", "localhost", "127.0.0.1"] {
        let exchange = post(&egress, &url(format!("https://{host}:{port}/"))).await;
        assert!(exchange.timings.tls_ms.is_some());
        assert_eq!(response(exchange).status, 200, "{host}");
    }
}

#[tokio::test]
async fn each_flaw_of_a_certificate_is_told_apart() {
    let dns = name_server::start(|_, _| addresses(&["127.0.0.1"])).await;
    let egress = egress(None, Some(dns.address));
    for (flaw, part) in [
        (Flaw::Expired, "expired at 2020-02-03T00:00:00"),
        (Flaw::NotYetValid, "not valid before 2999-02-03T00:00:00"),
        (
            Flaw::WrongName,
            "but for other.example.com, *.elsewhere.example.",
        ),
        (Flaw::SelfSigned, "self-signed"),
        (
            Flaw::UnknownAuthority,
            "not issued by a certificate authority that we trust.",
        ),
        (Flaw::Incomplete, "full chain"),
        (Flaw::ClientOnly, "not made for servers"),
        (Flaw::Accompanied(7), "more certificates than we look at"),
        (Flaw::Labyrinth, "more certificates than we look at"),
    ] {
        let port = receiver(acceptor(flaw)).await;
        let begun = Instant::now();
        let failed = failure(post(&egress, &url(format!("https://receiver.test:{port}/"))).await);
        assert_eq!(failed.reason, Reason::TlsCertificate, "{flaw:?}");
        assert!(failed.detail.contains(part), "{flaw:?}: {}", failed.detail);
        assert!(begun.elapsed() < Duration::from_secs(2), "{flaw:?}");
    }
    let port = receiver(acceptor(Flaw::Accompanied(6))).await;
    let accompanied = post(&egress, &url(format!("https://receiver.test:{port}/"))).await;
    assert_eq!(response(accompanied).status, 200);
}

#[tokio::test]
async fn a_tls_error_after_the_handshake_is_named_after_what_it_broke_off() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n";
    for (answer, expected) in [
        ("", Reason::ConnectionReset),
        (HEAD, Reason::ConnectionReset),
        (&format!("{HEAD}\r\nhalf"), Reason::BodyIncomplete),
    ] {
        let (acceptor, text) = (acceptor(Flaw::None), answer.to_owned());
        let address = peer(move |stream, _| {
            let (acceptor, text) = (acceptor.clone(), text.clone());
            async move {
                let mut stream = acceptor.accept(stream).await?;
                read_request(&mut stream).await;
                stream.write_all(text.as_bytes()).await?;
                stream.flush().await?;
                // What was sent must have been read, or TLS gives nothing of it away.
                tokio::time::sleep(Duration::from_millis(50)).await;
                // A record of the right form that nobody encrypted.
                let (mut tcp, _) = stream.into_inner();
                tcp.write_all(b"\x17\x03\x03\x00\x20................................")
                    .await?;
                stay(tcp).await
            }
        })
        .await;
        let exchange = post(&egress(None, None), &url(format!("https://{address}/"))).await;
        assert_eq!(failure(exchange).reason, expected, "{answer:?}");
    }
}

#[tokio::test]
async fn the_name_is_sent_as_sni_and_only_http_1_1_is_offered() {
    let (seen, mut hellos) = tokio::sync::mpsc::unbounded_channel();
    let acceptor = acceptor_with(Flaw::None, |config| {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    });
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
    let dns = name_server::start(|_, _| addresses(&["127.0.0.1"])).await;
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
async fn handshakes_that_go_wrong_say_how() {
    let egress = egress(None, None);
    let h2_only = acceptor_with(Flaw::None, |config| {
        config.alpn_protocols = vec![b"h2".to_vec()]
    });
    let port = receiver(h2_only).await;
    let failed = failure(post(&egress, &url(format!("https://127.0.0.1:{port}/"))).await);
    assert_eq!(failed.reason, Reason::TlsHandshake);
    assert!(failed.detail.contains("HTTP/1.1"), "{}", failed.detail);

    for (bytes, part) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            "does not speak TLS",
        ),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "does not speak TLS"),
        // An alert: protocol_version, as a server of TLS 1.1 sends it.
        (
            b"\x15\x03\x02\x00\x02\x02\x46",
            "neither TLS 1.2 nor TLS 1.3",
        ),
        (b"\x15\x03\x03\x00\x02\x02\x28", "refused the TLS handshake"),
        (b"\x15\x03\x03\x00\x02\x02\x70", "SNI"),
        (b"", "closed during the TLS handshake"),
    ] {
        let address = peer(move |mut stream, _| async move {
            let _ = stream.read(&mut [0; 4096]).await?;
            stream.write_all(bytes).await?;
            stream.shutdown().await
        })
        .await;
        let failed = failure(post(&egress, &url(format!("https://{address}/"))).await);
        assert_eq!(failed.reason, Reason::TlsHandshake, "{bytes:?}");
        assert!(failed.detail.contains(part), "{bytes:?}: {}", failed.detail);
    }
}

#[tokio::test]
async fn a_receiver_that_resets_the_handshake_is_not_a_certificate_problem() {
    let address = peer(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 4096]).await?;
        stream.set_zero_linger()
    })
    .await;
    let failed = failure(post(&egress(None, None), &url(format!("https://{address}/"))).await);
    assert_eq!(failed.reason, Reason::TlsHandshake);
    assert!(failed.detail.contains("reset"), "{}", failed.detail);
}

#[tokio::test]
async fn a_client_certificate_is_never_sent_and_its_demand_is_named() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (chain, key) = crate::certificates::chain(Flaw::None);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(chain[0].clone()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            std::sync::Arc::new(roots),
            provider.clone(),
        )
        .build()
        .unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .unwrap();
        let port = receiver(TlsAcceptor::from(std::sync::Arc::new(config))).await;
        let failed = failure(
            post(
                &egress(None, None),
                &url(format!("https://127.0.0.1:{port}/")),
            )
            .await,
        );
        assert_eq!(
            failed.reason,
            Reason::TlsHandshake,
            "{version:?} {failed:?}"
        );
        assert!(failed.detail.contains("client certificate") || failed.detail.contains("refused"));
    }
}

#[tokio::test]
async fn a_silent_or_endless_handshake_is_ended_by_the_deadline() {
    let egress = egress(None, None);
    let silent = peer(|stream, _| stay(stream)).await;
    // A handshake message that claims 60 KB, one byte at a time.
    let endless = peer(|mut stream, _| async move {
        stream
            .write_all(b"\x16\x03\x03\x40\x00\x02\x00\xea\x60")
            .await?;
        loop {
            stream.write_all(b"\0").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    for address in [silent, endless] {
        let (connections, deadline) = (Connections::default(), Duration::from_millis(300));
        let url = url(format!("https://{address}/"));
        let exchange = post_with(&egress, &connections, &url, Bytes::new(), deadline).await;
        assert_eq!(failure(exchange).reason, Reason::TlsTimeout);
    }
}

#[tokio::test]
async fn a_close_without_goodbye_ends_a_body_as_any_close_does() {
    for (answer, expected) in [
        ("HTTP/1.0 200 OK\r\n\r\nold", Ok("old")),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nnew", Ok("new")),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nnew",
            Err(Reason::BodyIncomplete),
        ),
        ("", Err(Reason::ConnectionClosed)),
    ] {
        let acceptor = acceptor(Flaw::None);
        let address = peer(move |stream, _| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(stream).await?;
                read_request(&mut stream).await;
                stream.write_all(answer.as_bytes()).await?;
                stream.flush().await?;
                let (mut tcp, _) = stream.into_inner();
                tcp.shutdown().await
            }
        })
        .await;
        let exchange = post(&egress(None, None), &url(format!("https://{address}/"))).await;
        let came = match exchange.result {
            Ok(response) => Ok(String::from_utf8(response.body.into()).unwrap()),
            Err(failure) => Err(failure.reason),
        };
        assert_eq!(came, expected.map(str::to_owned), "{answer:?}");
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
