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

/// What the text of every address has that a script leads to. What a customer is told has none of it.
const OF_ADDRESSES: [&str; 5] = ["127.", "10.0.", "169.254.", "0.0.0.0", "::"];

/// The part of `text` that is of an address to which a script leads, if there is one.
pub fn address_in(text: &str) -> Option<&'static str> {
    OF_ADDRESSES.into_iter().find(|part| text.contains(part))
}

/// The beginning of a good response.
const OK: &str = "HTTP/1.1 200 OK\r\n";

/// A whole good response.
const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::IpAddr;

    use model::attempt::Reason;

    use super::*;
    use crate::name_server::Answer;

    fn addresses_of(answer: &Answer) -> Vec<IpAddr> {
        match answer {
            Answer::Addresses(addresses)
            | Answer::AliasTo(_, addresses)
            | Answer::WrongId(addresses)
            | Answer::OfAnother(addresses)
            | Answer::Drip(addresses) => addresses.clone(),
            Answer::ByFamily(v4, v6) => [addresses_of(v4), addresses_of(v6)].concat(),
            _ => vec![],
        }
    }

    #[test]
    fn every_address_that_a_script_leads_to_is_found_in_a_text() {
        let scripts = all();
        let answers = scripts.iter().flat_map(|script| &script.zone);
        let answers = answers.flat_map(|(_, answers)| answers);
        let addresses: HashSet<IpAddr> = answers.flat_map(addresses_of).collect();
        assert!(addresses.iter().any(IpAddr::is_ipv6));
        for address in addresses {
            assert!(address_in(&format!("to {address}.")).is_some(), "{address}");
        }
        assert_eq!(
            address_in("No connection to a.example.com, port 443."),
            None
        );
    }

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
