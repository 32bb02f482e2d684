//! Hides what is to be done about a response, by its status and by what else it shows.

use model::attempt::Attempt;
use model::hint::{Hint, Limit, hint, is_html};

use super::{Advice, Before};

/// What to do about a status that is neither 2xx nor 3xx.
pub(super) fn of_status(attempt: &Attempt, before: Before) -> Advice {
    let status = attempt.status_code.unwrap_or(0);
    match hint_of(attempt) {
        Some(hint) => of_hint(hint),
        None => by_number(status, before),
    }
}

/// What to do about a 2xx that may be nobody's answer: the first ever, with nothing in it or with a page.
/// Some servers say 200 to hosts and paths that they do not know.
pub(super) fn of_success(attempt: &Attempt, before: Before) -> Option<Advice> {
    let body = attempt.response_body.as_deref()?;
    let page = is_html(&attempt.response_headers, body);
    let empty = body.is_empty() && attempt.status_code == Some(200);
    if before.delivered || !(page || empty) {
        return None;
    }
    let shown = match page {
        true => {
            "It answered with a page for people (HTML). A receiver's own code rarely does: see that the URL's path is the webhook's, and not that of a website, of a page to sign in or of a proxy's welcome."
        }
        false => {
            "It answered 200 with nothing in it. Some servers say so to hosts and paths that they do not know: Caddy, for one, where no route matches."
        }
    };
    let log = "Look into your receiver's log for this delivery. If it is there, all is well, and nothing is to be done.";
    let answer = "Let your code answer with a word of its own, such as `{\"received\":true}`: then it shows in this log who answered.";
    Some(Advice::new(
        "It answered, but was it your code?",
        &[shown, log, answer],
        false,
    ))
}

/// What to do about a redirect.
pub(super) fn of_redirect(attempt: &Attempt, url: Option<&str>) -> Advice {
    if let Some(hint) = hint_of(attempt) {
        return of_hint(hint);
    }
    if leads_elsewhere(attempt, url) {
        return Advice::new(
            "The receiver redirects to another host, and redirects are never followed",
            &[
                "It may have the event already: some receivers do their work first and then redirect. Look there before you retry.",
                "If it only points to where the receiver is now, set the endpoint's URL to the Location header below.",
                "Let the receiver answer 200 or 204 by itself.",
            ],
            false,
        );
    }
    Advice::new(
        "The receiver redirects, and redirects are never followed",
        &[
            "Set the endpoint's URL to where the redirect leads; the Location header below says where.",
            "Usual causes: a missing or superfluous `/` at the end, `www`, or HTTP to HTTPS.",
        ],
        false,
    )
}

fn hint_of(attempt: &Attempt) -> Option<Hint> {
    let body = attempt.response_body.as_deref().unwrap_or_default();
    hint(attempt.status_code?, &attempt.response_headers, body)
}

/// Whether the redirect leads to another host: not only to or from `www`.
fn leads_elsewhere(attempt: &Attempt, url: Option<&str>) -> bool {
    let mut headers = attempt.response_headers.iter();
    let location = headers.find(|(name, _)| name == "location");
    let own = url.and_then(|url| url::Url::parse(url).ok());
    let (Some((_, location)), Some(own)) = (location, own) else {
        return false;
    };
    let Ok(target) = own.join(location) else {
        return false;
    };
    let bare = |url: &url::Url| {
        let host = url.host_str().unwrap_or_default();
        host.strip_prefix("www.").unwrap_or(host).to_owned()
    };
    bare(&own) != bare(&target)
}

