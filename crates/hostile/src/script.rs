//! Hides nothing: the words that scripts are written in.

use std::time::Duration;

use bytes::Bytes;
use model::attempt::{Outcome, Reason};

use crate::certificates::Flaw;
use crate::name_server::Answer;

/// A receiver: what it does, and what has to become of an attempt that comes to it.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its stable name, which is also the first label of its host's.
    pub name: String,
    /// What it does, in a line for people.
    pub says: String,
    /// What lies between TCP and its steps.
    pub layer: Layer,
    /// How it listens.
    pub listens: Listens,
    /// What it does on a connection; begun anew for the next request where no step ends it.
    pub steps: Vec<Step>,
    /// What the name server says of names that are not plainly at 127.0.0.1: for each its answers,
    /// the last of which stands. The first answer is given to whoever makes the endpoint.
    pub zone: Vec<(String, Vec<Answer>)>,
    /// How many bytes the body of the request has at least.
    pub body: usize,
    /// Whether its time is so near to the deadline that it needs real time and a quiet machine.
    pub alone: bool,
    /// What has to become of the first attempt.
    pub expect: Expect,
    /// What has to become of later ones, where that is something else.
    pub later: Option<Expect>,
}

/// What lies between TCP and the steps.
#[derive(Clone, Copy, Debug)]
pub enum Layer {
    /// Nothing: an `http` URL.
    Plain,
    /// Nothing, though the URL is `https`: the steps are all there is of TLS.
    Raw,
    /// TLS: an `https` URL.
    Tls(Flaw, Twist),
}

/// What is odd about a receiver's TLS, beside its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    /// Nothing.
    None,
    /// It speaks TLS 1.2 only.
    Tls12,
    /// It offers HTTP/2 only.
    H2Only,
    /// It demands a client certificate, in TLS 1.2.
    ClientCertificate12,
    /// It demands a client certificate, in TLS 1.3.
    ClientCertificate13,
    /// It asks for a client certificate and goes on without one, in TLS 1.2.
    ClientCertificateAsked12,
    /// It asks for a client certificate and goes on without one, in TLS 1.3.
    ClientCertificateAsked13,
    /// It sends so many session tickets, in TLS 1.3.
    Tickets(usize),
    /// It says nothing more after so many bytes.
    SilentAfter(usize),
    /// It begins its handshake late.
    Late(Duration),
}

/// How a receiver listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listens {
    /// As any server does.
    Usual,
    /// Its port is taken, and nobody listens there.
    Nobody,
    /// It listens and never accepts: the system completes connections for it.
    NeverAccepts,
    /// It listens and never accepts, and its queue is full.
    FullBacklog,
    /// As any server does, with next to no room for what comes.
    Narrow,
}

/// One thing that a receiver does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads one request, head and body.
    Request,
    /// Reads so many bytes.
    Read(usize),
    /// Sends this.
    Send(Bytes),
    /// Sends this byte by byte.
    Drip(Bytes, Duration),
    /// Sends this for ever, without a pause where there is none.
    Repeat(Bytes, Option<Duration>),
    /// Does nothing for a while.
    Wait(Duration),
    /// Says nothing more, reads what comes, and stays until the other goes.
    Stay,
    /// Neither says nor reads anything more.
    Freeze,
    /// Says goodbye and closes; under TLS with close_notify.
    Close,
    /// Closes TCP; under TLS without close_notify.
    CloseTcp,
    /// Drops the connection with what has come unread.
    Drop,
    /// Resets the connection once what was sent has arrived.
    Reset,
    /// Under TLS: sends a record that nobody encrypted, and stays.
    CorruptRecord,
    /// Under TLS: sends a fatal alert, and stays.
    Alert,
    /// Under TLS 1.3: changes its keys so many times, and stays.
    KeyUpdates(usize),
    /// Under TLS 1.3: sends so many records of padding only, and stays.
    Padding {
        /// How many.
        records: usize,
        /// Whether they say what they hold none of.
        typed: bool,
    },
    /// Under TLS 1.3: sends session tickets for ever.
    Tickets,
    /// In place of TLS: asks for another hello so many times, each time with a key of another group.
    HelloRetries(usize),
}

