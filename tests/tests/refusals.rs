//! A refusal reaches whoever it is for, also a client that is still sending what is refused; and what keeps a
//! connection from being kept.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vk_tests::{Api, Service, Setup, eventually, free_port};

const PATIENCE: Duration = Duration::from_secs(60);
const WRONG_KEY: &str = "authorization: Bearer vk_live_wrongwrongwrongwrongwrongwrongwr\r\n";

/// What a client sends: a head without its end, and how much of a body.
struct Sent<'s> {
    method_and_path: &'s str,
    headers: &'s str,
    body: usize,
    chunked: bool,
    /// How many writes the body takes, with a pause between.
    writes: usize,
}

impl Sent<'_> {
    fn head(&self) -> String {
        let length = match self.chunked {
            true => "transfer-encoding: chunked".to_owned(),
            false => format!("content-length: {}", self.body),
        };
        format!(
            "{} HTTP/1.1\r\nhost: a\r\n{}{length}\r\n",
            self.method_and_path, self.headers
        )
    }
}

/// Sends a request wholly before it reads anything of the answer; as proxies and most clients do.
async fn send_wholly(client: &mut TcpStream, sent: &Sent<'_>) -> Result<()> {
    let piece = vec![b'x'; sent.body / sent.writes];
    client
        .write_all(format!("{}\r\n", sent.head()).as_bytes())
        .await?;
    for number in 0..sent.writes {
        if number > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if sent.chunked {
            let size = format!("{:x}\r\n", piece.len());
            client.write_all(size.as_bytes()).await?;
        }
        client.write_all(&piece).await?;
        if sent.chunked {
            client.write_all(b"\r\n").await?;
        }
    }
    if sent.chunked {
        client.write_all(b"0\r\n\r\n").await?;
    }
    Ok(())
}

/// Reads one answer to the end of its declared length: its head and its body.
async fn read_answer(client: &mut TcpStream) -> Result<(String, String)> {
    let mut read = Vec::new();
    let whole = loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse::<usize>()
                    .ok()
            });
            let length = length.context("an answer has a length")?;
            if body.len() >= length {
                break (head.to_owned(), body.to_owned());
            }
        }
        let got = client.read_buf(&mut read).await?;
        ensure!(got > 0, "the answer ends early: {text:?}");
    };
    Ok(whole)
}

/// The status of a complete refusal, and its code.
async fn refused(service: &Service, sent: &Sent<'_>) -> Result<(u16, String)> {
    let mut client = TcpStream::connect(service.address()).await?;
    send_wholly(&mut client, sent)
        .await
        .context("while sending")?;
    let (head, body) = read_answer(&mut client).await.context("while reading")?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let error: serde_json::Value = serde_json::from_str(&body)?;
    let code = error["code"].as_str().context("a code")?.to_owned();
    Ok((status.context("a status")?, code))
}

#[tokio::test]
async fn a_wrong_key_with_a_large_body_is_told_so_each_time() -> Result<()> {
    let service = Setup::new()?.start(&[]).await?;
    for (body, writes, chunked) in [
        (60_000, 1, false),
        (60_000, 10, false),
        (60_000, 1, true),
        (1_000_000, 1, false),
        (1_000_000, 5, true),
        (9_000_000, 1, false),
        // More than is read before an answer.
        (30_000_000, 3, false),
        (30_000_000, 3, true),
    ] {
        let times = if body > 1_000_000 { 5 } else { 50 };
        for number in 0..times {
            let sent = Sent {
                method_and_path: "POST /v1/events",
                headers: WRONG_KEY,
                body,
                chunked,
                writes,
            };
            let told = tokio::time::timeout(PATIENCE, refused(&service, &sent)).await?;
            let told = told.with_context(|| format!("{body} in {writes}, {chunked}, {number}"))?;
            assert_eq!(told, (401, "unauthorized".into()), "{body} in {writes}");
        }
    }
    Ok(())
}

/// A key with the scope to read only.
async fn reader(service: &Service) -> Result<String> {
    service.team("acme").await?;
    let key = json!({"name": "reader", "scopes": ["read"]});
    let operator = service.operator();
    let made = operator
        .call("POST", "/v1/teams/acme/api-keys", &key, 201)
        .await?;
    Ok(made.data()["key"].as_str().context("a key")?.to_owned())
}

