//! Hides what an endpoint is: where deliveries go, for which events, signed with which secrets,
//! and which word describes its state.

use std::fmt;

use base64::Engine as _;
use zeroize::Zeroizing;

use crate::attempt::words;
use crate::health::Health;
use crate::id::{EndpointId, TeamId};
use crate::time::Timestamp;

/// What a signing secret starts with (Standard Webhooks).
pub const SECRET_PREFIX: &str = "whsec_";

/// A signing secret: `whsec_` and base64 of 32 random bytes. Wiped when dropped; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A new secret out of 32 random bytes.
    pub fn from_random(random: &[u8; 32]) -> Self {
        let mut text = Zeroizing::new(String::from(SECRET_PREFIX));
        base64::engine::general_purpose::STANDARD.encode_string(random, &mut text);
        Self(text)
    }

    /// A secret as it was kept.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The whole secret, prefix included: to sign with, to keep, and to show once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The most secrets before the current one that can be in use at once.
pub const PREVIOUS_SECRETS_MAX: usize = 5;

/// An endpoint's secret and, while rotations last, those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// The newest secret.
    pub current: Secret,
    /// The secrets before it, oldest first, and when each stops being used. Each keeps the end it
    /// was announced with, whatever rotations follow.
    pub previous: Vec<(Secret, Timestamp)>,
}

impl Secrets {
    /// A single secret.
    pub fn new(current: Secret) -> Self {
        Self {
            current,
            previous: Vec::new(),
        }
    }

    /// The secrets after a rotation to `new` at `now`. The current one stays in use until
    /// `expires_at`, and the ones before it until their own end; where `expires_at` is not after
    /// `now`, all of them end at once: that is how a leaked secret is answered.
    ///
    /// None where more than [`PREVIOUS_SECRETS_MAX`] would be in use.
    #[must_use]
    pub fn rotated(&self, new: Secret, now: Timestamp, expires_at: Timestamp) -> Option<Self> {
        let mut previous = Vec::new();
        if expires_at > now {
            let in_use = self.previous.iter().filter(|(_, end)| now < *end);
            previous.extend(in_use.cloned());
            previous.push((self.current.clone(), expires_at));
        }
        (previous.len() <= PREVIOUS_SECRETS_MAX).then_some(Self {
            current: new,
            previous,
        })
    }
}

/// Which event types an endpoint gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// All, also those the catalog does not have yet.
    All,
    /// Just these, sorted and each once.
    Types(Vec<String>),
}

impl Subscription {
    /// Reads the API's `eventTypes`: absent, empty or `["*"]` is all. Whether the types exist
    /// is the catalog's to say.
    pub fn from_names(names: Option<Vec<String>>) -> Self {
        let mut names = names.unwrap_or_default();
        if names.is_empty() || names.iter().any(|name| name == "*") {
            return Self::All;
        }
        names.sort_unstable();
        names.dedup();
        Self::Types(names)
    }

    /// The API's `eventTypes`: `["*"]` for all.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::All => vec!["*".into()],
            Self::Types(names) => names.clone(),
        }
    }

    /// Whether an event of this type is wanted.
    pub fn wants(&self, event_type: &str) -> bool {
        match self {
            Self::All => true,
            Self::Types(names) => names
                .binary_search_by(|name| name.as_str().cmp(event_type))
                .is_ok(),
        }
    }
}

words! {
    /// The word for an endpoint's state.
    EndpointStatus {
        /// Its latest attempts do not say otherwise.
        Healthy = "healthy",
        /// At least five attempts in a row failed.
        Unhealthy = "unhealthy",
        /// Switched off by hand: no new deliveries; unfinished ones are held.
        Disabled = "disabled",
        /// Held by hand: new deliveries are made, and held.
        Paused = "paused",
    }
}

/// Where a team's deliveries go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose it is.
    pub team: TeamId,
    /// Where deliveries go: a URL that egress accepted, in its normal form.
    pub url: String,
    /// For people.
    pub description: Option<String>,
    /// Which events it gets.
    pub subscription: Subscription,
    /// What its deliveries are signed with.
    pub secrets: Secrets,
    /// Switched off by hand.
    pub disabled: bool,
    /// Held by hand.
    pub paused: bool,
    /// What its latest attempts say.
    pub health: Health,
    /// When it was last changed by hand.
    pub updated_at: Timestamp,
    /// From when on every attempt goes by the URL and the secrets that it has now.
    pub sent_as_since: Timestamp,
    /// When its latest attempt ended.
    pub last_delivery_at: Option<Timestamp>,
}

impl Endpoint {
    /// Disabled, else paused, else its health (contract, "Statuses of a delivery").
    pub fn status(&self) -> EndpointStatus {
        if self.disabled {
            EndpointStatus::Disabled
        } else if self.paused {
            EndpointStatus::Paused
        } else if self.health.is_unhealthy() {
            EndpointStatus::Unhealthy
        } else {
            EndpointStatus::Healthy
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_whsec_and_base64_and_never_printed() {
        let secret = Secret::from_random(&[0; 32]);
        assert_eq!(
            secret.expose(),
            "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        );
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn every_secret_keeps_the_end_it_was_announced_with() {
        let secret = |name: &str| Secret::from_text(name);
        let at = Timestamp::from_millis;
        // What is in use at a moment, oldest first; the current one last.
        let in_use = |secrets: &Secrets, now: i64| -> String {
            let previous = secrets.previous.iter().filter(|(_, end)| at(now) < *end);
            let previous = previous.map(|(secret, _)| secret.expose());
            previous.chain([secrets.current.expose()]).collect()
        };
        let first = Secrets::new(secret("a"));
        let second = first.rotated(secret("b"), at(0), at(100)).unwrap();
        assert_eq!(in_use(&second, 99), "ab");
        assert_eq!(in_use(&second, 100), "b");
        let third = second.rotated(secret("c"), at(50), at(150)).unwrap();
        assert_eq!(in_use(&third, 99), "abc");
        assert_eq!(in_use(&third, 100), "bc", "the first is not prolonged");
        assert_eq!(in_use(&third, 150), "c");
        let later = second.rotated(secret("c"), at(100), at(200)).unwrap();
        assert_eq!(later.previous.len(), 1, "what has ended is forgotten");
        let at_once = third.rotated(secret("d"), at(60), at(60)).unwrap();
        assert_eq!(in_use(&at_once, 60), "d", "0 s: all end at once");
        let mut many = first;
        for _ in 0..PREVIOUS_SECRETS_MAX {
            many = many.rotated(secret("x"), at(0), at(100)).unwrap();
        }
        assert_eq!(many.rotated(secret("y"), at(0), at(100)), None);
        assert!(many.rotated(secret("y"), at(100), at(200)).is_some());
        assert!(many.rotated(secret("y"), at(0), at(0)).is_some());
    }

    #[test]
    fn a_subscription_wants_all_or_just_its_types() {
        let of = |names: &[&str]| {
            Subscription::from_names(Some(names.iter().map(ToString::to_string).collect()))
        };
        assert_eq!(Subscription::from_names(None), Subscription::All);
        assert_eq!(of(&[]), Subscription::All);
        assert_eq!(of(&["*"]), Subscription::All);
        assert!(of(&["*"]).wants("anything"));
        let two = of(&["link.created", "agreement.signed", "link.created"]);
        assert_eq!(two.names(), ["agreement.signed", "link.created"]);
        assert!(two.wants("link.created") && !two.wants("link.updated"));
    }
}
