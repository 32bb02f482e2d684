//! The demo by itself, and the tools for people at their terminals, as processes.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use vk_tests::{Setup, TempDir, eventually, free_port, program, run};

/// The number before a word in a text.
fn number_before(text: &str, word: &str) -> u64 {
    let end = text
        .find(word)
        .unwrap_or_else(|| panic!("no {word:?} in {text}"));
    let number = text[..end]
        .trim_end()
        .rsplit(' ')
        .next()
        .unwrap_or_default();
    number
        .parse()
        .unwrap_or_else(|_| panic!("no number before {word:?} in {text}"))
}

#[tokio::test]
async fn the_demo_ends_by_itself_without_a_terminal_and_its_sums_add_up() -> Result<()> {
    let started = Instant::now();
    let output = run(&["demo", "--seconds", "8"], &[]).await?;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(started.elapsed() > Duration::from_secs(8));
    assert!(
        !output.out.contains('\x1b'),
        "no escape codes without a terminal"
    );
    for part in [
        "service        http://127.0.0.1:",
        "vk_admin_",
        "settings page  http://",
        "curl",
    ] {
        assert!(
            output.out.contains(part),
            "{part:?} is not in {}",
            output.out
        );
    }
    assert!(
        output
            .out
            .lines()
            .filter(|line| line.contains(" s: "))
            .count()
            >= 6,
        "{output:?}"
    );

    let sums = output
        .out
        .lines()
        .find(|line| line.contains("events made"))
        .context("sums")?;
    let events = number_before(sums, " events made");
    let delivered = number_before(sums, " delivered +");
    let dead = number_before(sums, " dead-lettered");
    let owed = number_before(sums, " still to be retried");
    assert!(events >= 42, "each type twice: {sums}");
    assert_eq!(number_before(sums, " deliveries:"), 5 * events, "{sums}");
    assert_eq!(delivered + dead + owed, 5 * events, "{sums}");
    assert!(dead >= events, "everything to the rejecting one: {sums}");
    assert!(output.out.contains("It adds up"), "{}", output.out);
    assert!(output.out.contains("; 0 did not verify"), "{}", output.out);
    let verified = output
        .out
        .lines()
        .find(|line| line.contains("both signatures of"));
    assert!(number_before(verified.context("verified")?, " requests;") > 3 * events);
    Ok(())
}

#[tokio::test]
async fn the_openapi_document_is_the_one_that_is_served() -> Result<()> {
    let printed = run(&["openapi"], &[]).await?;
    let printed: Value = serde_json::from_str(&printed.out)?;
    assert!(
        printed["openapi"]
            .as_str()
            .unwrap_or_default()
            .starts_with("3.1"),
        "{printed}"
    );
    let setup = Setup::new()?;
    let service = setup.start(&[]).await?;
    let served = service.stranger().get("/openapi.json").await?;
    assert_eq!(served.json, printed);
    Ok(())
}

#[tokio::test]
async fn the_printed_defaults_are_a_configuration_that_works() -> Result<()> {
    let printed = run(&["config"], &[]).await?;
    let setup = Setup::new()?;
    let path = setup.folder.file("all.toml");
    std::fs::write(&path, printed.out)?;
    let service = setup.start(&["--config", &path]).await?;
    assert_eq!(
        service
            .stranger()
            .send("GET", "/readyz", &[], "")
            .await?
            .status,
        200
    );
    Ok(())
}

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// `verify` of one delivery, whose body comes from standard input.
async fn verify(secret: &str, body: &[u8], more: &[&str]) -> Result<(Option<i32>, String)> {
    let mut arguments = vec![
        "verify",
        "--header",
        "X-VantageKit-Timestamp: 1764000000",
        "--header",
        "X-VantageKit-Signature: \
         sha256=954fdbff664822c994937b22a1ad5a53365f0d547fc79874f7eb9b6ab76cfded",
    ];
    arguments.extend(more);
    let mut process = program(&arguments)?
        .env("VK_WEBHOOKS_SECRET", secret)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    process
        .stdin
        .take()
        .context("piped")?
        .write_all(body)
        .await?;
    let output = process.wait_with_output().await?;
    Ok((output.status.code(), String::from_utf8(output.stdout)?))
}

