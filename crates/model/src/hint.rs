//! Hides what the headers and the body of a response give away about who really answered, and why:
//! a framework's check, a CDN, a proxy in front of the receiver's code.
//!
//! Known texts of widely used servers only. What is recognized changes what people are told, never
//! the outcome of an attempt.

/// How much of a body is searched, in bytes. The known texts stand near the beginning.
const SEARCHED_MAX: usize = 8 * 1024;

/// What a response gives away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A proxy demands a client certificate, and says so by HTTP (nginx, Apache, IIS).
    ClientCertificate,
    /// An `http` request came to a port of `https`.
    PlainToHttps,
    /// A framework's check against forged requests of browsers (CSRF) refused the request.
    Csrf,
    /// The framework does not accept the host name of the request.
    HostNotAllowed,
    /// A CDN or a bot protection wants to see a browser.
    Challenge,
    /// A firewall, a CDN or a load balancer refused the request.
    Firewall,
    /// A tunnel to a developer's machine has ended.
    TunnelEnded,
    /// The body is larger than this server takes.
    TooLarge(Limit),
    /// Google Apps Script: the script ran, and its output is behind a redirect.
    AppsScript,
    /// The redirect leads to a page to sign in.
    Login,
}

/// Whose limit a body went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Express, and NestJS, which is built on it.
    Express,
    /// Fastify.
    Fastify,
    /// Django.
    Django,
    /// nginx.
    Nginx,
    /// Apache, perhaps with ModSecurity.
    Apache,
    /// It does not say.
    Unknown,
}

/// What the response gives away, where it is one of the known ones. The names of `headers` are in
/// lower case.
pub fn hint(status: u16, headers: &[(String, String)], body: &[u8]) -> Option<Hint> {
    let answer = Answer::new(headers, body);
    match status {
        300..=399 => redirect(&answer),
        413 => Some(Hint::TooLarge(limit(&answer))),
        419 => Some(Hint::Csrf), // Laravel's own status
        495 | 496 => Some(Hint::ClientCertificate),
        400 | 401 | 403 | 404 | 406 | 421 | 422 | 429 | 503 => refusal(status, &answer),
        _ => None,
    }
}

/// Whether a body is a page for people: by its type, else by its beginning.
pub fn is_html(headers: &[(String, String)], body: &[u8]) -> bool {
    let answer = Answer::new(headers, body);
    answer.header("content-type").contains("html")
        || ["<!doctype html", "<html"]
            .iter()
            .any(|start| answer.body.trim_start().starts_with(start))
}

fn redirect(answer: &Answer<'_>) -> Option<Hint> {
    const LOGIN: [&str; 7] = [
        "login", "signin", "sign-in", "sign_in", "/sso", "/oauth", "/auth",
    ];
    let location = answer.header("location");
    if location.contains("://script.googleusercontent.com/") {
        return Some(Hint::AppsScript);
    }
    let leads_to_login = LOGIN.iter().any(|part| location.contains(part));
    leads_to_login.then_some(Hint::Login)
}

fn refusal(status: u16, answer: &Answer<'_>) -> Option<Hint> {
    const CLIENT_CERTIFICATE: [&str; 6] = [
        "no required ssl certificate was sent",
        "the ssl certificate error",
        "post-handshake authentication",
        "client certificate required",
        "requires a client certificate",
        "403.7",
    ];
    const PLAIN: [&str; 3] = [
        "the plain http request was sent to https port",
        "client sent an http request to an https server",
        "you're speaking plain http to an ssl-enabled server port",
    ];
    const CSRF: [&str; 4] = [
        "csrf",
        "cross-site request forgery",
        "authenticitytoken",
        "authenticity token",
    ];
    const HOST: [&str; 4] = [
        "invalid host header",
        "disallowedhost",
        "blocked host",
        "invalid http_host header",
    ];
    let refused = matches!(status, 400 | 401 | 403 | 406 | 422);
    if refused && answer.says(&CLIENT_CERTIFICATE) {
        return Some(Hint::ClientCertificate);
    }
    if refused && answer.says(&PLAIN) {
        return Some(Hint::PlainToHttps);
    }
    if answer.says(&["request_body_too_large", "data_upload_max_memory_size"]) {
        return Some(Hint::TooLarge(Limit::Django));
    }
    if let Some(hint) = guard(answer) {
        return Some(hint);
    }
    if refused && answer.says(&CSRF) {
        return Some(Hint::Csrf);
    }
    if answer.says(&HOST) {
        return Some(Hint::HostNotAllowed);
    }
    if status == 404 && (answer.has("ngrok-error-code") || answer.says(&["err_ngrok"])) {
        return Some(Hint::TunnelEnded);
    }
    (status == 403 && by_a_gateway(answer)).then_some(Hint::Firewall)
}

