//! Hides how a delivery that somebody has at hand is judged: valid, or what precisely is wrong with it. What is
//! pasted is used once, and neither kept nor logged.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::Uri;
use model::endpoint::{Endpoint, Secret};
use model::id::DeliveryId;
use signature::{BodyChange, Failure, MatchedHeader, Scheme, Verified, Verifier};
use subtle::ConstantTimeEq as _;

use super::answer::{self, Frame, Tab, Trouble};
use super::form::Form;
use super::harmless::harmless;
use super::rooms::Rooms;
use super::session::Visit;
use super::words::{Prose, name_of};
use crate::App;
use model::time::Timestamp;

/// How much of two bodies is shown around where they begin to differ.
const AROUND: usize = 48;

pub(super) fn rooms() -> Rooms {
    Rooms::default()
        .get("/settings/teams/{team}/debugger", show)
        .post("/settings/teams/{team}/debugger", judge)
}

/// What is said of one of the two signatures.
struct Verdict {
    header: String,
    valid: bool,
    code: &'static str,
    sentence: Prose,
}

/// Where the pasted body begins to differ from the one that was sent.
struct Difference {
    at: usize,
    before: String,
    sent: String,
    given: String,
}

/// What the log knows about the pasted delivery.
struct Known {
    path: String,
    event_type: String,
    secret_good: bool,
    secret: String,
    body_same: bool,
    difference: Option<Difference>,
}

#[derive(Template)]
#[template(path = "settings/debugger.html")]
struct Debugger {
    frame: Frame,
    base: String,
    headers: String,
    body: String,
    problem: Option<&'static str>,
    verdicts: Vec<Verdict>,
    known: Option<Known>,
}

async fn show(visit: Visit, State(app): State<App>, _: Uri) -> Response {
    answer::ok(&empty(&app, &visit, &Form::default()))
}

fn empty(app: &App, visit: &Visit, form: &Form) -> Debugger {
    Debugger {
        frame: Frame::of(app, visit, Tab::Debugger, "Signature debugger"),
        base: visit.base(),
        headers: form.raw("headers").to_owned(),
        body: form.raw("body").to_owned(),
        problem: None,
        verdicts: Vec::new(),
        known: None,
    }
}

async fn judge(visit: Visit, State(app): State<App>, form: Form) -> Result<Response, Trouble> {
    let mut page = empty(&app, &visit, &form);
    let headers = pairs(form.raw("headers"));
    let secret = form.raw("secret");
    page.problem = if headers.is_empty() {
        Some("Paste the request's headers, each as `Name: value` on a line of its own.")
    } else if secret.trim().is_empty() {
        Some("Paste the endpoint's secret: it is used once, and not kept.")
    } else {
        None
    };
    if page.problem.is_none() {
        let prefix = &app.engine.options().brand.header_prefix;
        let verifier = Verifier::new(secret).with_header_prefix(prefix);
        let now = app.engine.clock().now().as_seconds();
        page.verdicts = verdicts(&verifier, prefix, &headers, form.raw("body"), now);
        page.known = known(&app, &visit, prefix, &headers, &form).await?;
    }
    Ok(answer::ok(&page))
}

/// Names and values. The request line, as a captured request has it first, is passed over.
fn pairs(text: &str) -> Vec<(String, String)> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_end().ends_with(" HTTP/1.1"));
    let pairs = lines.filter_map(|line| line.split_once(':'));
    pairs
        .map(|(name, value)| {
            (
                name.trim().to_owned(),
                value.strip_prefix(' ').unwrap_or(value).to_owned(),
            )
        })
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

/// Browsers send the line ends of a field as CR LF, whatever was pasted: first as LF, then as CR LF.
fn bodies(text: &str) -> [Vec<u8>; 2] {
    let unix = text.replace("\r\n", "\n");
    [
        unix.clone().into_bytes(),
        unix.replace('\n', "\r\n").into_bytes(),
    ]
}

