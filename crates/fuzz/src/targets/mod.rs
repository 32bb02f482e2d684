//! Hides nothing: which targets there are.

mod address;
mod cursor;
mod publish;
mod receiver_url;
mod response;
mod session;
mod signature;
mod store;

/// A rule, and what tries to break it.
pub struct Target {
    /// Its name, which is also its corpus's.
    pub name: &'static str,
    /// What holds where it does not panic.
    pub proves: &'static str,
    /// Tries these bytes.
    ///
    /// # Panics
    /// Where a rule is broken.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "receiver_url",
        proves: "a URL that is accepted reads the same again, and its host is the one that is looked up, connected \
                 to, and named in SNI and `Host`",
        run: receiver_url::target,
    },
    Target {
        name: "address",
        proves: "the classifier refuses what the IANA registries say, in every form that carries an IPv4 address, \
                 and one forbidden address spoils an answer",
        run: address::target,
    },
    Target {
        name: "response",
        proves: "whatever a receiver sends comes to one outcome, in time and in bounded memory; what is plainly right \
                 is read right; nothing of one answer is taken for the next",
        run: response::target,
    },
    Target {
        name: "signature",
        proves: "what was signed verifies, with one byte changed it does not, and no explanation says otherwise or \
                 tells the secret",
        run: signature::target,
    },
    Target {
        name: "publish",
        proves: "what is accepted is delivered byte for byte and would be accepted again; what is refused is told by \
                 a pointer that leads there; sizes and depths are bounded",
        run: publish::target,
    },
    Target {
        name: "cursor",
        proves: "only issued cursors are taken, each in its own list; no query is a server error or shows another \
                 team's rows",
        run: cursor::target,
    },
    Target {
        name: "session",
        proves: "only the very token that was issued opens a session, and only its form token sends a form",
        run: session::target,
    },
    Target {
        name: "store",
        proves: "the store does what a plain list would, over crashes and beginnings anew",
        run: store::target,
    },
];

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
