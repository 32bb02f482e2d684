//! Hides nothing: the words for who changed what by hand.

use std::sync::Arc;

use crate::attempt::words;
use crate::id::{AuditId, EndpointId, KeyId, TeamId};

/// Who changes something by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Whoever bears the operator's key.
    Operator,
    /// Whoever bears this key of the team's.
    Key(KeyId),
    /// Somebody at the team's settings pages, by the name under which the product sent them there. None: it
    /// said none. Text of strangers, for people.
    Session(Option<Arc<str>>),
}

impl Actor {
    /// The stable word for it, in the API and the store.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Key(_) => "api_key",
            Self::Session(_) => "settings_page",
        }
    }

    /// The key, where it is one.
    pub const fn key(&self) -> Option<KeyId> {
        match self {
            Self::Key(key) => Some(*key),
            Self::Operator | Self::Session(_) => None,
        }
    }

    /// The name of the person, where one is known.
    pub const fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Session(name) => name.as_ref(),
            Self::Operator | Self::Key(_) => None,
        }
    }

    /// The one that `text` is the word for; a key's needs its id, and only who is at the pages may have a name.
    pub fn parse(text: &str, key: Option<KeyId>, name: Option<Arc<str>>) -> Option<Self> {
        match (text, key, name) {
            ("operator", None, None) => Some(Self::Operator),
            ("api_key", Some(key), None) => Some(Self::Key(key)),
            ("settings_page", None, name) => Some(Self::Session(name)),
            _ => None,
        }
    }
}

words! {
    /// What was done.
    Action {
        /// A team was made.
        TeamCreated = "team.created",
        /// A team's name or plan was changed.
        TeamUpdated = "team.updated",
        /// A team was deleted, with its keys and endpoints.
        TeamDeleted = "team.deleted",
        /// An endpoint was made, with a secret.
        EndpointCreated = "webhook_endpoint.created",
        /// An endpoint was changed.
        EndpointUpdated = "webhook_endpoint.updated",
        /// An endpoint was given a new secret.
        SecretRotated = "webhook_endpoint.secret_rotated",
        /// An endpoint was deleted.
        EndpointDeleted = "webhook_endpoint.deleted",
        /// An API key was made.
        KeyCreated = "api_key.created",
        /// An API key was revoked.
        KeyDeleted = "api_key.deleted",
    }
}

/// What it was done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The team itself.
    Team(TeamId),
    /// An endpoint of the team's.
    Endpoint(EndpointId),
    /// An API key of the team's.
    Key(KeyId),
}

impl Action {
    /// The subject with this id: what kind it is follows from the action.
    pub const fn subject(self, raw: i64) -> Subject {
        match self {
            Self::TeamCreated | Self::TeamUpdated | Self::TeamDeleted => Subject::Team(TeamId(raw)),
            Self::EndpointCreated
            | Self::EndpointUpdated
            | Self::SecretRotated
            | Self::EndpointDeleted => Subject::Endpoint(EndpointId(raw)),
            Self::KeyCreated | Self::KeyDeleted => Subject::Key(KeyId(raw)),
        }
    }
}

/// A field that was changed, as text; none: it had or has no value. Never a secret or a whole key, and of a
/// URL not its query, which may hold one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What the API calls it.
    pub field: String,
    /// What it was.
    pub from: Option<String>,
    /// What it is.
    pub to: Option<String>,
}

/// A change by hand, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its id, which says when.
    pub id: AuditId,
    /// Who did it.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// To what.
    pub subject: Subject,
    /// Which fields it changed.
    pub changes: Vec<Change>,
}

/// A URL without its query, which is shown as `?…`.
pub fn without_query(url: &str) -> String {
    match url.split_once('?') {
        None => url.to_owned(),
        Some((before, _)) => format!("{before}?…"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_are_read_back_and_only_a_key_has_an_id_and_only_a_session_a_name() {
        let (key, name) = (KeyId(7), Arc::<str>::from("jane@acme.example"));
        for (actor, id, called) in [
            (Actor::Operator, None, None),
            (Actor::Key(key), Some(key), None),
            (Actor::Session(None), None, None),
            (Actor::Session(Some(name.clone())), None, Some(&name)),
        ] {
            assert_eq!((actor.key(), actor.name()), (id, called));
            let word = actor.as_str();
            assert_eq!(Actor::parse(word, id, called.cloned()), Some(actor));
            let wrong = if id.is_some() { None } else { Some(key) };
            assert_eq!(Actor::parse(word, wrong, called.cloned()), None);
        }
        assert_eq!(Actor::parse("operator", None, Some(name.clone())), None);
        assert_eq!(Actor::parse("api_key", Some(key), Some(name)), None);
        assert_eq!(Actor::parse("somebody", None, None), None);
    }

    #[test]
    fn a_url_s_query_is_not_kept() {
        for (url, kept) in [
            ("https://a.example/in", "https://a.example/in"),
            ("https://a.example/in?token=x", "https://a.example/in?…"),
            ("https://a.example/?", "https://a.example/?…"),
        ] {
            assert_eq!(without_query(url), kept);
        }
    }
}
