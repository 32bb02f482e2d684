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

/// What is said of a signature that does not fit, and of which nothing tells why.
const SECRET_OR_BODY: &str = "secret_or_body_differs";
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
    /// Whether the pasted secret is in use at the endpoint; not known where that was deleted.
    secret_is_right: Option<bool>,
    secret: String,
    body: BodyIs,
    difference: Option<Difference>,
}

/// What the pasted body is to the one that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyIs {
    Same,
    /// The same JSON in other bytes.
    Rewritten,
    Another,
}

#[derive(Template)]
#[template(path = "settings/debugger.html")]
struct Debugger {
    frame: Frame,
    base: String,
    headers: String,
    body: String,
    /// Whether what was pasted is too long to be shown again.
    too_long: bool,
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
        headers: form.again("headers").to_owned(),
        body: form.again("body").to_owned(),
        too_long: ["headers", "body"]
            .iter()
            .any(|name| form.again(name) != form.raw(name)),
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
        let valid = page.verdicts.iter().any(|verdict| verdict.valid);
        page.known = known(&app, &visit, prefix, &headers, &form, valid).await?;
        if let Some(known) = &page.known {
            page.verdicts
                .iter_mut()
                .for_each(|verdict| known.decide(verdict));
        }
    }
    Ok(answer::ok(&page))
}

/// Names and values: a line each, as a request has them, or a JSON object, as programs print them. The request
/// line, as a captured request has it first, is passed over.
fn pairs(text: &str) -> Vec<(String, String)> {
    if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text) {
        return object.into_iter().filter_map(pair).collect();
    }
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

/// A header of a JSON object: a text, or a list of texts of which the first counts.
fn pair((name, value): (String, serde_json::Value)) -> Option<(String, String)> {
    let value = match &value {
        serde_json::Value::Array(all) => all.first()?,
        one => one,
    };
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => number.to_string(),
        _ => return None,
    };
    Some((name, text))
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
    let ago = now - verified.timestamp;
    let when = match ago {
        0.. => format!("It was made {ago} s ago."),
        _ => format!(
            "It is dated {} s ahead of the clock here, which receivers accept.",
            -ago
        ),
    };
    format!("The signature is right{which}. {when}")
}

impl Known {
    /// Says of a signature that does not fit which part is to blame, where the log can tell.
    fn decide(&self, verdict: &mut Verdict) {
        if verdict.code != SECRET_OR_BODY {
            return;
        }
        let (code, sentence) = match (self.secret_is_right, self.body) {
            (Some(true), BodyIs::Rewritten) => (
                "body_rewritten",
                "The secret is right, but the body was parsed and written again: it is the same JSON in other \
                 bytes (order of keys, spaces, escapes). Verify the bytes as they arrived, before \
                 anything parses them.",
            ),
            (Some(true), BodyIs::Another) => (
                "body_differs",
                "The secret is right, but the body is not the one that was sent. Below is where they begin \
                 to differ.",
            ),
            (Some(true), BodyIs::Same) => (
                "timestamp_or_id_differs",
                "Secret and body are right, so what was signed with them was another timestamp (or, in \
                 `webhook-signature`, another id). Paste all headers of one and the same request. One that \
                 was sent before the secret was last rotated is signed with the secret of then.",
            ),
            (Some(false), BodyIs::Same) => (
                "wrong_secret",
                "The body is byte for byte what was sent: it is the secret that is wrong. Below is what is \
                 known of it.",
            ),
            _ => return,
        };
        verdict.code = code;
        verdict.sentence = Prose::of(sentence);
    }
}

/// What the log knows about the delivery that the headers name.
async fn known(
    app: &App,
    visit: &Visit,
    prefix: &str,
    headers: &[(String, String)],
    form: &Form,
    valid: bool,
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
    let body = body_is(&event.body, &unix, &windows);
    let (secret_is_right, secret) = match &endpoint {
        Some(endpoint) => {
            let now = app.engine.clock().now();
            let (right, sentence) = about_secret(endpoint, form.raw("secret"), now, valid);
            (Some(right), sentence)
        }
        None => (
            None,
            "Its endpoint was deleted, and its secret with it.".to_owned(),
        ),
    };
    Ok(Some(Known {
        path: format!("{}/deliveries/{}", visit.base(), store.codec().uuid(id)),
        event_type: delivery.event_type,
        secret_is_right,
        secret,
        body,
        difference: (body != BodyIs::Same).then(|| difference(&event.body, &unix)),
    }))
}

fn body_is(sent: &[u8], unix: &[u8], windows: &[u8]) -> BodyIs {
    let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    if unix == sent || windows == sent {
        BodyIs::Same
    } else if json(sent).is_some_and(|sent| json(unix) == Some(sent)) {
        BodyIs::Rewritten
    } else {
        BodyIs::Another
    }
}

/// Whether a secret is the one that was pasted, in a time that tells nothing of how much of it is right.
fn is_same(secret: &Secret, given: &str) -> bool {
    secret.expose().as_bytes().ct_eq(given.as_bytes()).into()
}

/// Whether a secret is in use at an endpoint, and what else is known of it. `valid`: a signature was made with it.
fn about_secret(endpoint: &Endpoint, given: &str, now: Timestamp, valid: bool) -> (bool, String) {
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
    if valid {
        let sentence = "The secret signed this delivery, but is not in use any more at";
        return (false, format!("{sentence} {name}: use the new one."));
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
    fn headers_are_read_as_people_have_them() {
        let expected = [("a-b", "1, 2"), ("c", "3")];
        for text in [
            "a-b: 1, 2\nc: 3",
            "POST / HTTP/1.1\r\na-b:1, 2\r\nc:3\r\n\r\n",
            r#"{"a-b": "1, 2", "c": 3}"#,
            r#"{"a-b": ["1, 2", "4"], "c": ["3"], "d": null}"#,
        ] {
            let found = pairs(text);
            let found: Vec<_> = found.iter().map(|(a, b)| (&**a, &**b)).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn the_log_tells_which_part_is_to_blame() {
        for (secret, body, code) in [
            (Some(true), BodyIs::Rewritten, "body_rewritten"),
            (Some(true), BodyIs::Another, "body_differs"),
            (Some(true), BodyIs::Same, "timestamp_or_id_differs"),
            (Some(false), BodyIs::Same, "wrong_secret"),
            (Some(false), BodyIs::Rewritten, SECRET_OR_BODY),
            (None, BodyIs::Same, SECRET_OR_BODY),
        ] {
            let known = Known {
                path: String::new(),
                event_type: String::new(),
                secret_is_right: secret,
                secret: String::new(),
                body,
                difference: None,
            };
            for before in [SECRET_OR_BODY, "missing_header"] {
                let mut verdict = Verdict {
                    header: String::new(),
                    valid: false,
                    code: before,
                    sentence: Prose::of("x"),
                };
                known.decide(&mut verdict);
                let expected = if before == SECRET_OR_BODY {
                    code
                } else {
                    before
                };
                assert_eq!(verdict.code, expected, "{secret:?} {body:?}");
                assert_eq!(verdict.sentence.plain() == "x", verdict.code == before);
            }
        }
        for (given, is) in [
            ("{\"a\":1,\"b\":2}", BodyIs::Same),
            ("{\"b\":2, \"a\":1}", BodyIs::Rewritten),
            ("{\"a\":1}", BodyIs::Another),
            ("", BodyIs::Another),
        ] {
            let [unix, windows] = bodies(given);
            assert_eq!(
                body_is(b"{\"a\":1,\"b\":2}", &unix, &windows),
                is,
                "{given}"
            );
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
