//! Hides how much a team may have: plans and their limits (contract, "Limits by plan").

use std::collections::BTreeMap;

use crate::id::TeamId;
use crate::time::Timestamp;

/// A customer of the product: the owner of endpoints, keys, events and deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Team {
    /// The team inside.
    pub id: TeamId,
    /// The team outside: the operator's own id for it, or a UUIDv7.
    pub external_id: String,
    /// For people.
    pub name: String,
    /// The name of its plan.
    pub plan: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// How much a team may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What configuration and the API call it.
    pub name: String,
    /// The most endpoints; 0 means that the plan has no webhooks.
    pub endpoints: u32,
    /// The most API keys.
    pub api_keys: u32,
}

/// The plan of a team that names none.
pub const DEFAULT_PLAN: &str = "scale";

/// The most endpoints a plan may grant: an event's deliveries share one block of ids.
pub const PLAN_ENDPOINTS_MAX: u32 = 10_000;

/// The configured plans by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plans(BTreeMap<String, Plan>);

impl Default for Plans {
    /// `scale`: 10 endpoints and 5 API keys.
    fn default() -> Self {
        let scale = Plan {
            name: DEFAULT_PLAN.into(),
            endpoints: 10,
            api_keys: 5,
        };
        Self(BTreeMap::from([(scale.name.clone(), scale)]))
    }
}

impl Plans {
    /// These plans. `scale` is among them even where it is not named, since it is the default.
    ///
    /// # Errors
    /// The sentence names the plan and the rule it breaks.
    pub fn new(plans: impl IntoIterator<Item = Plan>) -> Result<Self, String> {
        let mut all = Self::default();
        let mut seen = std::collections::BTreeSet::new();
        for plan in plans {
            if plan.name.is_empty() || plan.name.len() > 64 {
                return Err(format!(
                    "a plan's name has 1 to 64 characters; {:?} does not",
                    plan.name
                ));
            }
            if plan.endpoints > PLAN_ENDPOINTS_MAX {
                return Err(format!(
                    "plan {:?} grants {} endpoints; at most {PLAN_ENDPOINTS_MAX} are possible",
                    plan.name, plan.endpoints
                ));
            }
            if !seen.insert(plan.name.clone()) {
                return Err(format!("plan {:?} is there twice", plan.name));
            }
            all.0.insert(plan.name.clone(), plan);
        }
        Ok(all)
    }

    /// The plan of that name.
    pub fn get(&self, name: &str) -> Option<&Plan> {
        self.0.get(name)
    }

    /// The plans' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Whether `text` may be a team's id outside: 1 to 64 characters of `A-Z a-z 0-9 - _ .`, so that
/// it stands unescaped in a path, a header and a log line.
pub fn is_external_team_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !text.bytes().all(|byte| byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_is_always_there_and_may_be_redefined() {
        assert_eq!(
            Plans::default()
                .get("scale")
                .map(|plan| (plan.endpoints, plan.api_keys)),
            Some((10, 5))
        );
        let plan = |name: &str, endpoints| Plan {
            name: name.into(),
            endpoints,
            api_keys: 1,
        };
        let plans = Plans::new([plan("free", 0), plan("scale", 20)]).unwrap();
        assert_eq!(plans.names().collect::<Vec<_>>(), ["free", "scale"]);
        assert_eq!(plans.get("scale").unwrap().endpoints, 20);
        for wrong in [
            vec![plan("", 1)],
            vec![plan("a", 1), plan("a", 2)],
            vec![plan("a", 10_001)],
        ] {
            assert!(Plans::new(wrong).is_err());
        }
    }

    #[test]
    fn team_ids_outside_need_no_escaping() {
        for good in [
            "0198a6f0-3a5b-7c1d-9e2f-0123456789ab",
            "team_42",
            "a",
            "acme.eu",
            &"x".repeat(64),
        ] {
            assert!(is_external_team_id(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "é",
            "a\n",
            "%41",
            &"x".repeat(65),
        ] {
            assert!(!is_external_team_id(bad), "{bad}");
        }
    }
}
