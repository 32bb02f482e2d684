//! Hides how all that the service says is looked through for what it must never say: secrets, keys beyond
//! what a list shows of them, tokens, sessions, and the queries of URLs.

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

/// The query of every receiver's URL, which only the receiver may be told.
pub const QUERY: &str = "key=q7canaryq7";

/// What begins each kind of secret, and how many characters behind it anybody may see.
const BEGINNINGS: [(&str, usize); 7] = [
    ("whsec_", 0),
    ("vk_live_", 8),
    ("vk_admin_", 8),
    // In texts that explain them there is less behind these.
    ("Bearer ", 7),
    ("token=", 15),
    ("vk_session=", 15),
    ("vk_knocking=", 15),
];

/// What `serve` says before a secret that it shows once, to whoever starts it and not through the log.
const ANNOUNCEMENTS: [&str; 2] = ["This is the operator's key.", "There is no team yet."];

/// Secrets that tests were given, without what anybody may see of them.
static KNOWN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on nothing may say this secret, in whatever form it stands.
pub fn never_say(secret: &str) {
    let shown = BEGINNINGS.into_iter().find_map(|(beginning, shown)| {
        let rest = secret.strip_prefix(beginning)?;
        rest.get(shown..)
    });
    let hidden = shown.unwrap_or(secret).to_owned();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    // Where so little is hidden, any text may have it.
    if hidden.len() >= 16 && !known.contains(&hidden) {
        known.push(hidden);
    }
}

/// Looks through one of the streams of a service, line by line.
#[derive(Default)]
pub struct Listener {
    /// What comes next is shown on purpose.
    announced: bool,
}

impl Listener {
    /// What this line gives away, where it does.
    pub fn leak(&mut self, line: &str) -> Option<String> {
        if ANNOUNCEMENTS.iter().any(|one| line.starts_with(one)) {
            self.announced = true;
        } else if self.announced && !line.is_empty() {
            self.announced = false;
            if line.starts_with("    ") {
                return None;
            }
        }
        leak(line)
    }
}

/// Sees that nothing is given away by what the service says to anybody.
///
/// # Errors
/// Where something is: what, and where.
pub fn look_through(what: &str, text: &str) -> Result<()> {
    let mut listener = Listener::default();
    for line in text.lines() {
        if let Some(leak) = listener.leak(line) {
            bail!("{what} gives away {leak}: {line}");
        }
    }
    Ok(())
}

fn leak(line: &str) -> Option<String> {
    for (beginning, shown) in BEGINNINGS {
        for (at, _) in line.match_indices(beginning) {
            let behind = &line[at + beginning.len()..];
            let secret = behind.bytes().take_while(|byte| of_a_secret(*byte)).count();
            if secret > shown {
                return Some(format!("what begins with {beginning:?}"));
            }
        }
    }
    if url_with_query(line) {
        return Some("the query of a URL".to_owned());
    }
    let canary = QUERY.split_once('=').map_or(QUERY, |(_, value)| value);
    if line.contains(canary) {
        return Some(format!("{canary:?}, which nobody may see"));
    }
    known_in(line)
}

/// What this text has of the secrets that tests know by now, where it has one: what was said before they did is
/// looked through again in the end.
pub fn known_in(text: &str) -> Option<String> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known.iter().find(|secret| text.contains(*secret));
    found.map(|secret| format!("{secret:?}, which nobody may see"))
}

fn of_a_secret(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=-_.~".contains(&byte)
}

fn url_with_query(line: &str) -> bool {
    line.match_indices("://").any(|(at, _)| {
        let url = line[at..].split(|c: char| c.is_whitespace() || "\"'<>`".contains(c));
        let query = url.into_iter().next().and_then(|url| url.split_once('?'));
        query.is_some_and(|(_, query)| !query.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATOR_KEY: &str = "vk_admin_0123456789abcdefghijABCDEFGHIJ01";

    #[test]
    fn whatever_is_given_away_is_noticed() {
        never_say("whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
        never_say("vk_live_shownnow0123456789abcdefghijklmn");
        never_say(OPERATOR_KEY);
        for line in [
            "signed with whsec_x",
            "the key vk_live_shownnow0 was used",
            "the key vk_admin_012345678",
            "authorization: Bearer abcdefgh",
            "GET /settings/enter?token=0123456789abcdef",
            "cookie: vk_session=0123456789abcdef",
            "cookie: __Host-vk_session=0123456789abcdef",
            "error sending to https://example.com/hook?a=b",
            "path=\"/hooks?key=q7canaryq7\"",
            "its base64 is AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
            "0123456789abcdefghijklmn",
            &OPERATOR_KEY[17..],
        ] {
            assert!(leak(line).is_some(), "{line}");
            assert!(Listener::default().leak(line).is_some(), "{line}");
            assert!(look_through("it", &format!("well\n{line}\n")).is_err());
        }
        for line in [
            "send it as `Authorization: Bearer …` or `X-API-Key: …`",
            "www-authenticate: Bearer realm=\"webhooks\"",
            "has to be vk_admin_ followed by random letters and digits",
            "the key vk_live_shownnow was used",
            "a secret is whsec_ and base64",
            "listening on http://127.0.0.1:8080",
            "is it at https://example.com/? It is",
        ] {
            assert_eq!(leak(line), None, "{line}");
        }
    }

    #[test]
    fn what_is_shown_on_purpose_is_shown_once() {
        let mut listener = Listener::default();
        let key = format!("    {OPERATOR_KEY}");
        for line in [
            "",
            "This is the operator's key. It may do everything:",
            "",
            &key,
        ] {
            assert_eq!(listener.leak(line), None, "{line}");
        }
        assert!(listener.leak(&key).is_some());
        let link = "http://127.0.0.1:1/settings/first-run?token=0123456789abcdef";
        assert_eq!(
            listener.leak("There is no team yet. This page makes it:"),
            None
        );
        // Shown, but not as the announcement shows it: the log has it.
        assert!(listener.leak(link).is_some());
    }
}
