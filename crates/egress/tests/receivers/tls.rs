//! TLS: what is offered in a handshake, by name and by address.

use std::sync::Arc;
use std::time::Duration;

use hostile::certificates::{Authority, Flaw};
use hostile::name_server::addresses;
use hostile::{Twist, answer_all, read_request};
use model::attempt::Reason;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use vk_egress::Egress;

use crate::peer::{AUTHORITY, egress, failure, name_server, options, peer, post, response, url};

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

/// A receiver that serves a certificate with this flaw; its port, and the certificate as PEM.
async fn serving(flaw: Flaw) -> (u16, String) {
    let (certificates, key) = AUTHORITY.chain(flaw).unwrap();
    let pem = Authority::pem_of(&certificates[0]);
    let identity = SingleCertAndKey::from(CertifiedKey::new(certificates, key));
    let acceptor = AUTHORITY.acceptor_with(Flaw::None, Twist::None, |config| {
        config.cert_resolver = Arc::new(identity);
    });
    (receiver(acceptor.unwrap()).await, pem)
}

#[tokio::test]
async fn a_certificate_that_was_given_is_trusted_for_itself_alone() {
    let dns = name_server(|_, _| addresses(&["127.0.0.1"])).await;
    // What is served, for which host, and what is refused about it.
    for (flaw, host, refused) in [
        (Flaw::SelfSigned, "receiver.test", None),
        (Flaw::SelfSignedAuthority, "receiver.test", None),
        (Flaw::SelfSigned, "127.0.0.1", None),
        (Flaw::UnknownAuthority, "receiver.test", None),
        (Flaw::AnAuthoritys, "receiver.test", None),
        (
            Flaw::SelfSigned,
            "other.test",
            Some("not valid for this host name, but for"),
        ),
        (
            Flaw::SelfSignedAuthority,
            "other.test",
            Some("not valid for this host name"),
        ),
        (
            Flaw::SelfSignedExpired,
            "receiver.test",
            Some("expired at 2020-02-03"),
        ),
        (
            Flaw::NotYetValid,
            "receiver.test",
            Some("not valid before 2999-02-03"),
        ),
        (
            Flaw::ClientOnly,
            "receiver.test",
            Some("not made for servers"),
        ),
        (
            Flaw::UnknownExtension,
            "receiver.test",
            Some("we do not know (1.3.6.1.4.1.99999.1)"),
        ),
    ] {
        let (port, pem) = serving(flaw).await;
        let egress = egress(Some(pem), Some(dns.address));
        let exchange = post(&egress, &url(format!("https://{host}:{port}/"))).await;
        match refused {
            None => assert_eq!(response(exchange).status, 200, "{flaw:?} {host}"),
            Some(part) => {
                let failure = failure(exchange);
                assert_eq!(failure.reason, Reason::TlsCertificate, "{flaw:?} {host}");
                assert!(
                    failure.detail.contains(part),
                    "{flaw:?}: {}",
                    failure.detail
                );
            }
        }
        // Another one of the same name, from the same template, is another one.
        let (port, _) = serving(flaw).await;
        let exchange = post(&egress, &url(format!("https://receiver.test:{port}/"))).await;
        assert_eq!(failure(exchange).reason, Reason::TlsCertificate, "{flaw:?}");
    }
}

#[tokio::test]
async fn who_has_the_key_of_a_certificate_that_was_given_is_no_authority() {
    let dns = name_server(|_, _| addresses(&["127.0.0.1"])).await;
    // Its issuer is no authority, and is given; it is sent with it, too.
    let (certificates, key) = AUTHORITY.chain(Flaw::NoAuthority).unwrap();
    let given = Authority::pem_of(&certificates[1]);
    let identity = SingleCertAndKey::from(CertifiedKey::new(certificates, key));
    let acceptor = AUTHORITY.acceptor_with(Flaw::None, Twist::None, |config| {
        config.cert_resolver = Arc::new(identity);
    });
    let port = receiver(acceptor.unwrap()).await;
    let egress = egress(Some(given), Some(dns.address));
    let exchange = post(&egress, &url(format!("https://receiver.test:{port}/"))).await;
    let failure = failure(exchange);
    assert_eq!(failure.reason, Reason::TlsCertificate);
    assert!(
        failure.detail.contains("is no authority's"),
        "{}",
        failure.detail
    );
}