#[tokio::test]
async fn every_early_refusal_reaches_a_client_that_sends_a_large_body() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup
        .start(&[
            "--plans",
            "scale:10:5,none:0:5",
            "--rate-limit-per-key",
            "40",
        ])
        .await?;
    let reader = reader(&service).await?;
    let none = json!({"id": "none", "name": "none", "plan": "none"});
    let operator = service.operator();
    operator.call("POST", "/v1/teams", &none, 201).await?;
    let key = json!({"name": "k", "scopes": ["events:write"]});
    let made = operator
        .call("POST", "/v1/teams/none/api-keys", &key, 201)
        .await?;
    let poor = made.data()["key"].as_str().context("a key")?.to_owned();
    leaks::never_say(&reader);
    leaks::never_say(&poor);
    let json = "content-type: application/json\r\n";
    let by = |key: &str| format!("x-api-key: {key}\r\n{json}");
    let operators = format!("authorization: Bearer {}\r\n{json}", vk_tests::OPERATOR_KEY);
    let in_its_name = format!("{operators}x-vantagekit-team: acme\r\n");
    let as_text = in_its_name.replace("application/json", "text/plain");
    for (method_and_path, headers, status, code) in [
        ("POST /v1/events", json.to_owned(), 401, "unauthorized"),
        ("POST /v1/events", by(&poor), 402, "payment_required"),
        ("POST /v1/events", by(&reader), 403, "forbidden"),
        ("POST /v1/nothing", operators.clone(), 404, "not_found"),
        ("POST /nothing", String::new(), 404, "not_found"),
        (
            "PUT /v1/events",
            in_its_name.clone(),
            405,
            "method_not_allowed",
        ),
        (
            "POST /v1/events",
            in_its_name.clone(),
            413,
            "payload_too_large",
        ),
        (
            "POST /v1/events/batch",
            as_text,
            415,
            "unsupported_media_type",
        ),
        (
            "DELETE /v1/teams/nobody",
            operators,
            413,
            "payload_too_large",
        ),
        // The key's limit is used up by now.
        ("POST /v1/nothing", by(&reader), 429, "rate_limit"),
    ] {
        if status == 429 {
            let key = [("x-api-key", reader.as_str())];
            while service
                .stranger()
                .send("GET", "/v1/events", &key, "")
                .await?
                .status
                == 200
            {}
        }
        for (body, writes, chunked) in [(1_000_000, 1, false), (1_000_000, 3, true)] {
            if status == 413 && method_and_path.starts_with("DELETE") && chunked {
                continue; // only a declared length is too large there
            }
            for _ in 0..5 {
                let sent = Sent {
                    method_and_path,
                    headers: &headers,
                    body,
                    chunked,
                    writes,
                };
                let told = tokio::time::timeout(PATIENCE, refused(&service, &sent)).await?;
                let told = told.with_context(|| format!("{method_and_path}: {status}"))?;
                assert_eq!(told, (status, code.into()), "{method_and_path}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_stays_in_use_after_a_refusal_whose_body_was_read() -> Result<()> {
    let service = Setup::new()?.start(&[]).await?;
    let mut client = TcpStream::connect(service.address()).await?;
    for _ in 0..3 {
        let sent = Sent {
            method_and_path: "POST /v1/events",
            headers: WRONG_KEY,
            body: 60_000,
            chunked: false,
            writes: 2,
        };
        send_wholly(&mut client, &sent).await?;
        let (head, _) = read_answer(&mut client).await?;
        assert!(head.starts_with("HTTP/1.1 401"), "{head}");
        assert!(!head.to_lowercase().contains("connection: close"), "{head}");
    }
    Ok(())
}

#[tokio::test]
async fn who_asks_before_sending_is_refused_at_once_and_the_connection_closed() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&[]).await?;
    let team = service.team("acme").await?;
    let right_key = format!("x-api-key: {}\r\n", team.key());
    let text = format!("{right_key}content-type: text/plain\r\n");
    let json = format!("{right_key}content-type: application/json\r\n");
    for (method_and_path, headers, body, status) in [
        ("POST /v1/events", WRONG_KEY, 60_000, "401"),
        ("POST /v1/nothing", &json, 60_000, "404"),
        ("PUT /v1/events", &json, 60_000, "405"),
        ("POST /v1/events", &json, 9_000_000, "413"),
        ("POST /v1/events", &text, 60_000, "415"),
        ("GET /healthz", "", 60_000, "200"),
    ] {
        let mut client = TcpStream::connect(service.address()).await?;
        let headers = format!("{headers}expect: 100-continue\r\n");
        let sent = Sent {
            method_and_path,
            headers: &headers,
            body,
            chunked: false,
            writes: 1,
        };
        let head = format!("{}\r\n", sent.head());
        client.write_all(head.as_bytes()).await?;
        let answer = tokio::time::timeout(Duration::from_secs(10), read_answer(&mut client));
        let (head, _) = answer.await.with_context(|| method_and_path.to_owned())??;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}")),
            "{method_and_path}: {head}"
        );
        assert!(head.to_lowercase().contains("connection: close"), "{head}");
        // It may send its body all the same; nothing is reset.
        client.write_all(&vec![b'x'; 60_000]).await?;
        client.shutdown().await?;
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), client.read_to_end(&mut rest));
        assert_eq!(ended.await??, 0, "{method_and_path}");
    }
    Ok(())
}

