//! Hides how a delivery that somebody has at hand is judged.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use signature::{DEFAULT_HEADER_PREFIX, MatchedHeader, Scheme, Verifier};

use super::unix_now;
use crate::console;

/// What `verify` is given.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The endpoint's secret, whole: whsec_…
    #[arg(long, env = "VK_WEBHOOKS_SECRET", hide_env_values = true)]
    secret: String,
    /// A header of the request, as `Name: value`; repeatable
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    header: Vec<String>,
    /// A file with the headers, one a line
    #[arg(long, value_name = "FILE")]
    headers: Option<PathBuf>,
    /// The file with the raw body; `-` reads standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    body: PathBuf,
    /// What the signature headers start with
    #[arg(long, value_name = "PREFIX", default_value = DEFAULT_HEADER_PREFIX)]
    header_prefix: String,
    /// Judge the delivery's age at this time, in Unix seconds, instead of now
    #[arg(long, value_name = "SECONDS")]
    at: Option<i64>,
}

/// Says what is to be said; the exit code is 0 where the delivery is valid.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut lines = options.header.clone();
    if let Some(path) = &options.headers {
        lines.extend(read(path)?.lines().map(str::to_owned));
    }
    let headers = parse(&lines)?;
    let body = body(&options.body)?;
    let (valid, verdict) = judge(options, &headers, &body);
    console::print(verdict)?;
    Ok(if valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn body(path: &Path) -> Result<Vec<u8>> {
    if path != Path::new("-") {
        return std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    }
    let mut body = Vec::new();
    let read = std::io::stdin().read_to_end(&mut body);
    read.context("cannot read the body from standard input")?;
    Ok(body)
}

/// Names and values. A request line, as a captured request has it first, and empty lines are
/// passed over.
fn parse(lines: &[String]) -> Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    for line in lines.iter().map(|line| line.trim_end_matches('\r')) {
        if line.trim().is_empty() || line.ends_with(" HTTP/1.1") {
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            bail!("a header is written `Name: value`, unlike {line:?}");
        };
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    ensure!(
        !headers.is_empty(),
        "there are no headers: give them with --header 'Name: value' or --headers FILE"
    );
    Ok(headers)
}

/// The first scheme that the headers show any trace of decides; both are looked at.
fn judge(options: &Options, headers: &[(String, String)], body: &[u8]) -> (bool, String) {
    let verifier = Verifier::new(&options.secret).with_header_prefix(&options.header_prefix);
    let now = options.at.unwrap_or_else(unix_now);
    let standard = headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("webhook-signature"));
    let own_name = format!("{}-Signature", options.header_prefix);
    let own = headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case(&own_name));
    let mut schemes = Vec::new();
    // Where neither is there, what is missing is told of our own.
    if own || !standard {
        schemes.push((Scheme::VantageKit, own_name.as_str()));
    }
    if standard {
        schemes.push((Scheme::Standard, "webhook-signature"));
    }
    let mut valid = true;
    let mut lines = Vec::new();
    for (scheme, name) in schemes {
        let pairs = headers.iter().map(|(name, value)| (name, value));
        match verifier.explain(scheme, pairs, body, now) {
            Ok(verified) => {
                let next = match verified.matched {
                    MatchedHeader::Signature => "",
                    MatchedHeader::SignatureNext => {
                        " (of the -Next header: a rotation is under way and this is the new secret)"
                    }
                };
                let age = now - verified.timestamp;
                lines.push(format!("{name}: valid{next}, sent {age} s before"));
            }
            Err(failure) => {
                valid = false;
                lines.push(format!("{name}: NOT valid ({}): {failure}", failure.code()));
            }
        }
    }
    (valid, lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    // The delivery that docs/receivers/README.md shows.
    const LINES: [&str; 3] = [
        "POST /webhooks HTTP/1.1",
        "x-vantagekit-timestamp: 1764000000",
        "X-VantageKit-Signature: \
         sha256=954fdbff664822c994937b22a1ad5a53365f0d547fc79874f7eb9b6ab76cfded",
    ];
    const BODY: &[u8] = br#"{"type":"link.clicked","data":{}}"#;

    fn judged(secret: &str, body: &[u8], at: i64) -> (bool, String) {
        let options = Options {
            secret: secret.to_owned(),
            header: vec![],
            headers: None,
            body: PathBuf::new(),
            header_prefix: DEFAULT_HEADER_PREFIX.to_owned(),
            at: Some(at),
        };
        let headers = parse(&LINES.map(str::to_owned)).unwrap();
        judge(&options, &headers, body)
    }

    #[test]
    fn a_genuine_delivery_is_valid_and_each_mistake_is_named() {
        let (valid, verdict) = judged(SECRET, BODY, 1_764_000_003);
        assert!(valid, "{verdict}");
        assert_eq!(verdict, "X-VantageKit-Signature: valid, sent 3 s before");
        for (secret, body, at, code) in [
            (SECRET, BODY, 1_764_000_301, "timestamp_too_old"),
            (SECRET, BODY, 1_763_999_000, "timestamp_in_future"),
            (
                &SECRET["whsec_".len()..],
                BODY,
                1_764_000_000,
                "secret_without_prefix",
            ),
            (
                SECRET,
                b"{}".as_slice(),
                1_764_000_000,
                "secret_or_body_differs",
            ),
        ] {
            let (valid, verdict) = judged(secret, body, at);
            assert!(!valid && verdict.contains(code), "{code}: {verdict}");
        }
    }

    #[test]
    fn headers_that_are_none_are_named() {
        assert!(parse(&[]).is_err());
        let error = parse(&["nonsense".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("nonsense"));
    }
}