#[tokio::test]
async fn an_address_among_the_dns_names_is_said() {
    let (port, _) = serving(Flaw::AddressAsName).await;
    let egress = egress(None, None);
    let failure = failure(post(&egress, &url(format!("https://127.0.0.1:{port}/"))).await);
    assert_eq!(failure.reason, Reason::TlsCertificate);
    assert!(
        failure.detail.contains("as a DNS name"),
        "{}",
        failure.detail
    );
}

/// The variable that names the folder to the process of [`only_authorities_of_the_systems_folder_are_roots`] whose
/// system roots are in it.
const ROOTS_FOLDER: &str = "VK_EGRESS_TEST_ROOTS";

/// What that process tries.
async fn a_servers_certificate_in_the_systems_folder_is_no_root(folder: &str) {
    let read = |name: &str| std::fs::read(format!("{folder}/{name}")).unwrap();
    let dns = name_server(|_, _| addresses(&["127.0.0.1"])).await;
    let mut options = options(None, Some(dns.address));
    options.extra_roots_pem = None;
    let egress = Egress::new(options).unwrap();
    let serve = async |leaf: &str, key: &str| {
        let leaf = rustls::pki_types::CertificateDer::from(read(leaf));
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(read(key));
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key.into()).unwrap();
        let identity = SingleCertAndKey::from(CertifiedKey::new(vec![leaf], key));
        let acceptor = AUTHORITY.acceptor_with(Flaw::None, Twist::None, |config| {
            config.cert_resolver = Arc::new(identity);
        });
        let port = receiver(acceptor.unwrap()).await;
        post(&egress, &url(format!("https://receiver.test:{port}/"))).await
    };
    // Of the authority in the folder, which shows that the folder is read.
    assert_eq!(response(serve("good.der", "good.key").await).status, 200);
    // The machine's own, and one that its key signed.
    for (leaf, key) in [("own.der", "own.key"), ("forged.der", "forged.key")] {
        let failure = failure(serve(leaf, key).await);
        assert_eq!(failure.reason, Reason::TlsCertificate, "{leaf}");
    }
}

#[tokio::test]
async fn only_authorities_of_the_systems_folder_are_roots() {
    if let Ok(folder) = std::env::var(ROOTS_FOLDER) {
        return a_servers_certificate_in_the_systems_folder_is_no_root(&folder).await;
    }
    let folder = std::env::temp_dir().join(format!("vk-egress-roots-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    let params = |name: &str| {
        let mut params = rcgen::CertificateParams::new(vec!["receiver.test".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params
    };
    let key = || rcgen::KeyPair::generate().unwrap();
    let mut root = params("Some Root");
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // As Debian's `ssl-cert` makes it: CA:FALSE. Older ones have no basic constraints at all.
    for is_ca in [rcgen::IsCa::ExplicitNoCa, rcgen::IsCa::NoCa] {
        let mut own = params("machine");
        own.is_ca = is_ca;
        let root = rcgen::CertifiedIssuer::self_signed(root.clone(), key()).unwrap();
        let own = rcgen::CertifiedIssuer::self_signed(own, key()).unwrap();
        write("root.pem", root.pem().as_bytes());
        write("ssl-cert-snakeoil.pem", own.pem().as_bytes());
        write("own.der", own.der());
        write("own.key", &own.key().serialize_der());
        for (name, issuer) in [("good", &root), ("forged", &own)] {
            let key = key();
            let leaf = params("a receiver").signed_by(&key, issuer).unwrap();
            write(&format!("{name}.der"), leaf.der());
            write(&format!("{name}.key"), &key.serialize_der());
        }
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
        child.args([
            "--exact",
            "tls::only_authorities_of_the_systems_folder_are_roots",
        ]);
        child
            .env("SSL_CERT_DIR", &folder)
            .env(ROOTS_FOLDER, &folder)
            .env_remove("SSL_CERT_FILE");
        let output = child.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
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
