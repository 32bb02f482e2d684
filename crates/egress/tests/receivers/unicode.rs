//! A host name in Unicode: looked up, connected to and named to the receiver in its encoded form, told in both.

use hickory_proto::op::ResponseCode;
use hostile::certificates::Flaw;
use hostile::name_server::{Answer, NameServer, addresses};
use hostile::{Twist, answer_all, read_request};
use model::attempt::Reason;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::unbounded_channel;
use vk_egress::{Probe, Transport};

use crate::peer::{AUTHORITY, egress, failure, name_server, peer, post, response, url};

/// A name server that knows `münchen.de`, and one name that leads inside, in their encoded forms.
async fn names() -> NameServer {
    name_server(|host, _| match host {
        "xn--mnchen-3ya.de" => addresses(&["127.0.0.1"]),
        "xn--e1afmkfd.de" => addresses(&["10.0.0.1"]),
        _ => Answer::Code(ResponseCode::NXDomain),
    })
    .await
}

#[tokio::test]
async fn the_receiver_is_asked_for_by_the_encoded_name() {
    let (seen, mut requests) = unbounded_channel();
    let address = peer(move |mut stream, _| {
        let seen = seen.clone();
        async move {
            seen.send(read_request(&mut stream).await.unwrap()).unwrap();
            stream.write_all(b"HTTP/1.1 204 x\r\n\r\n").await
        }
    })
    .await;
    let dns = names().await;
    let egress = egress(None, Some(dns.address));
    for host in ["münchen.de", "MÜNCHEN.de", "xn--mnchen-3ya.de"] {
        let url = url(format!("http://{host}:{}/ü", address.port()));
        response(post(&egress, &url).await);
        let request = requests.recv().await.unwrap().to_lowercase();
        let host = format!("host: xn--mnchen-3ya.de:{}\r\n", address.port());
        assert!(request.starts_with("post /%c3%bc http/1.1\r\n"));
        assert!(request.contains(&host) && request.is_ascii(), "{request}");
    }
}

#[tokio::test]
async fn the_encoded_name_is_sent_as_sni() {
    let (seen, mut hellos) = unbounded_channel();
    let acceptor = AUTHORITY.acceptor(Flaw::None, Twist::None).unwrap();
    let address = peer(move |stream, _| {
        let (acceptor, seen) = (acceptor.clone(), seen.clone());
        async move {
            let hello = tokio_rustls::LazyConfigAcceptor::new(Default::default(), stream).await?;
            let name = hello.client_hello().server_name().map(str::to_owned);
            seen.send(name).unwrap();
            let config = acceptor.config().clone();
            answer_all(hello.into_stream(config).await?).await
        }
    })
    .await;
    let dns = names().await;
    let egress = egress(None, Some(dns.address));
    let url = url(format!("https://münchen.de:{}/", address.port()));
    let failure = failure(post(&egress, &url).await);
    let sni = hellos.recv().await.unwrap();
    assert_eq!(sni.as_deref(), Some("xn--mnchen-3ya.de"));
    // The certificate is for another name.
    assert_eq!(failure.reason, Reason::TlsCertificate);
    let named = failure.detail.contains("münchen.de (xn--mnchen-3ya.de)");
    assert!(named, "{}", failure.detail);
}

#[tokio::test]
async fn what_is_told_names_both_forms() {
    let dns = names().await;
    let egress = egress(None, Some(dns.address));
    let Probe::Unresolved(warning) = egress.probe(&url("https://пример.рф/")).await else {
        panic!("expected a warning");
    };
    let both = "пример.рф (xn--e1afmkfd.xn--p1ai) does not exist";
    assert!(warning.contains(both), "{warning}");
    let Probe::Blocked(problem) = egress.probe(&url("https://пример.de/")).await else {
        panic!("expected a refusal");
    };
    let both = "The host пример.de (xn--e1afmkfd.de) leads to an address";
    assert!(problem.sentence.starts_with(both), "{}", problem.sentence);
}
