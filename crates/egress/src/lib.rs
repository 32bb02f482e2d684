//! Reaches a stranger's server safely: resolve, vet, pin, TLS, one exchange under one deadline.
//!
//! Floor plan, in reading order:
//!
//! - `policy`: what an operator allows beyond the default rules.
//! - `receiver_url`: a URL becomes [`ReceiverUrl`], the only form that is used from then on;
//!   `host_name` knows which names are nobody's, `unicode_host` the two forms of names beyond ASCII.
//! - `address`: the one classifier of addresses.
//! - `exchange`: the words for one exchange, and the seam [`Transport`]; the other seams are
//!   [`Resolver`] and [`Dialer`].
//! - `resolver`: asking the name servers.
//! - `vet`: a whole DNS answer becomes `vet::Vetted` addresses, or is refused; nothing else
//!   makes one, and nothing else can be connected to.
//! - `connect`: a TCP connection to a vetted address; `order` says in which order an endpoint's
//!   addresses are tried, and `tries` what came of it.
//! - `tls`: whom we trust, the handshake, and why it failed.
//! - `stream`: the connection's bytes, counted while TLS and HTTP are read from them, and how it is
//!   closed; `flow` asks the system what of them was acknowledged, and `fate` says what that means.
//! - `connection`: one HTTP/1.1 connection: a request goes out, a bounded response comes in.
//! - `connections`: those kept alive to one endpoint.
//! - `transport`: [`Egress`], which puts the rooms together under one deadline; `progress` is what is
//!   known of an attempt meanwhile, `watch` what is done where it waits long.
//! - `failure`: what to call a failure and how to tell it to a customer; `shortage` knows those that
//!   are this service's own.

pub mod address;
mod connect;
mod connection;
mod connections;
mod exchange;
mod failure;
mod fate;
mod flow;
mod host_name;
mod order;
mod policy;
mod progress;
mod receiver_url;
mod resolver;
mod shortage;
mod stream;
mod tls;
mod transport;
mod tries;
mod unicode_host;
mod vet;
mod watch;

pub use connect::{Dialer, Duplex};
pub use connections::Connections;
pub use exchange::{BoxFuture, Exchange, Failure, Probe, Request, Response, Transport};
pub use flow::{Flow, Unacknowledged};
pub use policy::Policy;
pub use receiver_url::{HostText, ReceiverUrl, URL_MAX, UrlProblem};
pub use resolver::{ResolveError, Resolver};
pub use transport::{Egress, EgressError, EgressOptions};
pub use unicode_host::UrlForms;