fn of_hint(hint: Hint) -> Advice {
    const AGAIN: &str =
        "Then retry the delivery here: a 4xx is final and is not retried by itself.";
    let (heading, steps): (_, [&str; 2]) = match hint {
        Hint::ClientCertificate => (
            "The server demands a client certificate",
            [
                "No client certificate is sent (no mutual TLS). Let the server ask for none on this path or host (nginx: `ssl_verify_client off` in a `server` of its own, or `optional` and a check where it is needed).",
                "The signature tells who sent the request: verify that instead.",
            ],
        ),
        Hint::PlainToHttps => (
            "The port speaks HTTPS, and the URL says HTTP",
            ["Change the endpoint's URL to `https`.", AGAIN],
        ),
        Hint::Csrf => (
            "The framework's check against forged requests (CSRF) refused it",
            [
                "Exempt the webhook's path: Django `@csrf_exempt`, Rails `skip_forgery_protection`, Laravel `validateCsrfTokens(except: …)`, Spring `csrf().ignoringRequestMatchers(…)`. The check is for browsers; the signature does its work here.",
                AGAIN,
            ],
        ),
        Hint::HostNotAllowed => (
            "The framework does not accept the host name",
            [
                "Add the host of the endpoint's URL to the allowed hosts: Django `ALLOWED_HOSTS`, Rails `config.hosts`, Vite and webpack `allowedHosts`.",
                AGAIN,
            ],
        ),
        Hint::Challenge => (
            "A bot protection wants to see a browser",
            [
                "A CDN or bot protection answered with a challenge, and the receiver never saw the request. Let the webhook's path skip it (Cloudflare: a WAF custom rule with the action Skip; Vercel: a bypass rule).",
                AGAIN,
            ],
        ),
        Hint::Firewall => (
            "A firewall or CDN refused the request",
            [
                "The answer is not the receiver's own: a firewall, CDN or load balancer in front of it refused. Find the request in its log, and let POST requests with JSON to the webhook's path through.",
                AGAIN,
            ],
        ),
        Hint::TunnelEnded => (
            "The tunnel to the receiver has ended",
            [
                "Start the tunnel again. If its address is another now, change the endpoint's URL.",
                AGAIN,
            ],
        ),
        Hint::TooLarge(limit) => return too_large(limit),
        Hint::AppsScript => (
            "Google Apps Script ran, and then redirected",
            [
                "The script probably has the event already: Apps Script first runs `doPost` and then redirects to what it returned, whatever it returns. Each retry runs it once more; tell repeats by the delivery's id.",
                "Put something before it that answers 200 (a small function or an automation service), and disable this endpoint until then.",
            ],
        ),
        Hint::Login => (
            "The receiver redirects to a page to sign in",
            [
                "The path stands behind a login: let the webhook's path through without, and verify the signature instead.",
                "If the URL is that of a page for people, set the endpoint's URL to the path of the receiver's webhook.",
            ],
        ),
    };
    Advice::new(heading, &steps, false)
}

/// A body that is too large: the limit that is likely the one first.
fn too_large(limit: Limit) -> Advice {
    const EXPRESS: &str = "Express and NestJS take 100 kB by default: `express.raw({ limit: '1mb', type: 'application/json' })`; NestJS `app.useBodyParser('json', { limit: '1mb' })`.";
    const FASTIFY: &str = "Fastify takes 1 MiB by default: `bodyLimit`.";
    const DJANGO: &str = "Django takes 2.5 MB by default: `DATA_UPLOAD_MAX_MEMORY_SIZE`.";
    const NGINX: &str = "nginx takes 1 MiB by default: `client_max_body_size 1m`.";
    const APACHE: &str = "Apache: `LimitRequestBody`. ModSecurity takes 128 KiB of a body that is no upload: `SecRequestBodyNoFilesLimit 1048576`.";
    const ALL: &str = "A delivery's body has at most about 256 KiB: let the framework, and any proxy before it, accept that much.";
    let mut steps = vec![ALL, EXPRESS, FASTIFY, DJANGO, APACHE, NGINX];
    let likely = match limit {
        Limit::Express => Some(EXPRESS),
        Limit::Fastify => Some(FASTIFY),
        Limit::Django => Some(DJANGO),
        Limit::Nginx => Some(NGINX),
        Limit::Apache => Some(APACHE),
        Limit::Unknown => None,
    };
    if let Some(likely) = likely {
        steps = vec![likely, ALL];
    }
    Advice::new("The receiver finds the body too large", &steps, false)
}

