//! Hides how an address earns the right to be connected to: a [`Vetted`] is made here and nowhere
//! else.

use std::net::{IpAddr, SocketAddr};

use crate::address;
use crate::policy::Policy;

/// How many of an answer's addresses may be tried. All of them are vetted first, however many.
const KEPT_MAX: usize = 32;

/// An address that passed, with the port. Its field is private: only [`vet`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vetted(SocketAddr);

impl Vetted {
    /// The address to connect to.
    pub(crate) fn address(self) -> SocketAddr {
        self.0
    }
}

/// Why a whole answer is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Blocked {
    /// Which of its addresses; for the operator only.
    pub(crate) address: IpAddr,
    /// The rule, as the end of a sentence that begins with "an address that".
    pub(crate) rule: String,
}

/// Vets a whole answer: one address that may not be reached spoils it all, because a name that
/// points inside *and* outside is an attempt to get in. With `only_allowed` (the name is reserved
/// for private use) nothing passes but what the operator has allowed.
///
/// Returns the addresses to try, in order: IPv4 first, then alternating, duplicates left out.
pub(crate) fn vet(
    answer: &[IpAddr],
    port: u16,
    only_allowed: bool,
    policy: &Policy,
) -> Result<Vec<Vetted>, Blocked> {
    let answer: Vec<IpAddr> = without_synthesized(answer).collect();
    for address in &answer {
        if policy.allows(*address) {
            continue;
        }
        let rule = match address::refusal(*address) {
            Some(what) => format!("belongs to {what}"),
            None if only_allowed => {
                "is in no allowed range, as the name's reserved ending demands".to_owned()
            }
            None => continue,
        };
        return Err(Blocked {
            address: *address,
            rule,
        });
    }
    Ok(in_order(&answer)
        .map(|address| Vetted(SocketAddr::new(address, port)))
        .collect())
}

/// The answer without what a DNS64 added to it: beside an IPv4 address, an IPv6 address of NAT64 whose
/// inner IPv4 address is public is no address of the receiver's, and is not needed.
fn without_synthesized(answer: &[IpAddr]) -> impl Iterator<Item = IpAddr> + '_ {
    let has_v4 = answer.iter().any(IpAddr::is_ipv4);
    let is_public = |inner| address::refusal(IpAddr::V4(inner)).is_none();
    answer.iter().copied().filter(move |address| match address {
        IpAddr::V6(v6) if has_v4 && address::is_nat64(*v6) => {
            !address::carried(*v6).is_some_and(is_public)
        }
        _ => true,
    })
}

fn in_order(answer: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let mut first = Vec::new();
    let mut second = Vec::new();
    for address in answer {
        let family = if address.is_ipv4() {
            &mut first
        } else {
            &mut second
        };
        if family.len() < KEPT_MAX && !family.contains(address) {
            family.push(*address);
        }
    }
    let longest = first.len().max(second.len());
    (0..longest)
        .flat_map(move |at| [first.get(at).copied(), second.get(at).copied()])
        .flatten()
        .take(KEPT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn tried(texts: &[&str], only_allowed: bool, policy: &Policy) -> Option<Vec<String>> {
        let vetted = vet(&answer(texts), 443, only_allowed, policy).ok()?;
        Some(
            vetted
                .iter()
                .map(|v| v.address().ip().to_string())
                .collect(),
        )
    }

    #[test]
    fn one_bad_address_spoils_the_whole_answer_wherever_it_stands() {
        let policy = Policy::default();
        for texts in [
            ["10.0.0.1", "8.8.8.8", "2a00:1450::1"],
            ["8.8.8.8", "10.0.0.1", "2a00:1450::1"],
            ["8.8.8.8", "2a00:1450::1", "::ffff:8.8.4.4"],
        ] {
            assert_eq!(tried(&texts, false, &policy), None, "{texts:?}");
        }
        let mut many = vec!["8.8.8.8"; 999];
        many.push("127.0.0.1");
        assert_eq!(tried(&many, false, &policy), None);
    }

    #[test]
    fn what_a_dns64_adds_is_left_out_and_what_it_carries_is_vetted() {
        let none = Policy::default();
        let opened = Policy {
            allow: vec!["64:ff9b::/96".parse().unwrap()],
            ..Policy::default()
        };
        let public = Some(vec!["8.8.8.8"]);
        for (policy, texts, expected) in [
            (&none, vec!["8.8.8.8", "64:ff9b::8.8.8.8"], public.clone()),
            (&none, vec!["64:ff9b:1::8.8.8.8", "8.8.8.8"], public),
            (&none, vec!["64:ff9b::8.8.8.8"], None),
            (&none, vec!["8.8.8.8", "64:ff9b::10.0.0.1"], None),
            (&none, vec!["8.8.8.8", "64:ff9b::169.254.169.254"], None),
            (&none, vec!["10.0.0.1", "64:ff9b::8.8.8.8"], None),
            (
                &opened,
                vec!["64:ff9b::8.8.8.8"],
                Some(vec!["64:ff9b::808:808"]),
            ),
            (&opened, vec!["64:ff9b::169.254.169.254"], None),
            (&opened, vec!["8.8.8.8", "64:ff9b::10.0.0.1"], None),
        ] {
            let tried = tried(&texts, false, policy);
            let expected = expected.map(|texts| texts.iter().map(ToString::to_string).collect());
            assert_eq!(tried, expected, "{texts:?} {policy:?}");
        }
    }

    #[test]
    fn families_alternate_duplicates_go_and_few_are_tried() {
        let policy = Policy::default();
        assert_eq!(
            tried(
                &["2a00::1", "2a00::2", "8.8.8.8", "8.8.8.8", "8.8.4.4"],
                false,
                &policy
            )
            .unwrap(),
            ["8.8.8.8", "2a00::1", "8.8.4.4", "2a00::2"]
        );
        let many: Vec<String> = (1..=200).map(|n| format!("8.8.8.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(tried(&many, false, &policy).unwrap().len(), KEPT_MAX);
        assert_eq!(tried(&[], false, &policy).unwrap(), [""; 0]);
    }

    #[test]
    fn a_reserved_name_reaches_only_what_is_allowed() {
        let policy = Policy {
            allow: vec!["127.0.0.0/8".parse().unwrap()],
            ..Policy::default()
        };
        assert_eq!(tried(&["127.0.0.1"], true, &policy).unwrap(), ["127.0.0.1"]);
        assert_eq!(tried(&["127.0.0.1", "8.8.8.8"], true, &policy), None);
        assert_eq!(
            tried(&["127.0.0.1", "8.8.8.8"], false, &policy)
                .unwrap()
                .len(),
            2
        );
        assert_eq!(tried(&["127.0.0.1", "10.0.0.1"], false, &policy), None);
    }
}
