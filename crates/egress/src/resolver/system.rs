//! Hides the system's own configuration of names: `/etc/resolv.conf` and `/etc/hosts`, read again
//! when they change.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::server::Server;
use crate::transport::EgressError;

/// The files are looked at when a name is looked up, and at most this often.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);
/// As many servers are used as by the C library (resolv.conf(5)).
const SERVERS_MAX: usize = 3;
/// The other words that a line of resolv.conf(5) begins with. They are about search domains, sorting
/// and timeouts, which are ours to decide.
const KNOWN_WORDS: [&str; 6] = [
    "domain", "search", "sortlist", "options", "lookup", "family",
];

/// The system's name servers and host names, as they are now.
#[derive(Debug)]
pub(super) struct System {
    resolv_conf: PathBuf,
    hosts: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    looked_at: Instant,
    /// What the files held; `None` where a file cannot be read.
    resolv_conf: Option<String>,
    hosts: Option<String>,
    now: Names,
}

/// The name servers in order, and the names that need none.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) servers: Arc<[Arc<Server>]>,
    pub(super) hosts: Arc<HashMap<String, Vec<IpAddr>>>,
}

impl System {
    /// # Errors
    /// The file cannot be read or names no server; the sentence says what to do.
    pub(super) fn read(resolv_conf: &Path, hosts: &Path) -> Result<Self, EgressError> {
        let text = std::fs::read_to_string(resolv_conf).map_err(|error| {
            EgressError(format!(
                "The name servers cannot be read from {}: {error}. Make the file readable, or name \
                 a server with --dns-server IP:PORT.",
                resolv_conf.display()
            ))
        })?;
        let servers = servers_said(&text, resolv_conf);
        if servers.is_empty() {
            return Err(EgressError(format!(
                "{} names no name server. Add a line such as \"nameserver 192.0.2.53\", or name a \
                 server with --dns-server IP:PORT.",
                resolv_conf.display()
            )));
        }
        let hosts_text = std::fs::read_to_string(hosts).ok();
        let now = Names {
            servers: kept_servers(&[], &servers),
            hosts: Arc::new(hosts_of(hosts_text.as_deref().unwrap_or_default())),
        };
        Ok(Self {
            resolv_conf: resolv_conf.to_owned(),
            hosts: hosts.to_owned(),
            state: Mutex::new(State {
                looked_at: Instant::now(),
                resolv_conf: Some(text),
                hosts: hosts_text,
                now,
            }),
        })
    }

    /// The names as of the last second.
    pub(super) fn names(&self) -> Names {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked_at.elapsed() >= LOOKED_AT_EVERY {
            state.looked_at = Instant::now();
            self.look_again(&mut state);
        }
        state.now.clone()
    }

    /// The servers that were asked last, whatever the file says by now.
    pub(super) fn last_servers(&self) -> Arc<[Arc<Server>]> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&state.now.servers)
    }

    fn look_again(&self, state: &mut State) {
        let hosts = std::fs::read_to_string(&self.hosts).ok();
        if hosts != state.hosts {
            state.now.hosts = Arc::new(hosts_of(hosts.as_deref().unwrap_or_default()));
            state.hosts = hosts;
        }
        let read = std::fs::read_to_string(&self.resolv_conf);
        let problem = read.as_ref().err().map(ToString::to_string);
        let text = read.ok();
        if text == state.resolv_conf {
            return;
        }
        let path = self.resolv_conf.display();
        let servers = match &text {
            Some(text) => servers_said(text, &self.resolv_conf),
            None => Vec::new(),
        };
        state.resolv_conf = text;
        let before = listed(&state.now.servers);
        if servers.is_empty() {
            let why = problem.map_or("names no name server".to_owned(), |problem| {
                format!("cannot be read ({problem})")
            });
            warn!("{path} changed and {why}; the name servers before are still asked: {before}");
            return;
        }
        state.now.servers = kept_servers(&state.now.servers, &servers);
        let now = listed(&state.now.servers);
        if now != before {
            info!("{path} changed: names are now resolved by {now}, and no longer by {before}");
        }
    }
}

fn listed(servers: &[Arc<Server>]) -> String {
    let addresses: Vec<String> = servers.iter().map(|s| s.address().to_string()).collect();
    addresses.join(", ")
}

/// A server that stays is kept with what is known of it.
pub(super) fn kept_servers(before: &[Arc<Server>], now: &[SocketAddr]) -> Arc<[Arc<Server>]> {
    let kept = |address: &SocketAddr| before.iter().find(|one| one.address() == *address).cloned();
    now.iter()
        .map(|address| kept(address).unwrap_or_else(|| Arc::new(Server::new(*address))))
        .collect()
}

/// The servers of a resolv.conf(5); warns of each line that is not understood.
fn servers_said(text: &str, path: &Path) -> Vec<SocketAddr> {
    let (servers, odd) = name_servers_of(text, interface_index);
    for line in odd {
        warn!(
            "{} has a line that is not understood, and is ignored: {line:?}",
            path.display()
        );
    }
    servers
}

/// The `nameserver` lines of a resolv.conf(5), at most three as in the C library, and the lines that
/// are not understood, cut at 100 characters.
fn name_servers_of(
    text: &str,
    index_of: impl Fn(&str) -> Option<u32>,
) -> (Vec<SocketAddr>, Vec<String>) {
    let (mut servers, mut odd) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let plain = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = plain.split_whitespace();
        let Some(word) = words.next() else { continue };
        let server = match word {
            "nameserver" => words.next().and_then(|text| server_of(text, &index_of)),
            word if KNOWN_WORDS.contains(&word) => continue,
            _ => None,
        };
        match server {
            Some(server) => servers.push(server),
            None => odd.push(line.trim().chars().take(100).collect()),
        }
    }
    servers.truncate(SERVERS_MAX);
    (servers, odd)
}