/// A guard between the Internet and the receiver.
fn guard(answer: &Answer<'_>) -> Option<Hint> {
    const CHALLENGE: [&str; 6] = [
        "challenge-platform",
        "cf-chl",
        "<title>just a moment",
        "enable javascript and cookies to continue",
        "attention required! | cloudflare",
        "captcha-delivery.com",
    ];
    const FIREWALL: [&str; 7] = [
        "mod_security",
        "modsecurity",
        "web application firewall",
        "incapsula incident",
        "sucuri website firewall",
        "the requested url was rejected. please consult with your administrator",
        "sorry, you have been blocked",
    ];
    let mitigated = [
        "cf-mitigated",
        "x-vercel-mitigated",
        "x-amzn-waf-action",
        "x-datadome",
    ];
    if mitigated.iter().any(|name| answer.has(name)) || answer.says(&CHALLENGE) {
        return Some(Hint::Challenge);
    }
    let guarded = answer.says(&FIREWALL) || answer.has("x-sucuri-block");
    guarded.then_some(Hint::Firewall)
}

/// A 403 in HTML of a server that runs nobody's code: a CDN or a load balancer.
fn by_a_gateway(answer: &Answer<'_>) -> bool {
    const GATEWAYS: [&str; 6] = [
        "cloudflare",
        "cloudfront",
        "akamaighost",
        "awselb",
        "microsoft-azure-application-gateway",
        "ddos-guard",
    ];
    let server = answer.header("server");
    answer.header("content-type").contains("html")
        && GATEWAYS.iter().any(|name| server.contains(name))
}

fn limit(answer: &Answer<'_>) -> Limit {
    let server = answer.header("server");
    // Servers say it in a page with a heading, Express and NestJS in a line or in JSON.
    let in_words = answer.says(&["request entity too large"]) && !answer.says(&["<h1>"]);
    if answer.says(&["fst_err_ctp_body_too_large"]) {
        Limit::Fastify
    } else if in_words || answer.says(&["payloadtoolargeerror"]) {
        Limit::Express
    } else if server.contains("nginx") || answer.says(&["<center>nginx"]) {
        Limit::Nginx
    } else if server.contains("apache") || answer.says(&["does not allow request data"]) {
        Limit::Apache
    } else {
        Limit::Unknown
    }
}

/// A response, in lower case.
struct Answer<'a> {
    headers: &'a [(String, String)],
    body: String,
}

impl<'a> Answer<'a> {
    fn new(headers: &'a [(String, String)], body: &[u8]) -> Self {
        let searched = &body[..body.len().min(SEARCHED_MAX)];
        let body = String::from_utf8_lossy(searched).to_ascii_lowercase();
        Self { headers, body }
    }

