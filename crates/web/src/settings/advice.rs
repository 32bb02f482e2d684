//! Hides what somebody is told to do about each way an attempt can fail; `answers` goes by what a response shows.

mod answers;

use model::attempt::{Attempt, Reason};

use super::words::Prose;

/// What happened, in a heading, and what to do about it, step by step.
pub(super) struct Advice {
    pub(super) heading: &'static str,
    pub(super) steps: Vec<Prose>,
    /// Whether the signature debugger helps.
    pub(super) debugger: bool,
}

impl Advice {
    fn new(heading: &'static str, steps: &[&str], debugger: bool) -> Self {
        Self {
            heading,
            steps: steps.iter().map(|step| Prose::of(step)).collect(),
            debugger,
        }
    }
}

/// What came before an attempt, where that changes what is to be said of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Before {
    /// Whether an earlier delivery reached the endpoint.
    pub(super) delivered: bool,
}

/// What to do about an attempt; none where nothing is to be done. `url` is where it went, where that is
/// known.
pub(super) fn advice(attempt: &Attempt, url: Option<&str>, before: Before) -> Option<Advice> {
    let Some(reason) = attempt.reason else {
        return answers::of_success(attempt, before);
    };
    let (heading, steps): (_, &[&'static str]) = match reason {
        Reason::HttpStatus => return Some(answers::of_status(attempt, before)),
        Reason::Redirect => return Some(answers::of_redirect(attempt, url)),
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
                "If it asked for a client certificate, let it ask for none on this path: none is sent.",
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
                "The sentence above says what is wrong, with which certificate, and what to do about it.",
                "Look at what is served, from outside: `openssl s_client -connect HOST:PORT -servername HOST -showcerts`.",
                "After the change see that the server has loaded it: many need a reload or a restart.",
            ],
        ),
        Reason::TlsHandshake => (
            "The TLS handshake failed",
            &[
                "The sentence above says what the server gave as its reason, and what that means in practice.",
                "Let it speak TLS 1.2 or 1.3 with a modern cipher, serve a certificate for the URL's host (SNI), and ask for no client certificate.",
                "Try it from outside: `openssl s_client -connect HOST:PORT -servername HOST`.",
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
    };
    Some(Advice::new(heading, steps, false))
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
            let advice = advice(&attempt(Some(*reason), None), None, Before::default()).unwrap();
            assert!(
                !advice.steps.is_empty() && !advice.heading.is_empty(),
                "{reason:?}"
            );
        }
        // Those that are told the same are alike for whoever has to mend them.
        let headings: std::collections::HashSet<_> = Reason::ALL
            .iter()
            .filter_map(|reason| {
                Some(advice(&attempt(Some(*reason), None), None, Before::default())?.heading)
            })
            .collect();
        assert_eq!(headings.len(), Reason::ALL.len() - 3, "{headings:?}");
        for (status, debugger) in [
            (401, true),
            (403, true),
            (404, false),
            (500, false),
            (600, false),
        ] {
            let advice = advice(
                &attempt(Some(Reason::HttpStatus), Some(status)),
                None,
                Before::default(),
            )
            .unwrap();
            assert_eq!(advice.debugger, debugger, "{status}");
            assert!(!advice.steps.is_empty(), "{status}");
        }
        assert!(advice(&attempt(None, Some(204)), None, Before::default()).is_none());
    }
}
