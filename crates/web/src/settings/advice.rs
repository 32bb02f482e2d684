//! Hides what somebody is told to do about each way an attempt can fail.

use model::attempt::{Attempt, Reason};

use super::words::Prose;

/// What happened, in a heading, and what to do about it, step by step.
pub(super) struct Advice {
    pub(super) heading: &'static str,
    pub(super) steps: Vec<Prose>,
    /// Whether the signature debugger helps.
    pub(super) debugger: bool,
}

/// What to do about a failed attempt; none where it did not fail.
pub(super) fn advice(attempt: &Attempt) -> Option<Advice> {
    let reason = attempt.reason?;
    let (heading, steps): (_, &[&'static str]) = match reason {
        Reason::HttpStatus => return Some(status_advice(attempt.status_code.unwrap_or(0))),
        Reason::DnsNotFound => (
            "The host name does not exist",
            &[
                "Check the endpoint's URL for a typing error.",
                "If the name is new, its DNS record may not have spread yet; try again in some minutes.",
            ],
        ),
        Reason::DnsFailed | Reason::DnsTimeout => (
            "The host name could not be looked up",
            &[
                "Ask whoever runs the name's DNS servers whether they answer: `dig` the name from outside.",
                "If this passes by itself, nothing is lost: the delivery was retried, and can be again.",
            ],
        ),
        Reason::BlockedAddress => (
            "The address may not be reached",
            &[
                "The name resolves to an address that is not public (private, loopback, reserved). Point it at a public one.",
                "To receive on your own machine, use a tunnel with a public HTTPS address.",
            ],
        ),
        Reason::ConnectionRefused => (
            "Nothing listens there",
            &[
                "See that the receiver runs, and that it listens on the URL's port on its public address, not only on localhost.",
                "See that no firewall refuses the connection.",
            ],
        ),
        Reason::ConnectTimeout => (
            "No connection was made in time",
            &[
                "Usually a firewall drops the packets: let connections from the Internet reach the URL's port.",
                "See that the machine is up and that the address in DNS is its own.",
            ],
        ),
        Reason::ConnectionReset | Reason::ConnectionClosed => (
            "The connection ended before there was an answer",
            &[
                "Look into the receiver's log at this moment: it, or a proxy before it, crashed, restarted or gave up.",
                "Let a proxy keep idle connections longer than 90 seconds, or close them cleanly.",
            ],
        ),
        Reason::TlsTimeout => (
            "The TLS handshake did not finish in time",
            &[
                "The port may not speak TLS at all: check the URL's port.",
                "If it does, the server is overloaded: look at its load at this moment.",
            ],
        ),
        Reason::TlsCertificate => (
            "The receiver's certificate was not accepted",
            &[
                "Expired, or not valid yet: renew it, and see that renewing restarts the server. Look at what is served: `openssl s_client -connect HOST:PORT -servername HOST`.",
                "For another host name: serve a certificate that has the host of the endpoint's URL among its names, or set the URL to a name that it has.",
                "Self-signed, or of an authority that is not trusted: get one from a public authority, and let the server send the intermediate certificates too (`fullchain.pem`, not `cert.pem`).",
            ],
        ),
        Reason::TlsHandshake => (
            "The TLS handshake failed",
            &[
                "Let the server speak TLS 1.2 or 1.3 with a modern cipher.",
                "See that it serves this host name (SNI), and asks for no client certificate.",
            ],
        ),
        Reason::SendTimeout => (
            "The request was not read, or did not arrive",
            &[
                "Not read: it accepted the connection and then did nothing. Look for a blocked or overloaded process.",
                "Not delivered by the network: see that the machine is still up, that a firewall or load balancer has not forgotten the connection, and that large packets pass (MTU, often on a VPN or tunnel).",
            ],
        ),
        Reason::ResponseTimeout => (
            "There was no answer within the time an attempt has",
            &[
                "Answer first, work later: put the event into a queue, answer 2xx, then do what takes long.",
                "The work may have been done all the same: tell repeats by the delivery's id.",
            ],
        ),
        Reason::BodyTimeout | Reason::BodyIncomplete => (
            "The answer began, and did not come to its end",
            &[
                "Answer with an empty body: only the status counts.",
                "Where a proxy stands before the receiver, see that Content-Length is right and nothing cuts the response.",
            ],
        ),
        Reason::HeadersTooLarge => (
            "The answer's headers are larger than what is read",
            &["Answer with few headers; cookies and debugging headers are of no use here."],
        ),
        Reason::TooManyInterim => (
            "Interim answers came one after another, and the real one did not",
            &[
                "Answer once: `100`, `102` or `103` only announce an answer, and here no answer with a status from 200 on followed them.",
                "See whether a framework or proxy sends `102 Processing` or `103 Early Hints` while it works; switch that off for this path.",
            ],
        ),
        Reason::InvalidResponse => (
            "What came back is no HTTP response",
            &[
                "See that the URL's scheme and port belong together: HTTP is spoken there, or something else altogether?",
                "Try it: `curl -v` the URL and look at the first line of the answer.",
            ],
        ),
        Reason::UnexpectedUpgrade => (
            "The receiver changed the protocol",
            &[
                "It answered 101, as for a WebSocket. Point the URL at a path that takes plain POST requests.",
            ],
        ),
        Reason::Redirect => (
            "The receiver redirects, and redirects are never followed",
            &[
                "Set the endpoint's URL to where the redirect leads; the Location header below says where.",
                "Usual causes: a missing or superfluous `/` at the end, `www`, or HTTP to HTTPS.",
            ],
        ),
    };
    Some(Advice {
        heading,
        steps: steps.iter().map(|step| Prose::of(step)).collect(),
        debugger: false,
    })
}

fn status_advice(status: u16) -> Advice {
    let (heading, steps): (_, &[&'static str]) = match status {
        401 | 403 => (
            "The receiver refused the signature, or wants a login",
            &[
                "Verify the raw body, as it arrived, before anything parses it: JSON that was parsed and written again has another signature.",
                "Use this endpoint's secret, whole, `whsec_` included; after a rotation, the new one.",
                "See that no login, firewall or bot protection stands before the receiver's path.",
            ],
        ),
        404 | 410 => (
            "The receiver has nothing at this path",
            &[
                "Check the path in the endpoint's URL against the receiver's routes.",
                "If the receiver is gone for good, disable or delete the endpoint.",
            ],
        ),
        405 => (
            "The path does not take POST",
            &["Deliveries are POST requests: let the receiver's route accept them."],
        ),
        413 => (
            "The receiver finds the body too large",
            &[
                "Let it, and any proxy before it, accept bodies of 256 KiB (nginx: `client_max_body_size 1m`).",
            ],
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
    Advice {
        heading,
        steps: steps.iter().map(|step| Prose::of(step)).collect(),
        debugger: matches!(status, 400 | 401 | 403),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::attempt::{Outcome, Timings};
    use model::time::Timestamp;

    fn attempt(reason: Option<Reason>, status_code: Option<u16>) -> Attempt {
        Attempt {
            number: 1,
            started_at: Timestamp::default(),
            duration_ms: 1,
            outcome: Outcome::Retry,
            status_code,
            reason,
            detail: None,
            remote_addr: None,
            response_headers: Vec::new(),
            response_body: None,
            timings: Timings::default(),
        }
    }

    #[test]
    fn every_reason_and_every_status_has_something_to_do_about_it() {
        for reason in Reason::ALL {
            let advice = advice(&attempt(Some(*reason), None)).unwrap();
            assert!(
                !advice.steps.is_empty() && !advice.heading.is_empty(),
                "{reason:?}"
            );
        }
        // Those that are told the same are alike for whoever has to mend them.
        let headings: std::collections::HashSet<_> = Reason::ALL
            .iter()
            .filter_map(|reason| Some(advice(&attempt(Some(*reason), None))?.heading))
            .collect();
        assert_eq!(headings.len(), Reason::ALL.len() - 3, "{headings:?}");
        for (status, debugger) in [
            (401, true),
            (403, true),
            (404, false),
            (500, false),
            (600, false),
        ] {
            let advice = advice(&attempt(Some(Reason::HttpStatus), Some(status))).unwrap();
            assert_eq!(advice.debugger, debugger, "{status}");
            assert!(!advice.steps.is_empty(), "{status}");
        }
        assert!(advice(&attempt(None, Some(200))).is_none());
    }
}
