"""Starts the receiver of each language and sends it genuine, repeated and forged deliveries.

    python3 check_servers.py [node] [python] [go] [rust]

Without names it checks all four; it needs node, python3, go and cargo then.
"""

import hashlib
import hmac
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
NEXT_SECRET = "whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
BODY = '{"type":"document.viewed","data":{"name":"Überblick 🎉"}}'.encode()
START_SECONDS = 600  # the first build of the Rust receiver takes its time

COMMANDS = {
    "node": (["node", "receiver.mjs"], HERE / "node"),
    "python": ([sys.executable, "receiver.py"], HERE / "python"),
    "go": (["go", "run", "."], HERE / "go"),
    "rust": (["cargo", "run", "--quiet", "-p", "vk-signature", "--example", "receiver"], HERE),
}


def signature(secret, sent_at, body):
    signed = f"{sent_at}.".encode() + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def headers(delivery, sent_at, secret=SECRET):
    return {
        "Content-Type": "application/json",
        "User-Agent": "VantageKit-Webhooks/1.0",
        "X-VantageKit-Event": "document.viewed",
        "X-VantageKit-Delivery": delivery,
        "X-VantageKit-Timestamp": str(sent_at),
        "X-VantageKit-Signature": signature(secret, sent_at, BODY),
    }


def send(port, body, headers, method="POST"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, "/", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def requests(now):
    """Each request with what its answer must be; two deliveries of them are genuine."""
    first, second, forged = (f"00000000-0000-7000-8000-00000000000{n}" for n in (1, 2, 3))
    rotated = headers(second, now, NEXT_SECRET)
    rotated["X-VantageKit-Signature-Next"] = signature(SECRET, now, BODY)
    unsigned = headers(forged, now)
    del unsigned["X-VantageKit-Signature"]
    yield "a genuine delivery", BODY, headers(first, now), range(200, 300)
    yield "the same again, signed anew", BODY, headers(first, now - 1), range(200, 300)
    yield "one signed with the next secret", BODY, rotated, range(200, 300)
    yield "a changed body", BODY.replace(b"viewed", b"edited"), headers(forged, now), [401]
    yield "another secret", BODY, headers(forged, now, NEXT_SECRET), [401]
    yield "a stale one", BODY, headers(forged, now - 400), [401]
    yield "one from the future", BODY, headers(forged, now + 400), [401]
    yield "an unsigned one", BODY, unsigned, [401]


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def check(language):
    """The failures of one language's receiver, as sentences, and how many checks there were."""
    command, folder = COMMANDS[language]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PORT": str(port), "WEBHOOK_SECRET": SECRET}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, start_new_session=True
        )
        try:
            running = lambda: accepts(port) or process.poll() is not None
            if not wait_until(running, START_SECONDS) or process.poll() is not None:
                return ["it did not start"], 1
            return exchange(port, output)
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # the group, for `go run` and `cargo run`
            process.wait(timeout=10)


def exchange(port, output):
    failures, checks = [], 0
    for name, body, fields, expected in requests(int(time.time())):
        checks += 1
        status = send(port, body, fields)
        if status not in expected:
            failures.append(f"{name}: answered {status}")
    checks += 1
    if send(port, None, {}, method="GET") < 400:
        failures.append("a GET was answered as if it were a delivery")

    def handled():
        output.seek(0)
        return output.read().count(b"received document.viewed")

    checks += 1
    wait_until(lambda: handled() >= 2, 5)
    if handled() != 2:
        failures.append(f"handled {handled()} deliveries; two were genuine and new")
    return failures, checks


def main():
    passed = failed = 0
    for language in sys.argv[1:] or COMMANDS:
        failures, checks = check(language)
        for failure in failures:
            print(f"FAILED: {language}: {failure}", file=sys.stderr)
        passed, failed = passed + checks - len(failures), failed + len(failures)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