/// The verdict of each scheme that the headers show a trace of.
fn verdicts(
    verifier: &Verifier,
    prefix: &str,
    headers: &[(String, String)],
    body: &str,
    now: i64,
) -> Vec<Verdict> {
    let has = |wanted: &str| {
        headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(wanted))
    };
    let own = format!("{prefix}-");
    let is_own = |name: &str| {
        name.get(..own.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(&own))
    };
    let standard = has("webhook-signature");
    let mut schemes = Vec::new();
    // Where neither is there, what is missing is told of our own.
    if headers.iter().any(|(name, _)| is_own(name)) || !standard {
        schemes.push((Scheme::VantageKit, format!("{prefix}-Signature")));
    }
    if standard {
        schemes.push((Scheme::Standard, "webhook-signature".to_owned()));
    }
    let verdict = |(scheme, header)| verdict(verifier, scheme, header, headers, body, now);
    schemes.into_iter().map(verdict).collect()
}

fn verdict(
    verifier: &Verifier,
    scheme: Scheme,
    header: String,
    headers: &[(String, String)],
    body: &str,
    now: i64,
) -> Verdict {
    let explain = |body: &[u8]| {
        let pairs = headers.iter().map(|(name, value)| (name, value));
        verifier.explain(scheme, pairs, body, now)
    };
    let [unix, windows] = bodies(body);
    let judged = match explain(&unix) {
        Err(Failure::BodyChanged(BodyChange::LineEnds)) => explain(&windows),
        judged => judged,
    };
    match judged {
        Ok(verified) => Verdict {
            header,
            valid: true,
            code: "valid",
            sentence: Prose::of(&valid(&verified, now)),
        },
        Err(failure) => Verdict {
            header,
            valid: false,
            code: failure.code(),
            sentence: Prose::of(&failure.to_string()),
        },
    }
}

fn valid(verified: &Verified, now: i64) -> String {
    let which = match verified.matched {
        MatchedHeader::Signature => "",
        MatchedHeader::SignatureNext => {
            ", in the -Next header: a rotation is under way, and this is the new secret"
        }
    };
    format!(
        "The signature is right{which}. It was made {} s ago.",
        now - verified.timestamp
    )
}

/// What the log knows about the delivery that the headers name.
async fn known(
    app: &App,
    visit: &Visit,
    prefix: &str,
    headers: &[(String, String)],
    form: &Form,
) -> Result<Option<Known>, Trouble> {
    let names = [format!("{prefix}-Delivery"), "webhook-id".to_owned()];
    let value = headers
        .iter()
        .find(|(name, _)| names.iter().any(|wanted| name.eq_ignore_ascii_case(wanted)))
        .map(|(_, value)| value.trim());
    let store = app.engine.store();
    let Some(id) = value.and_then(|text| store.codec().parse::<DeliveryId>(text)) else {
        return Ok(None);
    };
    let team = visit.team.id;
    let Some(delivery) = store.delivery_alone(team, id).await? else {
        return Ok(None);
    };
    let Some((event, _)) = store.event(team, delivery.event).await? else {
        return Ok(None);
    };
    let endpoint = store.endpoint(team, delivery.endpoint).await?;
    let [unix, windows] = bodies(form.raw("body"));
    let body_same = unix == event.body || windows == event.body;
    let (secret_good, secret) = match &endpoint {
        Some(endpoint) => {
            let now = app.engine.clock().now();
            about_secret(endpoint, form.raw("secret"), now)
        }
        None => (
            false,
            "Its endpoint was deleted, and its secret with it.".to_owned(),
        ),
    };
    Ok(Some(Known {
        path: format!("{}/deliveries/{}", visit.base(), store.codec().uuid(id)),
        event_type: delivery.event_type,
        secret_good,
        secret,
        body_same,
        difference: (!body_same).then(|| difference(&event.body, &unix)),
    }))
}

/// Whether a secret is the one that was pasted, in a time that tells nothing of how much of it is right.
fn is_same(secret: &Secret, given: &str) -> bool {
    secret.expose().as_bytes().ct_eq(given.as_bytes()).into()
}

