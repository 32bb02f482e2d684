//! Hides what the receiver's developer is told of a response whose status is not 2xx.

use egress::Response;
use model::hint::{Hint, Limit, hint};

/// What a status that is not 2xx means for the delivery, for the receiver's developer.
pub(crate) fn status_sentence(response: &Response) -> String {
    let status = response.status;
    let name = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|code| code.canonical_reason())
        .map_or_else(String::new, |name| format!(" {name}"));
    let meaning = match status {
        300..=399 => {
            "redirects are never followed, so the delivery is retried on schedule. Where the receiver redirects only \
             after it has handled the event, it has the event already: let it answer 200. Otherwise set the \
             endpoint's URL to where it should go instead"
        }
        429 | 500..=599 => "this may pass, so the delivery is retried on schedule",
        400..=499 => "the receiver refused this delivery for good, so it is not retried",
        _ => "only a 2xx acknowledges a delivery, so it is retried on schedule",
    };
    let cause = match hint(status, &response.headers, &response.body) {
        Some(hint) => hint_sentence(hint),
        None => match status {
            401 => {
                ". Often its secret is wrong or it does not verify the raw body: the signature debugger of the \
                 settings pages tells which"
            }
            403 => {
                ". Often a framework's check against forged requests (CSRF), a firewall or a CDN refuses the request \
                 before the receiver's own code sees it: exempt the webhook's path. Else its secret is wrong or it does \
                 not verify the raw body: the signature debugger of the settings pages tells which"
            }
            _ => "",
        },
    };
    let then = match status {
        429 => "",
        400..=499 => ". Fix the receiver, then retry the delivery by hand",
        _ => "",
    };
    format!("The receiver answered {status}{name}: {meaning}{cause}{then}.")
}

/// The likely cause, as a sentence of its own that goes on from another.
fn hint_sentence(hint: Hint) -> &'static str {
    match hint {
        Hint::ClientCertificate => {
            ". Its server demands a client certificate (mutual TLS), which is not sent: let it ask for none on this path"
        }
        Hint::PlainToHttps => ". The URL says http, and its port speaks https: change the URL",
        Hint::Csrf => {
            ". Its framework's check against forged requests (CSRF) refused it: exempt the webhook's path from the check"
        }
        Hint::HostNotAllowed => {
            ". Its framework does not accept this host name: add it to the allowed hosts"
        }
        Hint::Challenge => {
            ". A bot protection or CDN in front of it wants to see a browser: let the webhook's path through without"
        }
        Hint::Firewall => {
            ". A firewall or CDN in front of it refused the request: let the webhook's path through"
        }
        Hint::TunnelEnded => ". The tunnel to it has ended: start it again, and check its URL",
        Hint::TooLarge(limit) => match limit {
            Limit::Express => {
                ". Express and NestJS take 100 kB by default: raise the limit of the body parser"
            }
            Limit::Fastify => ". Fastify takes 1 MiB by default: look at bodyLimit",
            Limit::Django => {
                ". Django takes 2.5 MB by default: look at DATA_UPLOAD_MAX_MEMORY_SIZE"
            }
            Limit::Nginx => ". nginx takes 1 MiB by default: look at client_max_body_size",
            Limit::Apache => {
                ". Look at LimitRequestBody, and at ModSecurity, which takes 128 KiB by default"
            }
            Limit::Unknown => {
                ". Its framework or a proxy takes smaller bodies only: raise the limit"
            }
        },
        Hint::AppsScript => {
            ". Google Apps Script answers so after the script has run, so it probably has the event already: put a \
             receiver before it that answers 200"
        }
        Hint::Login => {
            ". The redirect leads to a page to sign in: let the webhook's path through without"
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_a_status_means_is_told_with_the_cause_that_the_answer_shows() {
        for (status, headers, body, part) in [
            (401, vec![], "bad signature", "signature debugger"),
            (403, vec![], "bad signature", "signature debugger"),
            (403, vec![], "", "(CSRF), a firewall or a CDN"),
            (403, vec![], "CSRF verification failed.", "CSRF"),
            (
                403,
                vec![("cf-mitigated", "challenge")],
                "",
                "wants to see a browser",
            ),
            (
                400,
                vec![],
                "No required SSL certificate was sent",
                "client certificate",
            ),
            (413, vec![], "request entity too large", "100 kB"),
            (413, vec![], "", "raise the limit"),
            (
                302,
                vec![("location", "https://script.googleusercontent.com/x")],
                "",
                "probably has the event already",
            ),
            (302, vec![], "", "never followed"),
            (302, vec![], "", "it has the event already"),
            (404, vec![], "", "Fix the receiver, then retry"),
            (429, vec![], "", "retried on schedule."),
            (503, vec![], "", "retried on schedule."),
            (600, vec![], "", "only a 2xx"),
        ] {
            let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let said = status_sentence(&Response {
                status,
                headers: headers.into_iter().map(own).collect(),
                body: Bytes::from_static(body.as_bytes()),
            });
            assert!(said.contains(part) && said.ends_with('.'), "{said}");
            let of_signature = said.contains("signature");
            assert!(!of_signature || matches!(status, 401 | 403), "{said}");
        }
    }
}
