#!/usr/bin/env bash
# What:     A receiver that demands a client certificate refuses a sender without one in four different ways.
# Versions: GnuTLS 3.7.9 (Debian 12's gnutls-bin 3.7.9-2+deb12u7), Caddy 2.6.2 (Go's crypto/tls; caddy 2.6.2-5), nginx 1.22.1
#           (nginx 1.22.1-9+deb12u11), Node 20.20.2 (OpenSSL 3); the client is Python's ssl module.
# Date:     2026-12-01
# Guess:    The alert tells the sender what is missing: handshake_failure in TLS 1.2 (RFC 5246, 7.4.6) and certificate_required in
#           TLS 1.3 (RFC 8446, 4.4.2.4). So a sender can advise "this receiver wants a client certificate".
# Seen:     Only OpenSSL (Node) does so. Go sends bad_certificate in both versions, although no certificate was sent. GnuTLS
#           answers the valid empty certificate list with decode_error in TLS 1.2, as if the client had sent broken
#           bytes; in TLS 1.3 it is right. nginx finishes the handshake and answers HTTP 400. In TLS 1.3 every refusal
#           comes after the client's handshake has succeeded, when it reads the response; a sender that writes its
#           request first may see a reset connection and no alert at all.
# Exit:     0 as described, 1 the behaviour has changed, 2 it could not be run (needs Debian 12 with these packages' libraries,
#           node, openssl and python3).
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
export HOME="$temp" XDG_CONFIG_HOME="$temp" XDG_DATA_HOME="$temp"
{
    apt-get -qq -o APT::Sandbox::User=root download gnutls-bin=3.7.9-2+deb12u7 caddy=2.6.2-5 nginx=1.22.1-9+deb12u11 &&
        for package in *.deb; do dpkg -x "$package" root; done &&
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 30 \
            -subj /CN=receiver.test -addext subjectAltName=DNS:receiver.test
} >install.log 2>&1 || { cat install.log; echo "Could not get the packages."; exit 2; }

cat >receiver.js <<'JAVASCRIPT'
const cert = require("fs").readFileSync("cert.pem"), key = require("fs").readFileSync("key.pem");
require("https").createServer({ key, cert, ca: cert, requestCert: true, rejectUnauthorized: true }, (_, response) => response.end("ok"))
  .listen(18451, "127.0.0.1");
JAVASCRIPT
cat >Caddyfile <<CONF
{
    admin off
    auto_https off
}
https://receiver.test:18452 {
    bind 127.0.0.1
    tls $temp/cert.pem $temp/key.pem {
        client_auth {
            mode require_and_verify
            trusted_ca_cert_file $temp/cert.pem
        }
    }
    respond "ok"
}
CONF
cat >nginx.conf <<CONF
daemon off; worker_processes 1; pid $temp/nginx.pid; error_log $temp/nginx.log;
events {}
http {
    access_log off;
    client_body_temp_path $temp/body; proxy_temp_path $temp/proxy; fastcgi_temp_path $temp/fastcgi;
    uwsgi_temp_path $temp/uwsgi; scgi_temp_path $temp/scgi;
    server {
        listen 127.0.0.1:18454 ssl; ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate $temp/cert.pem; ssl_certificate_key $temp/key.pem;
        ssl_client_certificate $temp/cert.pem; ssl_verify_client on;
        return 200 "ok";
    }
}
CONF
cat >send.py <<'PYTHON'
import socket, ssl

for name, port in (("Node", 18451), ("Caddy", 18452), ("GnuTLS", 18453), ("nginx", 18454)):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        client = ssl.create_default_context(cafile="cert.pem")
        client.minimum_version = client.maximum_version = version
        step = "handshake"
        try:
            plain = socket.create_connection(("127.0.0.1", port), 20)
            with client.wrap_socket(plain, server_hostname="receiver.test") as sender:
                step = "response"
                sender.settimeout(3)
                try: # Reads first: a write to a closed connection could discard the alert.
                    seen = sender.recv(4096)
                except TimeoutError:
                    sender.sendall(b"POST / HTTP/1.1\r\nHost: receiver.test\r\nContent-Length: 2\r\n\r\n{}")
                    seen = sender.recv(4096)
                seen = seen.split(b"\r\n")[0].decode() or "closed"
        except ssl.SSLError as error:
            seen = error.reason or str(error)
        except OSError as error:
            seen = type(error).__name__
        print(f"{name}, {version.name}: {step}: {seen}")
PYTHON
start() { "$@" >>servers.log 2>&1 & pids="$pids $!"; }
start node receiver.js
start root/usr/bin/caddy run --config Caddyfile
start root/usr/bin/gnutls-serv --port 18453 --x509certfile cert.pem --x509keyfile key.pem --x509cafile cert.pem --require-client-cert --http
start root/usr/sbin/nginx -c "$temp/nginx.conf"
for port in 18451 18452 18453 18454; do
    for _ in $(seq 200); do (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.1; done
done
python3 send.py >seen.txt || { cat seen.txt servers.log; exit 2; }

cat >expected.txt <<'TEXT'
Node, TLSv1_2: handshake: SSLV3_ALERT_HANDSHAKE_FAILURE
Node, TLSv1_3: response: TLSV13_ALERT_CERTIFICATE_REQUIRED
Caddy, TLSv1_2: handshake: SSLV3_ALERT_BAD_CERTIFICATE
Caddy, TLSv1_3: response: SSLV3_ALERT_BAD_CERTIFICATE
GnuTLS, TLSv1_2: handshake: TLSV1_ALERT_DECODE_ERROR
GnuTLS, TLSv1_3: response: TLSV13_ALERT_CERTIFICATE_REQUIRED
nginx, TLSv1_2: response: HTTP/1.1 400 Bad Request
nginx, TLSv1_3: response: HTTP/1.1 400 Bad Request
TEXT
cat seen.txt
diff expected.txt seen.txt || { echo "CHANGED: the output differs from that of 2026-12-01."; exit 1; }
echo "As on 2026-12-01."
