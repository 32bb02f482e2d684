//! Hides how the system is asked what became of the bytes that were written to a TCP connection: by
//! a netlink socket (`sock_diag(7)`), which needs no handle of the connection and finds it by its
//! two addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// What the receiver's machine has not acknowledged of what was written to a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unacknowledged {
    /// How many bytes.
    pub bytes: u32,
    /// How often the oldest of them was sent again so far. No further sending succeeded since.
    pub resent: u8,
    /// Whether they wait because the receiver's machine says that it has no room for more: then it is
    /// alive, and its program does not read.
    pub no_room: bool,
}

/// Looks at one connection from outside.
pub trait Flow: Send + Sync {
    /// What is not acknowledged; `None` where the system does not say.
    fn unacknowledged(&self) -> Option<Unacknowledged>;
}

/// A TCP connection of this machine.
pub(crate) struct TcpFlow {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

impl Flow for TcpFlow {
    fn unacknowledged(&self) -> Option<Unacknowledged> {
        ask(self.local, self.remote).ok().flatten()
    }
}

// From linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
const HEADER: usize = 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const REQUEST: usize = HEADER + 56;
/// Where an `inet_diag_msg` has its fields.
const TIMER: usize = HEADER + 2;
const RETRANS: usize = HEADER + 3;
const WQUEUE: usize = HEADER + 60;
const ANSWER_MIN: usize = HEADER + 72;
/// The timer that asks a receiver without room whether it has some now.
const TIMER_PROBE: u8 = 4;

fn ask(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Unacknowledged>> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::SOCK_DIAG),
    )?;
    // The kernel answers within the call that asks.
    send(&socket, &request(local, remote), SendFlags::empty())?;
    let mut answer = [0; 512];
    let (came, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    Ok(read(&answer[..came]))
}

fn request(local: SocketAddr, remote: SocketAddr) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
    put(0, &(REQUEST as u32).to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &NLM_F_REQUEST.to_ne_bytes());
    let family = match local {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let tcp = rustix::net::ipproto::TCP.as_raw().get();
    put(HEADER, &[family.as_raw() as u8, tcp as u8]);
    // In which state it is does not matter.
    put(HEADER + 4, &u32::MAX.to_ne_bytes());
    put(HEADER + 8, &local.port().to_be_bytes());
    put(HEADER + 10, &remote.port().to_be_bytes());
    for (at, address) in [(HEADER + 12, local.ip()), (HEADER + 28, remote.ip())] {
        match address {
            IpAddr::V4(address) => put(at, &address.octets()),
            IpAddr::V6(address) => put(at, &address.octets()),
        }
    }
    if let SocketAddr::V6(local) = local {
        put(HEADER + 44, &local.scope_id().to_ne_bytes());
    }
    // INET_DIAG_NOCOOKIE: whichever connection has these addresses.
    put(HEADER + 48, &[0xff; 8]);
    bytes
}

fn read(answer: &[u8]) -> Option<Unacknowledged> {
    let kind = u16::from_ne_bytes([*answer.get(4)?, *answer.get(5)?]);
    if kind != SOCK_DIAG_BY_FAMILY || answer.len() < ANSWER_MIN {
        return None;
    }
    let bytes = answer[WQUEUE..WQUEUE + 4].try_into().ok()?;
    Some(Unacknowledged {
        bytes: u32::from_ne_bytes(bytes),
        resent: answer[RETRANS],
        // A receiver that is alive answers each probe. One that answers none is gone, or the probes do not get out.
        no_room: answer[TIMER] == TIMER_PROBE && answer[RETRANS] <= 1,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    fn pair(on: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(on).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn flow(stream: &TcpStream) -> TcpFlow {
        TcpFlow {
            local: stream.local_addr().unwrap(),
            remote: stream.peer_addr().unwrap(),
        }
    }

    /// What the system says, once it is `right`: an acknowledgement may take a moment.
    fn once(flow: &TcpFlow, right: impl Fn(Unacknowledged) -> bool) -> Unacknowledged {
        let begun = Instant::now();
        loop {
            let said = flow.unacknowledged().unwrap();
            if right(said) || begun.elapsed() > Duration::from_secs(20) {
                return said;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_has_arrived_is_acknowledged_and_what_finds_no_room_is_not() {
        for on in ["127.0.0.1:0", "[::1]:0"] {
            let (mut client, mut server) = pair(on);
            let flow = flow(&client);
            client.write_all(b"hello").unwrap();
            server.read_exact(&mut [0; 5]).unwrap();
            assert_eq!(once(&flow, |said| said.bytes == 0).bytes, 0, "{on}");

            client.set_nonblocking(true).unwrap();
            while client.write(&[0; 1 << 16]).is_ok() {}
            let full = once(&flow, |said| said.no_room);
            assert!(full.bytes > 0 && full.no_room, "{on}: {full:?}");
        }
    }

    #[test]
    fn of_a_connection_that_is_none_nothing_is_known() {
        let address = "127.0.0.1:9".parse().unwrap();
        let flow = TcpFlow {
            local: address,
            remote: address,
        };
        assert_eq!(flow.unacknowledged(), None);
        assert_eq!(read(&[0; 8]), None);
    }
}
