//! Checks the receiver's verify function with the vectors that every language shares.
//!
//!     cargo run -p vk-signature --example check_vectors

#[allow(dead_code, reason = "only its verify function is wanted here")]
#[path = "receiver.rs"]
mod receiver;

use std::process::ExitCode;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use vk_signature::Verifier;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../crates/signature/vectors.json"))?;
    let cases = vectors["verify"]
        .as_array()
        .ok_or("vectors.json has no `verify`")?;
    let (mut passed, mut failed) = (0, 0);
    for case in cases.iter().filter(|case| case["scheme"] == "vantagekit") {
        let (answer, valid) = (answer(&vectors, case)?, case["valid"] == true);
        if answer == valid {
            passed += 1;
        } else {
            failed += 1;
            eprintln!(
                "FAILED: {}: expected {valid}, but was {answer}",
                case["name"]
            );
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(ExitCode::from(u8::from(failed > 0 || passed == 0)))
}

fn answer(vectors: &Value, case: &Value) -> Result<bool, Box<dyn std::error::Error>> {
    let setting = |name: &str| case.get(name).unwrap_or(&vectors[name]);
    let mut headers = HeaderMap::new();
    for (name, value) in case["headers"].as_object().ok_or("a case has no headers")? {
        let value = value.as_str().ok_or("a header is no text")?;
        // A value that HTTP cannot carry never reaches a receiver: it is as good as refused.
        let Ok(value) = HeaderValue::from_str(value) else {
            return Ok(false);
        };
        headers.append(HeaderName::try_from(name)?, value);
    }
    let text = |name: &str| case[name].as_str().ok_or("a case lacks a text");
    let verifier = Verifier::new(text("secret")?)
        .with_header_prefix(setting("headerPrefix").as_str().ok_or("no header prefix")?)
        .with_tolerance_seconds(setting("toleranceSeconds").as_u64().ok_or("no tolerance")?);
    let now = case["now"].as_i64().ok_or("a case has no time")?;
    Ok(receiver::verify(&verifier, &headers, text("body")?.as_bytes(), now).is_ok())
}