/// What has to become of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Its outcome.
    pub outcome: Outcome,
    /// Its reason, where it fails.
    pub reason: Option<Reason>,
    /// The status in the log, where a head was read.
    pub status: Option<u16>,
    /// The body in the log, where the script is particular about it.
    pub body: Option<Bytes>,
    /// How long it takes.
    pub takes: Takes,
    /// What the sentence for the customer has to say.
    pub tells: &'static str,
}

/// How long an attempt takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// As long as a machine needs.
    AtOnce,
    /// This long, and what a machine needs.
    About(Duration),
    /// Until the name is given up, which is before the deadline.
    Lookup,
    /// Until the deadline.
    Deadline,
}

impl Script {
    /// A receiver over plain TCP.
    pub(crate) fn new(name: &str, says: &str, steps: Vec<Step>, expect: Expect) -> Self {
        Self {
            name: name.to_owned(),
            says: says.to_owned(),
            layer: Layer::Plain,
            listens: Listens::Usual,
            steps,
            zone: vec![],
            body: 0,
            alone: false,
            expect,
            later: None,
        }
    }

    /// Over TLS with a valid certificate.
    #[must_use]
    pub(crate) fn tls(self) -> Self {
        self.over(Layer::Tls(Flaw::None, Twist::None))
    }

    #[must_use]
    pub(crate) fn over(mut self, layer: Layer) -> Self {
        self.layer = layer;
        self
    }

    #[must_use]
    pub(crate) fn listens(mut self, listens: Listens) -> Self {
        self.listens = listens;
        self
    }

    #[must_use]
    pub(crate) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// What the name server says of the receiver's own name.
    #[must_use]
    pub(crate) fn named(mut self, answers: Vec<Answer>) -> Self {
        self.zone.push((self.name.clone(), answers));
        self
    }

    /// What has to become of the attempt of this number, from 0.
    pub fn expected(&self, number: usize) -> &Expect {
        match &self.later {
            Some(later) if number > 0 => later,
            _ => &self.expect,
        }
    }
}

impl Expect {
    /// By the contract's table, for a complete response.
    pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Self {
        let (outcome, reason) = match status {
            200..=299 => (Outcome::Delivered, None),
            300..=399 => (Outcome::Retry, Some(Reason::Redirect)),
            429 => (Outcome::Retry, Some(Reason::HttpStatus)),
            400..=499 => (Outcome::PermanentFailure, Some(Reason::HttpStatus)),
            _ => (Outcome::Retry, Some(Reason::HttpStatus)),
        };
        Self {
            outcome,
            reason,
            status: Some(status),
            body: Some(body.into()),
            takes: Takes::AtOnce,
            tells: "",
        }
    }

    /// A failure without a response.
    pub(crate) fn fail(reason: Reason) -> Self {
        Self {
            outcome: Outcome::Retry,
            reason: Some(reason),
            status: None,
            body: None,
            takes: match reason {
                Reason::ConnectTimeout
                | Reason::TlsTimeout
                | Reason::SendTimeout
                | Reason::ResponseTimeout
                | Reason::BodyTimeout => Takes::Deadline,
                Reason::DnsTimeout => Takes::Lookup,
                _ => Takes::AtOnce,
            },
            tells: "",
        }
    }

    /// A failure inside the body of a 200.
    pub(crate) fn fail_in_body(reason: Reason) -> Self {
        Self {
            status: Some(200),
            ..Self::fail(reason)
        }
    }

    #[must_use]
    pub(crate) fn takes(mut self, takes: Takes) -> Self {
        self.takes = takes;
        self
    }

    #[must_use]
    pub(crate) fn tells(mut self, part: &'static str) -> Self {
        self.tells = part;
        self
    }
}

/// A piece to send.
pub(crate) fn send(bytes: impl Into<Bytes>) -> Step {
    Step::Send(bytes.into())
}

/// A piece to send for ever, as fast as it is read.
pub(crate) fn repeat(piece: &str) -> Step {
    Step::Repeat(piece.repeat(100).into(), None)
}

/// Reads the request and sends this.
pub(crate) fn says(bytes: impl Into<Bytes>) -> Vec<Step> {
    vec![Step::Request, send(bytes)]
}

/// Reads the request, sends this, and ends so.
pub(crate) fn says_and(bytes: impl Into<Bytes>, then: Step) -> Vec<Step> {
    vec![Step::Request, send(bytes), then]
}
