//! Hides nothing but gathers in one value every name of ours that a receiver sees.

/// The names a receiver sees. The default is VantageKit's, which the contract fixes; a product
/// that ships this service under its own name configures its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brand {
    /// The product, for people.
    pub name: String,
    /// What the signature headers start with: `X-VantageKit` makes `X-VantageKit-Signature`.
    pub header_prefix: String,
    /// The `User-Agent` of every delivery.
    pub user_agent: String,
}

impl Default for Brand {
    fn default() -> Self {
        Self {
            name: "VantageKit".into(),
            header_prefix: "X-VantageKit".into(),
            user_agent: "VantageKit-Webhooks/1.0".into(),
        }
    }
}
