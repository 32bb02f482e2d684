//! Hides how each of the five receivers behaves, and what it has seen.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;
use local_receiver::{Answer, Arrival, Authority, Receiver};
use signature::{Scheme, Verifier};
use tokio::net::TcpSocket;

/// What is wrong with a receiver, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Healthy,
    Slow,
    Flaky,
    Rejecting,
    Dead,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [
        Self::Healthy,
        Self::Slow,
        Self::Flaky,
        Self::Rejecting,
        Self::Dead,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Slow => "slow",
            Self::Flaky => "flaky",
            Self::Rejecting => "rejecting",
            Self::Dead => "dead",
        }
    }

    pub(super) fn explained(self) -> &'static str {
        match self {
            Self::Healthy => "answers 200 at once",
            Self::Slow => "answers 200 after a second",
            Self::Flaky => "answers every third request with 503",
            Self::Rejecting => "answers 422: permanent, never retried",
            Self::Dead => "nothing listens: retried after 1, 2, 4, 8 and 16 s",
        }
    }

    /// The answer to its `nth` request.
    fn answer(self, nth: u64) -> Answer {
        match self {
            Self::Slow => Answer::status(200).after(Duration::from_secs(1)),
            Self::Flaky if nth.is_multiple_of(3) => {
                Answer::status(503).with_body("try again in a moment")
            }
            Self::Rejecting => Answer::status(422).with_body("we do not want this"),
            Self::Healthy | Self::Flaky | Self::Dead => Answer::status(200),
        }
    }
}

/// What a receiver has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Requests whose signatures are both right.
    pub(super) genuine: u64,
    /// Requests with a signature that is not.
    pub(super) forged: u64,
    /// Deliveries answered with 2xx.
    accepted: HashSet<String>,
}

impl Tally {
    /// How many deliveries it has answered with 2xx.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.len()
    }
}

/// One receiver with its temper.
pub(super) struct Temper {
    pub(super) kind: Kind,
    url: String,
    verifier: Arc<OnceLock<Verifier>>,
    tally: Arc<Mutex<Tally>>,
    _presence: Presence,
}

/// What keeps the port ours.
enum Presence {
    Listening {
        _receiver: Receiver,
    },
    /// A port that is taken and that nobody listens at.
    Silent {
        _socket: TcpSocket,
    },
}

impl Temper {
    /// Opens a receiver of this kind, with a certificate of `authority`.
    pub(super) async fn open(kind: Kind, authority: &Authority) -> Result<Self> {
        let verifier = Arc::<OnceLock<Verifier>>::default();
        let tally = Arc::<Mutex<Tally>>::default();
        let (url, presence) = if kind == Kind::Dead {
            let socket = TcpSocket::new_v4()?;
            socket.bind(([127, 0, 0, 1], 0).into())?;
            let url = format!("https://{}/webhooks", socket.local_addr()?);
            (url, Presence::Silent { _socket: socket })
        } else {
            let tls = authority.server_config(&["127.0.0.1"])?;
            let (verifier, tally) = (Arc::clone(&verifier), Arc::clone(&tally));
            let handler = move |arrival: Arrival| {
                std::future::ready(receive(kind, &verifier, &tally, &arrival))
            };
            let receiver = Receiver::start(0, Some(tls), handler).await?;
            let url = receiver.url("/webhooks");
            (
                url,
                Presence::Listening {
                    _receiver: receiver,
                },
            )
        };
        Ok(Self {
            kind,
            url,
            verifier,
            tally,
            _presence: presence,
        })
    }

    /// Where deliveries to it go.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Hands it the secret of its endpoint. Until then every request counts as forged.
    pub(super) fn trust(&self, secret: &str) {
        // Only the first is kept: an endpoint is made once.
        let _ = self.verifier.set(Verifier::new(secret));
    }

    /// What it has seen.
    pub(super) fn tally(&self) -> Tally {
        self.tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn receive(
    kind: Kind,
    verifier: &OnceLock<Verifier>,
    tally: &Mutex<Tally>,
    arrival: &Arrival,
) -> Answer {
    let since = arrival.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = since.as_secs().cast_signed();
    let genuine = verifier.get().is_some_and(|verifier| {
        [Scheme::VantageKit, Scheme::Standard].iter().all(|scheme| {
            let checked = verifier.verify(*scheme, &arrival.headers, &arrival.body, now);
            checked.is_ok()
        })
    });
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    if !genuine {
        tally.forged += 1;
        return Answer::status(401);
    }
    tally.genuine += 1;
    let answer = kind.answer(tally.genuine);
    if let Answer::Respond {
        status: 200..=299, ..
    } = answer
    {
        let id = arrival.header("x-vantagekit-delivery").to_owned();
        tally.accepted.insert(id);
    }
    answer
}