    /// A header's value in lower case; empty where there is none.
    fn header(&self, name: &str) -> String {
        let mut headers = self.headers.iter();
        let found = headers.find(|(one, _)| one == name);
        found.map_or_else(String::new, |(_, value)| value.to_ascii_lowercase())
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(one, _)| one == name)
    }

    /// Whether the body has one of these texts.
    fn says(&self, texts: &[&str]) -> bool {
        texts.iter().any(|text| self.body.contains(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, headers, body, and what is recognized.
    type Case = (
        u16,
        &'static [(&'static str, &'static str)],
        &'static str,
        Option<Hint>,
    );

    /// The texts are what the named servers sent.
    #[test]
    fn known_answers_are_recognized() {
        let cases: [Case; 40] = [
            (
                400,
                &[("server", "nginx")],
                "<center>No required SSL certificate was sent</center>",
                Some(Hint::ClientCertificate),
            ),
            (
                400,
                &[("server", "nginx")],
                "<center>The SSL certificate error</center>",
                Some(Hint::ClientCertificate),
            ),
            (496, &[], "", Some(Hint::ClientCertificate)),
            (
                403,
                &[("server", "Apache")],
                "Reason: Cannot perform Post-Handshake Authentication.",
                Some(Hint::ClientCertificate),
            ),
            (
                403,
                &[],
                "HTTP Error 403.7 - Forbidden",
                Some(Hint::ClientCertificate),
            ),
            (
                400,
                &[],
                "<center>The plain HTTP request was sent to HTTPS port</center>",
                Some(Hint::PlainToHttps),
            ),
            (
                400,
                &[],
                "Client sent an HTTP request to an HTTPS server.\n",
                Some(Hint::PlainToHttps),
            ),
            (
                403,
                &[],
                "<h1>Forbidden <span>(403)</span></h1><p>CSRF verification failed. Request aborted.</p>",
                Some(Hint::Csrf),
            ),
            (
                403,
                &[],
                "{\"message\":\"invalid csrf token\"}",
                Some(Hint::Csrf),
            ),
            (
                422,
                &[],
                "ActionController::InvalidAuthenticityToken",
                Some(Hint::Csrf),
            ),
            (419, &[], "<title>Page Expired</title>", Some(Hint::Csrf)),
            (
                403,
                &[("cf-mitigated", "challenge"), ("server", "cloudflare")],
                "",
                Some(Hint::Challenge),
            ),
            (
                503,
                &[("server", "cloudflare")],
                "<title>Just a moment...</title>",
                Some(Hint::Challenge),
            ),
            (
                429,
                &[("x-vercel-mitigated", "challenge")],
                "",
                Some(Hint::Challenge),
            ),
            (
                403,
                &[
                    ("server", "cloudflare"),
                    ("content-type", "text/html; charset=UTF-8"),
                ],
                "<h1>Sorry, you have been blocked</h1>",
                Some(Hint::Firewall),
            ),
            (
                403,
                &[("server", "cloudflare"), ("content-type", "text/html")],
                "<html>error code: 1020",
                Some(Hint::Firewall),
            ),
            (
                403,
                &[
                    ("server", "cloudflare"),
                    ("content-type", "application/json"),
                ],
                "{\"error\":\"bad signature\"}",
                None,
            ),
            (
                403,
                &[("server", "awselb/2.0"), ("content-type", "text/html")],
                "<html>403 Forbidden",
                Some(Hint::Firewall),
            ),
            (
                403,
                &[("server", "CloudFront"), ("content-type", "text/html")],
                "Request blocked.",
                Some(Hint::Firewall),
            ),
            (
                406,
                &[("server", "Apache")],
                "generated by Mod_Security",
                Some(Hint::Firewall),
            ),
            (403, &[], "invalid signature", None),
            (
                403,
                &[("server", "nginx"), ("content-type", "text/html")],
                "<h1>403 Forbidden</h1>",
                None,
            ),
            (
                400,
                &[],
                "Invalid HTTP_HOST header: 'a.example'. You may need to add it to ALLOWED_HOSTS.",
                Some(Hint::HostNotAllowed),
            ),
            (
                403,
                &[],
                "Blocked hosts: a.example",
                Some(Hint::HostNotAllowed),
            ),
            (
                404,
                &[("ngrok-error-code", "ERR_NGROK_3200")],
                "",
                Some(Hint::TunnelEnded),
            ),
            (404, &[], "not found", None),
            (
                413,
                &[("x-powered-by", "Express")],
                "PayloadTooLargeError: request entity too large",
                Some(Hint::TooLarge(Limit::Express)),
            ),
            (
                413,
                &[],
                "{\"statusCode\":413,\"message\":\"request entity too large\"}",
                Some(Hint::TooLarge(Limit::Express)),
            ),
            (
                413,
                &[],
                "{\"statusCode\":413,\"code\":\"FST_ERR_CTP_BODY_TOO_LARGE\"}",
                Some(Hint::TooLarge(Limit::Fastify)),
            ),
            (
                413,
                &[("server", "nginx/1.22.1")],
                "<center><h1>413 Request Entity Too Large</h1></center>",
                Some(Hint::TooLarge(Limit::Nginx)),
            ),
            (
                413,
                &[("server", "Apache/2.4")],
                "<h1>Request Entity Too Large</h1>",
                Some(Hint::TooLarge(Limit::Apache)),
            ),
            (413, &[], "", Some(Hint::TooLarge(Limit::Unknown))),
            (
                400,
                &[],
                "Request body exceeded settings.DATA_UPLOAD_MAX_MEMORY_SIZE.",
                Some(Hint::TooLarge(Limit::Django)),
            ),
            (
                302,
                &[(
                    "location",
                    "https://script.googleusercontent.com/macros/echo?x=1",
                )],
                "",
                Some(Hint::AppsScript),
            ),
            (
                302,
                &[("location", "https://a.example/users/sign_in")],
                "",
                Some(Hint::Login),
            ),
            (302, &[("location", "https://a.example/hooks/")], "", None),
            (200, &[("cf-mitigated", "challenge")], "csrf", None),
            (404, &[], "csrf", None),
            (500, &[], "csrf", None),
            (401, &[], "", None),
        ];
        for (status, headers, body, expected) in cases {
            let headers: Vec<(String, String)> = headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(
                hint(status, &headers, body.as_bytes()),
                expected,
                "{status} {headers:?} {body:?}"
            );
        }
    }

    #[test]
    fn a_page_is_known_by_its_type_or_its_beginning() {
        for (kind, body, html) in [
            ("text/html; charset=utf-8", "x", true),
            ("application/xhtml+xml", "x", true),
            ("", " \n<!DOCTYPE html>", true),
            ("text/plain", "<HTML>", true),
            ("application/json", "{}", false),
            ("", "ok", false),
            ("", "", false),
        ] {
            let headers = [("content-type".to_owned(), kind.to_owned())];
            assert_eq!(is_html(&headers, body.as_bytes()), html, "{kind} {body:?}");
        }
    }
}
