//! Hides the values that any test may use where their content does not matter.

use anyhow::Result;
use serde_json::{Value, json};

/// Valid data of a `team.member_removed`.
pub fn member_removed() -> Value {
    json!({
        "teamId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ab",
        "memberId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ac",
        "email": "a@example.com"
    })
}

/// A port of loopback that nobody listened at a moment ago.
///
/// # Errors
/// Where there is none.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port())
}
