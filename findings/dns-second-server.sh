#!/usr/bin/env bash
# What:     A second name server does not help when the first answers SERVFAIL or REFUSED: hickory-resolver and Node's
#           dns.Resolver end the look-up with that error, although the second server has the address.
# Versions: hickory-resolver 0.26.3 (a Rust crate), Node 20.20.2 (c-ares inside), dnspython 2.9.2 (PyPI) for comparison.
# Date:     2026-12-01
# Guess:    SERVFAIL and REFUSED say "I cannot answer", so the next server is asked, as for one that is silent. The
#           documentation of hickory's NameServerConfig promises that codes other than NXDOMAIN are retried elsewhere.
# Seen:     When hickory asks both servers at once (the default), an immediate SERVFAIL wins over the good response 20 ms
#           later. When it asks them in turn, it ends at the first one's error too. trust_negative_responses = false and
#           more `attempts` change nothing. Node's look-up ends in the same way. Both go on to the second server when
#           nobody listens at the first. dnspython asks the second server in every case.
# Exit:     0 as described, 1 the behaviour has changed, 2 it could not be run (needs cargo 1.88 or newer, node, python3 with venv;
#           the build takes a minute of processor time; CARGO_TARGET_DIR keeps it for the next run).
set -eu
temp=$(mktemp -d)
server=
finish() {
    if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; fi
    rm -rf "$temp"
}
trap finish EXIT
trap 'exit 2' INT TERM

cd "$temp"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "look-up"
version = "0.0.0"
edition = "2021"
[dependencies]
hickory-resolver = { version = "=0.26.3", default-features = false, features = ["tokio"] }
tokio = { version = "1", features = ["rt", "macros"] }
TOML
cat >src/main.rs <<'RUST'
use hickory_resolver::{config::*, net::runtime::TokioRuntimeProvider, Resolver};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    for (name, first, ways) in [("SERVFAIL", "127.0.0.1", 2), ("REFUSED", "127.0.0.2", 2), ("nobody", "127.0.0.4", 1)] {
        for (how, at_once) in [("both at once", 2), ("in turn", 1)].into_iter().take(ways) {
            let servers = [first, "127.0.0.3"].map(|ip| {
                let mut server = NameServerConfig::udp(ip.parse().unwrap());
                (server.connections[0].port, server.trust_negative_responses) = (18441, false);
                server
            });
            let config = ResolverConfig::from_parts(None, vec![], servers.to_vec());
            let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
            builder.options_mut().num_concurrent_reqs = at_once;
            builder.options_mut().server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
            builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4Only;
            builder.options_mut().attempts = 3;
            let found = match builder.build().unwrap().lookup_ip("hooks.example.").await {
                Ok(ips) => ips.iter().map(|ip| ip.to_string()).collect::<Vec<_>>().join(" "),
                Err(error) => error.to_string(),
            };
            println!("hickory, {how}: {name}, then good: {found}");
        }
    }
}
RUST
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$temp/target}"
{
    python3 -m venv venv && venv/bin/pip -q install dnspython==2.9.2 && nice cargo build -q -j1
} >install.log 2>&1 || { cat install.log; echo "Could not install or build the packages."; exit 2; }

cat >servers.py <<'PYTHON' # SERVFAIL on 127.0.0.1, REFUSED on 127.0.0.2, the address 192.0.2.1 after 20 ms on 127.0.0.3; nobody on 127.0.0.4.
import socket, threading, time
import dns.message, dns.rcode, dns.rrset

def serve(ip, code, wait):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((ip, 18441))
    while True:
        query, sender = server.recvfrom(4096)
        response = dns.message.make_response(dns.message.from_wire(query), recursion_available=True)
        response.set_rcode(code)
        if code == dns.rcode.NOERROR:
            response.answer.append(dns.rrset.from_text(response.question[0].name, 60, "IN", "A", "192.0.2.1"))
        time.sleep(wait)
        server.sendto(response.to_wire(), sender)

for ip, code, wait in (("127.0.0.1", dns.rcode.SERVFAIL, 0), ("127.0.0.2", dns.rcode.REFUSED, 0), ("127.0.0.3", dns.rcode.NOERROR, 0.02)):
    threading.Thread(target=serve, args=(ip, code, wait)).start()
PYTHON
cat >look-up.js <<'JAVASCRIPT'
(async () => {
  for (const [name, first] of [["SERVFAIL", "127.0.0.1"], ["REFUSED", "127.0.0.2"], ["nobody", "127.0.0.4"]]) {
    const resolver = new (require("dns").promises.Resolver)();
    resolver.setServers([`${first}:18441`, "127.0.0.3:18441"]);
    const found = await resolver.resolve4("hooks.example").then((ips) => ips.join(" "), (error) => error.code);
    console.log(`Node: ${name}, then good: ${found}`);
  }
})();
JAVASCRIPT
cat >look-up.py <<'PYTHON'
import dns.resolver
for name, first in (("SERVFAIL", "127.0.0.1"), ("REFUSED", "127.0.0.2"), ("nobody", "127.0.0.4")):
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [first, "127.0.0.3"], 18441
    print(f"dnspython: {name}, then good: {resolver.resolve('hooks.example.', 'A')[0]}")
PYTHON
venv/bin/python servers.py >servers.log 2>&1 &
server=$!
sleep 2
node --version
{ "$CARGO_TARGET_DIR/debug/look-up" && node look-up.js && venv/bin/python look-up.py; } >seen.txt 2>&1 || { cat seen.txt servers.log; exit 2; }

cat >expected.txt <<'TEXT'
hickory, both at once: SERVFAIL, then good: DNS error: error response: Server Failure
hickory, in turn: SERVFAIL, then good: DNS error: error response: Server Failure
hickory, both at once: REFUSED, then good: DNS error: error response: Query Refused
hickory, in turn: REFUSED, then good: DNS error: error response: Query Refused
hickory, both at once: nobody, then good: 192.0.2.1
Node: SERVFAIL, then good: ESERVFAIL
Node: REFUSED, then good: EREFUSED
Node: nobody, then good: 192.0.2.1
dnspython: SERVFAIL, then good: 192.0.2.1
dnspython: REFUSED, then good: 192.0.2.1
dnspython: nobody, then good: 192.0.2.1
TEXT
cat seen.txt
diff expected.txt seen.txt || { echo "CHANGED: the output differs from that of 2026-12-01."; exit 1; }
echo "As on 2026-12-01."
