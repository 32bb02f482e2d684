//! Hides nothing: where a lane's deliveries go, and what they are signed with.

use std::sync::Arc;

use egress::{Connections, ReceiverUrl, UrlProblem};
use model::endpoint::{Endpoint, Subscription};
use model::time::Timestamp;
use signature::SigningKeys;

/// Where a lane's deliveries go: a snapshot, replaced as a whole by every edit.
pub(crate) struct Target {
    /// The parsed URL, or why today's rules refuse the one that was accepted once.
    pub(crate) url: Result<ReceiverUrl, UrlProblem>,
    pub(crate) subscription: Subscription,
    pub(crate) current: SigningKeys,
    /// The keys before rotations, oldest first, and until when each is in use.
    pub(crate) previous: Vec<(SigningKeys, Timestamp)>,
    pub(crate) disabled: bool,
    pub(crate) paused: bool,
    pub(crate) deleted: bool,
    /// Kept alive across edits that leave the URL as it is.
    pub(crate) connections: Arc<Connections>,
}

impl Target {
    /// The target an endpoint describes. `before` lends its connections where the URL is the same.
    pub(crate) fn new(endpoint: &Endpoint, policy: &egress::Policy, before: Option<&Self>) -> Self {
        let url = ReceiverUrl::parse(&endpoint.url, policy);
        let connections = before
            .filter(|before| before.url == url)
            .map_or_else(Arc::default, |before| Arc::clone(&before.connections));
        let previous = endpoint.secrets.previous.iter();
        Self {
            url,
            subscription: endpoint.subscription.clone(),
            current: SigningKeys::new(endpoint.secrets.current.expose()),
            previous: previous
                .map(|(secret, until)| (SigningKeys::new(secret.expose()), *until))
                .collect(),
            disabled: endpoint.disabled,
            paused: endpoint.paused,
            deleted: false,
            connections,
        }
    }

    /// This target, once its endpoint is deleted.
    pub(crate) fn into_deleted(before: &Self) -> Self {
        Self {
            url: before.url.clone(),
            subscription: before.subscription.clone(),
            current: before.current.clone(),
            previous: before.previous.clone(),
            disabled: before.disabled,
            paused: before.paused,
            deleted: true,
            connections: Arc::default(),
        }
    }

    /// Whether it goes where another one goes, so that what is known of the receiver holds of it, too.
    pub(super) fn has_receiver_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.connections, &other.connections)
    }

    /// Whether deliveries may be sent now.
    pub(crate) fn takes_deliveries(&self) -> bool {
        !(self.disabled || self.paused || self.deleted)
    }
}