#[tokio::test]
async fn the_head_that_is_too_large_is_refused_to_a_client_that_sends_it_all() -> Result<()> {
    let service = Setup::new()?.start(&[]).await?;
    for _ in 0..20 {
        let mut client = TcpStream::connect(service.address()).await?;
        let filler = "a".repeat(1_000_000);
        let head = format!("GET /healthz HTTP/1.1\r\nhost: a\r\nx-filler: {filler}\r\n\r\n");
        client.write_all(head.as_bytes()).await?;
        let (head, _) = read_answer(&mut client).await?;
        assert!(head.starts_with("HTTP/1.1 431"), "{head}");
    }
    Ok(())
}

/// A connection that carried a request and is kept.
async fn kept(service: &Service) -> Result<TcpStream> {
    let mut client = TcpStream::connect(service.address()).await?;
    ask(&mut client).await?;
    Ok(client)
}

async fn ask(client: &mut TcpStream) -> Result<()> {
    client
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        .await?;
    let (head, _) = read_answer(client).await?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    Ok(())
}

#[tokio::test]
async fn kept_connections_make_room_where_all_places_are_taken() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&["--max-connections", "3"]).await?;
    let mut oldest = kept(&service).await?;
    let mut other = kept(&service).await?;
    // This one is never idle for long.
    let mut busy = kept(&service).await?;
    let uses = tokio::spawn(async move {
        for _ in 0..300 {
            ask(&mut busy).await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    ask(&mut oldest).await?;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let newcomer = tokio::time::timeout(Duration::from_secs(10), kept(&service));
    let _newcomer = newcomer.await??;
    ask(&mut oldest).await?;
    let mut nothing = [0; 1];
    let gone = tokio::time::timeout(Duration::from_secs(10), other.read(&mut nothing));
    assert_eq!(gone.await??, 0, "the one that was idle for longest");
    // That a client waited may have ended the busy one's connection too, after an answer: nothing was cut off.
    if let Err(error) = uses.await? {
        assert!(error.to_string().contains("ends early: \"\""), "{error:#}");
    }
    Ok(())
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_time_that_is_set() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&["--idle-timeout", "2s"]).await?;
    let mut client = kept(&service).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    ask(&mut client).await?;
    let begun = Instant::now();
    let mut nothing = [0; 1];
    let ended = tokio::time::timeout(Duration::from_secs(20), client.read(&mut nothing));
    assert_eq!(ended.await??, 0);
    assert!(
        begun.elapsed() > Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn the_metrics_can_have_an_address_of_their_own() -> Result<()> {
    let setup = Setup::new()?;
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let service = setup.start(&["--metrics-listen", &address]).await?;
    eventually("it says where they are", async || {
        service
            .log()
            .contains(&format!("http://{address}/metrics"))
            .then_some(())
    })
    .await;
    let inside = Api::to(address.parse()?);
    let outside = service.stranger();
    for (path, within, without) in [
        ("/metrics", 200, 404),
        ("/healthz", 200, 200),
        ("/readyz", 200, 200),
        ("/v1/events", 404, 401),
        ("/settings", 404, 401),
        ("/openapi.json", 404, 200),
        ("/", 404, 404),
    ] {
        let answered = inside.send("GET", path, &[], "").await?.status;
        assert_eq!(answered, within, "inside: {path}");
        let answered = outside.send("GET", path, &[], "").await?.status;
        assert_eq!(answered, without, "outside: {path}");
    }
    let metrics = inside.send("GET", "/metrics", &[], "").await?;
    assert!(
        metrics.text.contains("vk_webhooks_http_answers"),
        "{}",
        metrics.text
    );
    let same = format!("127.0.0.1:{}", service.address().port());
    let told = Setup::new()?.refusal(&["--metrics-listen", &same]).await?;
    assert!(
        told.contains("--metrics-listen") && told.contains(&same),
        "{told}"
    );
    let (status, log) = service.terminate().await?;
    assert!(status.success(), "{log}");
    Ok(())
}