fn by_number(status: u16, before: Before) -> Advice {
    let (heading, steps): (_, &[&str]) = match status {
        401 => (
            "The receiver refused the signature, or wants a login",
            &[
                "Verify the raw body, as it arrived, before anything parses it: JSON that was parsed and written again has another signature.",
                "Use this endpoint's secret, whole, `whsec_` included; after a rotation, the new one.",
                "See that no login, firewall or bot protection stands before the receiver's path.",
            ],
        ),
        403 => (
            "Something refused the request: a framework's check, a firewall, or the signature",
            &[
                "Look at the answer below: is it the receiver's own? A framework's check against forged requests (Django: `@csrf_exempt`), a firewall or a CDN says 403 before the receiver's code runs.",
                "If it is: verify the raw body, as it arrived, before anything parses it; JSON that was parsed and written again has another signature.",
                "Use this endpoint's secret, whole, `whsec_` included; after a rotation, the new one.",
            ],
        ),
        404 | 410 if before.delivered => (
            "The receiver has nothing at this path any more",
            &[
                "It took deliveries here before: look for a deploy at this moment, or a route that was renamed or removed.",
                "If the receiver was only being deployed, retry the delivery here: a 4xx is final and is not retried by itself. Let a deploy answer 503 meanwhile, which is retried.",
                "If the receiver is gone for good, disable or delete the endpoint.",
            ],
        ),
        404 | 410 => (
            "The receiver has nothing at this path",
            &[
                "Check the path in the endpoint's URL against the receiver's routes, and that the route takes POST.",
                "If the receiver is gone for good, disable or delete the endpoint.",
            ],
        ),
        405 => (
            "The path does not take POST",
            &["Deliveries are POST requests: let the receiver's route accept them."],
        ),
        429 => (
            "The receiver was asked too often",
            &[
                "Let it accept more, or put deliveries into a queue and answer at once.",
                "For a maintenance you know of, pause the endpoint: deliveries wait until you resume it.",
            ],
        ),
        400..=499 => (
            "The receiver refused this delivery",
            &[
                "Look at its answer below, and into its log at this moment.",
                "Once it is mended, retry the delivery here: a 4xx is final and is not retried by itself.",
            ],
        ),
        500..=599 => (
            "The receiver failed",
            &[
                "Look into its log at this moment; its answer below may name the error.",
                "502, 503 and 504 often come from a proxy whose application is down or slow.",
            ],
        ),
        _ => (
            "Only a 2xx acknowledges a delivery",
            &["Answer 200 or 204 once the event is in safe keeping."],
        ),
    };
    Advice::new(heading, steps, matches!(status, 400 | 401 | 403))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::attempt::{Outcome, Reason, Timings};
    use model::time::Timestamp;

    use super::super::advice;
    use super::*;

    fn attempt(status: u16, headers: &[(&str, &str)], body: &'static str) -> Attempt {
        let reason = match status {
            200..=299 => None,
            300..=399 => Some(Reason::Redirect),
            _ => Some(Reason::HttpStatus),
        };
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Attempt {
            number: 1,
            started_at: Timestamp::default(),
            duration_ms: 1,
            outcome: Outcome::Retry,
            status_code: Some(status),
            reason,
            detail: None,
            remote_addr: None,
            response_headers: headers.iter().map(own).collect(),
            response_body: Some(Bytes::from_static(body.as_bytes())),
            timings: Timings::default(),
        }
    }

    /// The heading and the first step of what is said.
    fn said(attempt: &Attempt, delivered: bool) -> Option<String> {
        let url = Some("https://hooks.example.com/in");
        let advice = advice(attempt, url, Before { delivered })?;
        Some(format!("{}: {}", advice.heading, advice.steps[0].plain()))
    }

    #[test]
    fn advice_goes_by_what_the_answer_shows() {
        let html = ("content-type", "text/html");
        let elsewhere = ("location", "https://elsewhere.example/in");
        let script = (
            "location",
            "https://script.googleusercontent.com/macros/echo?x",
        );
        for (answer, delivered, part) in [
            (
                attempt(
                    413,
                    &[("x-powered-by", "Express")],
                    "PayloadTooLargeError: request entity too large",
                ),
                true,
                "too large: Express and NestJS take 100 kB",
            ),
            (
                attempt(413, &[], "{\"code\":\"FST_ERR_CTP_BODY_TOO_LARGE\"}"),
                true,
                "too large: Fastify",
            ),
            (
                attempt(
                    413,
                    &[("server", "nginx")],
                    "<h1>413 Request Entity Too Large</h1>",
                ),
                true,
                "too large: nginx",
            ),
            (
                attempt(
                    413,
                    &[("server", "Apache")],
                    "<h1>Request Entity Too Large</h1>",
                ),
                true,
                "128 KiB",
            ),
            (attempt(413, &[], ""), true, "too large: A delivery's body"),
            (
                attempt(400, &[], "exceeded settings.DATA_UPLOAD_MAX_MEMORY_SIZE"),
                true,
                "Django takes 2.5 MB",
            ),
            (
                attempt(403, &[], "CSRF verification failed. Request aborted."),
                true,
                "(CSRF) refused it: Exempt",
            ),
            (
                attempt(403, &[("cf-mitigated", "challenge")], ""),
                true,
                "wants to see a browser",
            ),
            (
                attempt(403, &[("server", "cloudflare"), html], "<html>"),
                true,
                "A firewall or CDN refused",
            ),
            (
                attempt(403, &[], "no"),
                true,
                "a framework's check, a firewall, or the signature",
            ),
            (attempt(401, &[], "no"), true, "raw body"),
            (
                attempt(
                    400,
                    &[("server", "nginx")],
                    "No required SSL certificate was sent",
                ),
                true,
                "demands a client certificate",
            ),
            (attempt(302, &[script], ""), true, "Google Apps Script ran"),
            (
                attempt(302, &[elsewhere], ""),
                true,
                "to another host, and redirects are never followed: It may have the event already",
            ),
            (
                attempt(302, &[("location", "https://www.hooks.example.com/in")], ""),
                true,
                "Set the endpoint's URL",
            ),
            (
                attempt(301, &[("location", "/in/")], ""),
                true,
                "Set the endpoint's URL",
            ),
            (attempt(302, &[], ""), true, "Set the endpoint's URL"),
            (
                attempt(302, &[("location", "/accounts/login/?next=/in")], ""),
                true,
                "a page to sign in",
            ),
            (
                attempt(404, &[], ""),
                true,
                "any more: It took deliveries here before",
            ),
            (attempt(404, &[], ""), false, "nothing at this path: Check"),
            (
                attempt(200, &[], ""),
                false,
                "was it your code?: It answered 200 with nothing in it",
            ),
            (
                attempt(200, &[html], "<html>"),
                false,
                "was it your code?: It answered with a page",
            ),
        ] {
            let said = said(&answer, delivered).unwrap();
            assert!(said.contains(part), "{answer:?}: {said}");
        }
    }

    #[test]
    fn a_success_is_doubted_only_at_first_and_only_where_it_says_nothing() {
        let html = ("content-type", "text/html");
        for (answer, delivered) in [
            (attempt(200, &[], ""), true),
            (attempt(200, &[html], "<html>"), true),
            (attempt(200, &[], "ok"), false),
            (
                attempt(200, &[("content-type", "application/json")], "{}"),
                false,
            ),
            (attempt(204, &[], ""), false),
            (attempt(202, &[], ""), false),
        ] {
            assert_eq!(said(&answer, delivered), None, "{answer:?}");
        }
    }
}
