//! Hides socket activation: a listener that the service manager opened and keeps, so that clients wait in
//! its queue while the service is started again.

use std::net::TcpListener;

use anyhow::{Context, Result, bail};
use listenfd::ListenFd;

/// The listener in `LISTEN_FDS`, if it is meant for this process (`LISTEN_PID`).
///
/// # Errors
/// Where what was passed is no TCP listener, or more than one was.
pub(crate) fn listener() -> Result<Option<TcpListener>> {
    let mut passed = ListenFd::from_env();
    if passed.len() > 1 {
        bail!(
            "{} sockets were passed in LISTEN_FDS, and this service serves one: leave one ListenStream= in \
             the .socket unit",
            passed.len()
        );
    }
    if passed.len() == 0 {
        return Ok(None);
    }
    let listener = passed.take_tcp_listener(0);
    listener.context(
        "the socket that was passed in LISTEN_FDS is no TCP listener: let ListenStream= in the .socket unit \
         be an address and a port, such as 127.0.0.1:8080",
    )
}
