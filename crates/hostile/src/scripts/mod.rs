//! Hides nothing: everything that receivers do, room by room, each with the outcome it deserves.

mod body;
mod connect;
mod dns;
mod head;
mod interim;
mod status;
mod timing;
mod tls;

use crate::script::Script;

/// All scripts, each under a name of its own.
pub fn all() -> Vec<Script> {
    [
        connect::scripts(),
        dns::scripts(),
        tls::scripts(),
        head::scripts(),
        interim::scripts(),
        status::scripts(),
        body::scripts(),
        timing::scripts(),
    ]
    .concat()
}

/// The beginning of a good response.
const OK: &str = "HTTP/1.1 200 OK\r\n";

/// A whole good response.
const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use model::attempt::Reason;

    use super::*;

    #[test]
    fn names_are_labels_and_unique_and_every_reason_has_a_script() {
        let scripts = all();
        let mut names = HashSet::new();
        let mut reasons = HashSet::new();
        for script in &scripts {
            let name = &script.name;
            let usual =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            assert!(name.len() <= 63 && name.bytes().all(usual), "{name}");
            assert!(!name.starts_with('-') && !name.ends_with('-'), "{name}");
            assert!(names.insert(name.clone()), "{name} is there twice");
            assert!(
                !script.says.ends_with('.') && !script.says.contains('|'),
                "{name}"
            );
            reasons.extend(script.expect.reason);
        }
        for reason in Reason::ALL {
            assert!(reasons.contains(reason), "{reason:?} is never expected");
        }
    }
}
