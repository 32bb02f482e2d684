//! Hides how it follows from what was acknowledged of a request whether it has arrived.

use crate::flow::Unacknowledged;

/// What became of the bytes of a request that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The receiver's machine has all of them; or nobody knows.
    Arrived,
    /// The receiver's machine did not take all of them.
    NotTaken,
    /// They, or a part, were sent again and again, and never acknowledged.
    Lost,
}

impl Fate {
    /// How often a part of what was written is sent again before it counts as lost. Where nothing at all was
    /// acknowledged, once is enough.
    const RESENT: u8 = 2;

    pub(crate) fn of(unacknowledged: Option<Unacknowledged>, written: usize) -> Self {
        let Some(Unacknowledged {
            bytes,
            resent,
            no_room,
        }) = unacknowledged.filter(|some| some.bytes > 0)
        else {
            return Self::Arrived;
        };
        let all = usize::try_from(bytes).is_ok_and(|bytes| bytes >= written);
        let lost = resent >= Self::RESENT || (all && resent > 0);
        match lost && !no_room {
            true => Self::Lost,
            false => Self::NotTaken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_request_follows_from_what_was_acknowledged() {
        let said = |bytes, resent, no_room| {
            Some(Unacknowledged {
                bytes,
                resent,
                no_room,
            })
        };
        for (said, fate) in [
            (None, Fate::Arrived),
            (said(0, 0, false), Fate::Arrived),
            // Nothing was acknowledged: a dead host, packets too large for the way, a forgotten flow.
            (said(100, 1, false), Fate::Lost),
            (said(150, 5, false), Fate::Lost),
            // It has only just left.
            (said(100, 0, false), Fate::NotTaken),
            // A part was, and then no more.
            (said(40, 1, false), Fate::NotTaken),
            (said(40, 2, false), Fate::Lost),
            // The machine is alive and its program does not read.
            (said(40, 0, true), Fate::NotTaken),
            (said(100, 1, true), Fate::NotTaken),
        ] {
            assert_eq!(Fate::of(said, 100), fate, "{said:?}");
        }
    }
}