#[tokio::test]
async fn verify_says_valid_or_why_not_by_its_exit_code_too() -> Result<()> {
    let body = br#"{"type":"link.clicked","data":{}}"#;
    let (code, said) = verify(SECRET, body, &["--at", "1764000010"]).await?;
    assert_eq!(
        (code, said.trim()),
        (Some(0), "X-VantageKit-Signature: valid, sent 10 s before")
    );
    let (code, said) = verify(SECRET, body, &[]).await?;
    assert!(
        code == Some(1) && said.contains("timestamp_too_old"),
        "{said}"
    );
    let (code, said) = verify(SECRET, b"{ }", &["--at", "1764000010"]).await?;
    assert!(code == Some(1) && said.contains("NOT valid"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
    Ok(())
}

#[tokio::test]
async fn trigger_publishes_and_listen_verifies_prints_and_forwards() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&["--allow-http"]).await?;
    let team = service.team("acme").await?;
    let behind = setup.plain_inbox().await?;

    // The endpoint needs the port, and the listener the endpoint's secret.
    let port = free_port()?;
    let endpoint = team
        .endpoint(&format!("http://127.0.0.1:{port}/"), &[])
        .await?;
    let forward_to = behind.url();
    let port_text = port.to_string();
    let arguments = ["listen", "--port", &port_text, "--forward-to", &forward_to];
    let mut listener = program(&arguments)?
        .env("VK_WEBHOOKS_SECRET", &endpoint.secret)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(listener.stdout.take().context("piped")?).lines();
    let first = lines.next_line().await?.unwrap_or_default();
    assert_eq!(first, format!("listening on http://127.0.0.1:{port}/"));

    let url = format!("http://{}", service.address());
    let trigger = [
        "trigger",
        "agreement.signed",
        "--url",
        &url,
        "--set",
        "name=Mutual NDA",
    ];
    let output = run(&trigger, &[("VK_WEBHOOKS_API_KEY", team.key())]).await?;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.out.contains(": 1 delivery"), "{output:?}");

    let arrival = behind.wait_for(1).await.remove(0);
    let body: Value = serde_json::from_slice(&arrival.body)?;
    assert_eq!(
        (&body["type"], &body["data"]["name"]),
        (&json!("agreement.signed"), &json!("Mutual NDA"))
    );
    vk_tests::verify(&arrival, &endpoint.secret).unwrap();
    let printed = eventually("the delivery is printed", async || {
        let line = lines.next_line().await.ok()??;
        line.starts_with("agreement.signed ").then_some(line)
    })
    .await;
    assert!(printed.ends_with(": genuine"), "{printed}");

    let wrong = ["trigger", "agreement.nonsense", "--url", &url];
    let output = run(&wrong, &[("VK_WEBHOOKS_API_KEY", team.key())]).await?;
    assert!(
        output.code == Some(1) && output.err.contains("404"),
        "{output:?}"
    );
    Ok(())
}

#[tokio::test]
async fn listen_refuses_what_is_not_genuine() -> Result<()> {
    let folder = TempDir::new()?;
    let certificate = folder.file("listen.pem");
    let port = free_port()?;
    let mut listener = program(&["listen", "--port", &port.to_string(), "--secret", SECRET])?
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(listener.stdout.take().context("piped")?).lines();
    lines.next_line().await?;
    let api = vk_tests::Api::to(([127, 0, 0, 1], port).into());
    let reply = api.send("POST", "/", &[], "{}").await?;
    assert_eq!(reply.status, 401);

    let arguments = ["listen", "--port", "0", "--https", &certificate];
    let mut listener = program(&arguments)?.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(listener.stdout.take().context("piped")?).lines();
    let first = lines.next_line().await?.unwrap_or_default();
    assert!(
        first.starts_with("listening on https://127.0.0.1:"),
        "{first}"
    );
    assert!(std::fs::read_to_string(&certificate)?.contains("BEGIN CERTIFICATE"));
    Ok(())
}