/// Whether a secret is an endpoint's.
fn about_secret(endpoint: &Endpoint, given: &str, now: Timestamp) -> (bool, String) {
    let secrets = &endpoint.secrets;
    let name = name_of(endpoint);
    if is_same(&secrets.current, given) {
        return (true, format!("The secret is the current one of {name}."));
    }
    let mut previous = secrets.previous.iter();
    if let Some((_, end)) = previous.find(|(old, _)| is_same(old, given)) {
        let sentence = "The secret is one that was replaced at";
        return if *end > now {
            let sentence = format!("{sentence} {name}, and is still in use until it expires.");
            (true, sentence)
        } else {
            let sentence =
                format!("{sentence} {name}, and is not in use any more: use the new one.");
            (false, sentence)
        };
    }
    if is_same(&secrets.current, given.trim()) {
        let sentence = "The secret has spaces or a line end around it; without them it is that of";
        return (false, format!("{sentence} {name}."));
    }
    (
        false,
        format!(
            "The secret is not one of {name}, which this delivery was sent to. Use the secret of \
             that endpoint, or rotate it to see a new one."
        ),
    )
}

fn difference(sent: &[u8], given: &[u8]) -> Difference {
    let same = sent.iter().zip(given).take_while(|(a, b)| a == b).count();
    let piece = |bytes: &[u8]| {
        let end = bytes.len().min(same + AROUND);
        let text = harmless(&bytes[same.min(end)..end], AROUND).0;
        if text.is_empty() {
            "(nothing more)".to_owned()
        } else {
            visible(&text)
        }
    };
    let start = same.saturating_sub(AROUND);
    Difference {
        at: same + 1,
        before: visible(&harmless(&sent[start..same], AROUND).0),
        sent: piece(sent),
        given: piece(given),
    }
}

/// With spaces and line ends that can be seen.
fn visible(text: &str) -> String {
    text.replace(' ', "·").replace('\n', "↵").replace('\t', "→")
}

#[cfg(test)]
mod tests {
    use super::*;

    // The delivery that docs/receivers/README.md shows.
    const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const HEADERS: &str = "POST /webhooks HTTP/1.1\r\nX-VantageKit-Timestamp: 1764000000\r\n\
        x-vantagekit-signature: sha256=954fdbff664822c994937b22a1ad5a53365f0d547fc79874f7eb9b6ab76cfded";
    const BODY: &str = r#"{"type":"link.clicked","data":{}}"#;

    #[test]
    fn a_genuine_delivery_is_valid_and_each_mistake_has_its_name() {
        let base64 = HEADERS.replace(
            "954fdbff664822c994937b22a1ad5a53365f0d547fc79874f7eb9b6ab76cfded",
            "lU/b/2ZIIsmUk3sioa1aUzZfDVR/x5h0+eubara3z90=",
        );
        for (secret, headers, body, at, code) in [
            (SECRET, HEADERS, BODY, 3, "valid"),
            (SECRET, HEADERS, BODY, 400, "timestamp_too_old"),
            ("whsec_other", HEADERS, BODY, 0, "secret_or_body_differs"),
            (&format!("{SECRET} "), HEADERS, BODY, 0, "secret_whitespace"),
            (
                SECRET,
                HEADERS,
                r#"{"type": "link.clicked", "data": {}}"#,
                0,
                "body_rewritten",
            ),
            (SECRET, HEADERS, &format!("{BODY}\r\n"), 0, "body_end_added"),
            (
                SECRET,
                "x-vantagekit-timestamp: 1764000000",
                BODY,
                0,
                "missing_header",
            ),
            (SECRET, &base64, BODY, 0, "base64_instead_of_hex"),
        ] {
            let verifier = Verifier::new(secret);
            let found = verdicts(
                &verifier,
                "X-VantageKit",
                &pairs(headers),
                body,
                1_764_000_000 + at,
            );
            assert_eq!(found.len(), 1);
            let judged = (found[0].code, found[0].valid);
            assert_eq!(judged, (code, code == "valid"));
        }
    }

    #[test]
    fn two_bodies_are_shown_from_where_they_differ() {
        let found = difference(b"{\"a\":1}", b"{\"a\": 1}");
        assert_eq!((found.at, found.before.as_str()), (6, "{\"a\":"));
        assert_eq!((found.sent.as_str(), found.given.as_str()), ("1}", "·1}"));
        let cut = difference(b"abc", b"ab");
        assert_eq!(
            (cut.sent.as_str(), cut.given.as_str()),
            ("c", "(nothing more)")
        );
    }
}
