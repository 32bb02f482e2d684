//! A server with one thread waits for the next request on a connection that is kept, and serves nobody else
//! meanwhile (Python's `HTTPServer` with HTTP/1.1). It gets all deliveries of a burst, each once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use vk_tests::{Setup, eventually_within};

const EVENTS: usize = 10;

/// Serves one connection after the other, each until it ends; remembers the ids of the deliveries.
fn serve(listener: &TcpListener, ids: &Mutex<Vec<String>>) {
    for stream in listener.incoming().map_while(Result::ok) {
        let served = serve_all(stream, ids);
        // A connection that breaks is not the end of the server.
        drop(served);
    }
}

fn serve_all(mut stream: TcpStream, ids: &Mutex<Vec<String>>) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut id, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim().split_once(": ") {
                Some(("content-length", value)) => length = value.parse()?,
                Some(("x-vantagekit-delivery", value)) => id = Some(value.to_owned()),
                None if line.trim().is_empty() => break,
                _ => {}
            }
        }
        reader.read_exact(&mut vec![0; length])?;
        let mut ids = ids.lock().expect("nobody panicked");
        ids.push(id.context("the delivery's id")?);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_one_thread_gets_all_of_a_burst_each_once() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address: SocketAddr = listener.local_addr()?;
    let ids = Arc::new(Mutex::new(Vec::new()));
    let seen = ids.clone();
    std::thread::spawn(move || serve(&listener, &seen));

    let setup = Setup::new()?;
    let service = setup.start(&["--allow-http"]).await?;
    let team = service.team("acme").await?;
    team.endpoint(&format!("http://{address}/"), &[]).await?;
    // Twice, so that the second burst begins with a connection that is kept.
    for burst in 1..=2 {
        let data = json!({"teamId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ab",
            "memberId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ac", "email": "a@example.com"});
        let event = json!({"type": "team.member_removed", "data": data});
        let events = json!({"events": vec![event; EVENTS]});
        team.call("POST", "/v1/events/batch", &events, 202).await?;
        eventually_within(Duration::from_secs(60), "all are delivered", async || {
            let delivered = team.deliveries("status=delivered").await.ok()?;
            (delivered.len() == EVENTS * burst).then_some(())
        })
        .await;
    }
    let mut ids = ids.lock().expect("nobody panicked").clone();
    assert_eq!(ids.len(), 2 * EVENTS, "some came twice");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2 * EVENTS);
    for delivery in team.deliveries("status=delivered").await? {
        assert_eq!(delivery["attemptCount"], 1, "{delivery}");
    }
    Ok(())
}
