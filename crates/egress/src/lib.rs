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
//! - `connect`: a TCP connection to one of the vetted addresses.
//! - `tls`: whom we trust, the handshake, and why it failed.
//! - `stream`: the connection's bytes, counted while TLS and HTTP are read from them, and how it is
//!   closed.
//! - `connection`: one HTTP/1.1 connection: a request goes out, a bounded response comes in.
//! - `connections`: those kept alive to one endpoint.
//! - `transport`: [`Egress`], which puts the rooms together under one deadline.
//! - `failure`: what to call a failure and how to tell it to a customer; `shortage` knows the one
//!   that is this service's own.

pub mod address;
mod connect;
mod connection;
mod connections;
mod exchange;
mod failure;
mod host_name;
mod policy;
mod receiver_url;
mod resolver;
mod shortage;
mod stream;
mod tls;
mod transport;
mod unicode_host;
mod vet;

pub use connect::{Dialer, Duplex};
pub use connections::Connections;
pub use exchange::{BoxFuture, Exchange, Failure, Probe, Request, Response, Transport};
pub use policy::Policy;
pub use receiver_url::{HostText, ReceiverUrl, URL_MAX, UrlProblem};
pub use resolver::{ResolveError, Resolver};
pub use transport::{Egress, EgressError, EgressOptions};
pub use unicode_host::UrlForms;
