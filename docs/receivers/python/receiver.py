"""A webhook receiver on Python 3.9 or later, with nothing to install.

    WEBHOOK_SECRET=whsec_… PORT=3000 python3 receiver.py
"""

import hashlib
import hmac
import json
import os
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_BODY_BYTES = 1024 * 1024
MAX_REMEMBERED = 100_000


def verify(headers, body, secret, now, tolerance=300, prefix="X-VantageKit"):
    """Whether a request is genuine and recent.

    `headers` is a mapping that ignores case, such as the request's; `body` is the raw body, in
    bytes; `secret` is the whole secret, `whsec_` included; `now` is in Unix seconds.
    """
    timestamp = headers.get(f"{prefix}-Timestamp") or ""
    if not re.fullmatch(r"[0-9]{1,15}", timestamp):
        return False
    if abs(now - int(timestamp)) > tolerance:
        return False

    signed = timestamp.encode() + b"." + body
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    # While the secret is being rotated, `-Next` holds the new secret's signature.
    for name in (f"{prefix}-Signature", f"{prefix}-Signature-Next"):
        found = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", headers.get(name) or "")
        if found and hmac.compare_digest(bytes.fromhex(found[1]), expected):
            return True
    return False


class Seen:
    """The deliveries that were handled: each may arrive twice, under the same id.

    In production this is a unique column of your database, written in the same transaction as
    the work, so that it outlives a restart.
    """

    def __init__(self):
        self._ids = {}
        self._lock = threading.Lock()

    def is_new(self, delivery_id):
        with self._lock:
            if delivery_id in self._ids:
                return False
            self._ids[delivery_id] = True
            if len(self._ids) > MAX_REMEMBERED:
                del self._ids[next(iter(self._ids))]
            return True


def handle(event):
    """Your work. Slow work belongs into a durable queue, written before the answer."""
    print(f"received {event['type']}", flush=True)


class Receiver(BaseHTTPRequestHandler):
    secret = ""
    seen = Seen()
    timeout = 10  # seconds that a silent peer may hold a thread
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = self.headers.get("Content-Length") or ""
        if not re.fullmatch(r"[0-9]{1,15}", length):
            return self.answer(411)
        if int(length) > MAX_BODY_BYTES:
            return self.answer(413)
        body = self.rfile.read(int(length))
        if not verify(self.headers, body, self.secret, int(time.time())):
            return self.answer(401)

        event = json.loads(body)  # only now: what is parsed has been verified
        is_new = self.seen.is_new(self.headers.get("X-VantageKit-Delivery"))
        self.answer(204)
        if is_new:
            handle(event)

    def answer(self, status):
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", "0")
        if status in (411, 413):
            self.send_header("Connection", "close")  # its body was not read
        self.end_headers()

    def log_message(self, *_):
        """Requests are not logged; what is handled is."""


def main():
    secret = os.environ.get("WEBHOOK_SECRET")
    if not secret:
        sys.exit("WEBHOOK_SECRET is not set: set it to the endpoint's secret, whsec_ included.")
    Receiver.secret = secret
    port = int(os.environ.get("PORT", "3000"))
    server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    print(f"listening on port {port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