/// An address, with its zone where it has one: `fe80::1%eth0` or `fe80::1%2`.
fn server_of(text: &str, index_of: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    let Some((address, zone)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse().ok()?, 53));
    };
    let scope = match zone.parse() {
        Ok(number) => number,
        Err(_) => index_of(zone)?,
    };
    let address = address.parse().ok()?;
    Some(SocketAddrV6::new(address, 53, 0, scope).into())
}

/// The number of a network interface, by its name.
fn interface_index(name: &str) -> Option<u32> {
    if name.is_empty()
        || name.contains(['/', '.']) && !Path::new("/sys/class/net").join(name).exists()
    {
        return None;
    }
    let path = Path::new("/sys/class/net").join(name).join("ifindex");
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The lines of a hosts(5): an address and its names.
fn hosts_of(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let plain = line.split('#').next().unwrap_or_default();
        let mut words = plain.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else {
            continue;
        };
        for name in words {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            hosts.entry(name).or_default().push(address);
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index_of(name: &str) -> Option<u32> {
        (name == "eth0").then_some(7)
    }

    #[test]
    fn the_name_servers_are_read_from_a_resolv_conf() {
        let text = "# comment\n; other\nsearch corp.example\nnameserver 192.0.2.1 # first\n\
                    options ndots:5 trust-ad\nnameserver\t2001:db8::53\nnameserver nonsense\n\
                    nameserver\nnameservers 192.0.2.9\nnameserver fe80::1%eth1\n\
                    nameserver fe80::1%eth0\nnameserver 192.0.2.3\n";
        let (servers, odd) = name_servers_of(text, index_of);
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        assert_eq!(
            servers,
            ["192.0.2.1:53", "[2001:db8::53]:53", "[fe80::1%7]:53"]
        );
        assert_eq!(
            odd,
            [
                "nameserver nonsense",
                "nameserver",
                "nameservers 192.0.2.9",
                "nameserver fe80::1%eth1"
            ]
        );
        assert!(
            name_servers_of("search example.com\n", index_of)
                .0
                .is_empty()
        );
    }

    #[test]
    fn a_zone_is_a_name_or_a_number_of_an_interface() {
        for (text, expected) in [
            ("fe80::1%eth0", Some("[fe80::1%7]:53")),
            ("fe80::1%3", Some("[fe80::1%3]:53")),
            ("fe80::1%", None),
            ("fe80::1%nothing", None),
            ("192.0.2.1%eth0", None),
            ("192.0.2.1", Some("192.0.2.1:53")),
        ] {
            let server = server_of(text, index_of).map(|server| server.to_string());
            assert_eq!(server.as_deref(), expected, "{text}");
        }
        assert_eq!(interface_index("lo"), Some(1));
        assert_eq!(interface_index("../lo/no"), None);
    }

    #[test]
    fn the_hosts_file_gives_every_address_of_a_name() {
        let hosts = hosts_of(
            "127.0.0.1 localhost\n::1 LocalHost # both\nnonsense x\n10.0.0.1 a.example b.example.\n",
        );
        assert_eq!(hosts["localhost"].len(), 2);
        assert_eq!(hosts["b.example"], ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert!(!hosts.contains_key("x"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_seen_within_a_second_and_a_broken_file_keeps_the_servers_before() {
        let folder = std::env::temp_dir().join(format!("vk-resolv-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (conf, hosts) = (folder.join("resolv.conf"), folder.join("hosts"));
        std::fs::write(&conf, "nameserver 192.0.2.1\n").unwrap();
        let system = System::read(&conf, &hosts).unwrap();
        let now = || listed(&system.names().servers);
        let first = system.names().servers[0].clone();
        for (text, expected) in [
            (
                "nameserver 192.0.2.2\nnameserver 192.0.2.1\n",
                "192.0.2.2:53, 192.0.2.1:53",
            ),
            ("", "192.0.2.2:53, 192.0.2.1:53"),
            ("nameserver nonsense\n", "192.0.2.2:53, 192.0.2.1:53"),
            ("nameserver 192.0.2.1\n", "192.0.2.1:53"),
        ] {
            let before = now();
            std::fs::write(&conf, text).unwrap();
            assert_eq!(now(), before, "looked at again before the second was over");
            tokio::time::advance(LOOKED_AT_EVERY).await;
            assert_eq!(now(), expected, "{text:?}");
        }
        assert!(
            Arc::ptr_eq(&first, &system.names().servers[0]),
            "what is known of it is kept"
        );
        std::fs::remove_file(&conf).unwrap();
        std::fs::write(&hosts, "192.0.2.7 printer.example\n").unwrap();
        tokio::time::advance(LOOKED_AT_EVERY).await;
        assert_eq!(now(), "192.0.2.1:53");
        assert!(system.names().hosts.contains_key("printer.example"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn an_unreadable_configuration_is_an_error_that_says_what_to_do() {
        let missing = Path::new("/nonexistent/resolv.conf");
        let error = System::read(missing, missing).unwrap_err();
        assert!(error.0.contains("--dns-server"), "{error}");
    }
}
