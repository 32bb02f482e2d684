#!/usr/bin/env bash
# What:     A receiver behind nginx says "102 Processing" so that the sender keeps waiting. nginx then holds back both the 102
#           and the final response until the receiver closes its idle connection.
# Versions: nginx 1.22.1 (Debian 12's nginx 1.22.1-9+deb12u11), HAProxy 2.6.12 (haproxy 2.6.12-1+deb12u4), Node 20.20.2's http
#           server (response.writeProcessing and writeEarlyHints).
# Date:     2026-12-01
# Guess:    A proxy passes an interim response on, or drops it (RFC 9110, 15.2); the final response follows as soon as the
#           receiver sends it, here after 0.1 s.
# Seen:     nginx takes the 102 or 103 for the final response. It has no Content-Length, so all that follows, the real 200
#           included, is its body and ends only with the connection: Node closes an idle one after 6 s, although its
#           header says timeout=5. Only then does the first byte reach the sender, more than 5 s late. With Node's keepAliveTimeout
#           at 9 s it was 10.1 s, so a sender with a short timeout counts a failure for work that took 0.1 s. HAProxy passes
#           each response on at once.
# Exit:     0 as described, 1 the behaviour has changed, 2 it could not be run (needs Debian 12, the libraries of its nginx and
#           haproxy, node and python3).
set -eu
temp=$(mktemp -d)
pids=
finish() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    for pid in $pids; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$temp"
}
trap finish EXIT
trap 'exit 2' INT TERM

cd "$temp"
{
    apt-get -qq -o APT::Sandbox::User=root download nginx=1.22.1-9+deb12u11 haproxy=2.6.12-1+deb12u4 &&
        for package in *.deb; do dpkg -x "$package" root; done
} >install.log 2>&1 || { cat install.log; echo "Could not get the packages."; exit 2; }

cat >receiver.js <<'JAVASCRIPT'
require("http").createServer((request, response) => {
  request.resume();
  request.on("end", () => {
    if (request.url === "/102") response.writeProcessing();
    if (request.url === "/103") response.writeEarlyHints({ link: "</status>; rel=preload" });
    setTimeout(() => { response.writeHead(200, { "content-length": 2 }); response.end("ok"); }, 100);
  });
}).listen(18431, "127.0.0.1");
JAVASCRIPT
cat >nginx.conf <<CONF
daemon off; worker_processes 1; pid $temp/nginx.pid; error_log $temp/nginx.log;
events {}
http {
    access_log off;
    client_body_temp_path $temp/body; proxy_temp_path $temp/proxy; fastcgi_temp_path $temp/fastcgi;
    uwsgi_temp_path $temp/uwsgi; scgi_temp_path $temp/scgi;
    upstream receiver { server 127.0.0.1:18431; keepalive 8; }
    server {
        listen 127.0.0.1:18432;
        location / { proxy_pass http://receiver; proxy_http_version 1.1; proxy_set_header Connection ""; }
    }
}
CONF
cat >haproxy.cfg <<'CONF'
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen proxy
    bind 127.0.0.1:18433
    server receiver 127.0.0.1:18431
CONF
cat >send.py <<'PYTHON'
import re, socket, sys, time

def send(port, path):
    with socket.create_connection(("127.0.0.1", port), 5) as sender:
        sender.settimeout(20)
        start, first, seen = time.monotonic(), None, b""
        sender.sendall(b"POST %s HTTP/1.1\r\nHost: receiver.test\r\nContent-Length: 2\r\n\r\n{}" % path.encode())
        while not seen.endswith(b"\r\n\r\nok"):
            part = sender.recv(65536)
            if not part:
                break
            first = first or time.monotonic() - start
            seen += part
        codes = ", ".join(code.decode() for code in re.findall(rb"HTTP/1\.1 (\d{3})", seen))
        print(f"    first byte after {first:.2f} s", file=sys.stderr)
        return f"{codes}; first byte after {'more than 5 s' if first > 5 else 'less than 2 s' if first < 2 else f'{first:.1f} s'}"

for name, port in (("direct", 18431), ("nginx", 18432), ("HAProxy", 18433)):
    for path in ("/200", "/102", "/103"):
        print(f"{name} {path}: {send(port, path)}")
PYTHON
start() { "$@" >>servers.log 2>&1 & pids="$pids $!"; }
start node receiver.js
start root/usr/sbin/nginx -c "$temp/nginx.conf"
start root/usr/sbin/haproxy -q -f haproxy.cfg
for port in 18431 18432 18433; do
    for _ in $(seq 100); do (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.1; done
done
node --version
python3 send.py >seen.txt || { cat seen.txt servers.log; exit 2; }

cat >expected.txt <<'TEXT'
direct /200: 200; first byte after less than 2 s
direct /102: 102, 200; first byte after less than 2 s
direct /103: 103, 200; first byte after less than 2 s
nginx /200: 200; first byte after less than 2 s
nginx /102: 102, 200; first byte after more than 5 s
nginx /103: 103, 200; first byte after more than 5 s
HAProxy /200: 200; first byte after less than 2 s
HAProxy /102: 102, 200; first byte after less than 2 s
HAProxy /103: 103, 200; first byte after less than 2 s
TEXT
cat seen.txt
diff expected.txt seen.txt || { echo "CHANGED: the output differs from that of 2026-12-01."; exit 1; }
echo "As on 2026-12-01."
