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

impl Brand {
    /// Checks a configured brand: its parts go into headers as they are.
    ///
    /// # Errors
    /// The sentence names the part and the rule it breaks.
    pub fn check(&self) -> Result<(), String> {
        if self.name.trim().is_empty() || self.name.chars().any(char::is_control) {
            return Err("the brand's name is empty or holds a control character".into());
        }
        let prefix = self.header_prefix.as_bytes();
        if !(1..=64).contains(&prefix.len())
            || !prefix
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            || prefix.starts_with(b"-")
            || prefix.ends_with(b"-")
        {
            return Err(format!(
                "the header prefix {:?} is not 1 to 64 letters, digits and inner hyphens, such as X-VantageKit",
                self.header_prefix
            ));
        }
        let agent = self.user_agent.as_str();
        if !(1..=256).contains(&agent.len())
            || agent.trim() != agent
            || !agent.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        {
            return Err(format!(
                "the User-Agent {agent:?} is not 1 to 256 visible ASCII characters and inner spaces"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brand_goes_into_headers_as_it_is() {
        let brand = |name: &str, prefix: &str, agent: &str| Brand {
            name: name.into(),
            header_prefix: prefix.into(),
            user_agent: agent.into(),
        };
        assert_eq!(Brand::default().check(), Ok(()));
        assert_eq!(brand("Äcme", "X-Acme2", "Acme/2 (hooks)").check(), Ok(()));
        let long = "x".repeat(300);
        for (wrong, part) in [
            (brand(" ", "X-A", "A"), "name"),
            (brand("A\n", "X-A", "A"), "name"),
            (brand("A", "", "A"), "header prefix"),
            (brand("A", "X-A-", "A"), "header prefix"),
            (brand("A", "X A", "A"), "header prefix"),
            (brand("A", "X:A", "A"), "header prefix"),
            (brand("A", &long, "A"), "header prefix"),
            (brand("A", "X-A", ""), "User-Agent"),
            (brand("A", "X-A", "A\r\nB: c"), "User-Agent"),
            (brand("A", "X-A", "A "), "User-Agent"),
            (brand("A", "X-A", &long), "User-Agent"),
        ] {
            assert!(
                wrong.check().is_err_and(|problem| problem.contains(part)),
                "{wrong:?}"
            );
        }
    }
}
