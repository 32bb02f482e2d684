#!/usr/bin/env bash
# What:     The Standard Webhooks library for Python signs a wrong second when the time it is given has a zone other than UTC,
#           and its own verify() then refuses the message.
# Versions: standardwebhooks 1.1.0 (PyPI); compared with standardwebhooks 1.1.1 (npm, Node 20).
# Date:     2026-12-01
# Guess:    A datetime with a zone is one moment whatever the zone, so sign() covers int(timestamp.timestamp()), the value
#           that goes into the webhook-timestamp header. For a datetime without a zone Python itself means local time.
# Seen:     sign() replaces the zone by UTC instead of converting to it: 12:00+02:00 is signed as 12:00Z, two hours off. A datetime
#           without a zone is signed as UTC, so datetime.now() works only on a machine whose zone is UTC. verify() says
#           "No matching signature found", which points to the secret. The npm library signs the right second.
# Exit:     0 as described, 1 the behaviour has changed, 2 it could not be run (needs python3 with venv, node and npm).
set -eu
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
trap 'exit 2' INT TERM

cd "$temp"
{
    python3 -m venv venv && venv/bin/pip -q install standardwebhooks==1.1.0 &&
        npm init -y && npm install --no-audit --no-fund standardwebhooks@1.1.1
} >install.log 2>&1 || { cat install.log; echo "Could not install the packages."; exit 2; }

cat >sign.py <<'PYTHON'
import base64, hashlib, hmac
from datetime import datetime, timedelta, timezone
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

key = bytes(range(32))
hook = Webhook("whsec_" + base64.b64encode(key).decode())
now = datetime.now(timezone.utc).replace(microsecond=0)
body = '{"type":"order.paid"}'

def signature(second):
    mac = hmac.new(key, f"msg_1.{second}.{body}".encode(), hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()

def off_by(seen, moment):
    for hours in range(-24, 25):
        if signature(int(moment.timestamp()) + hours * 3600) == seen:
            return f"{hours:+d} h" if hours else "right"

for name, moment in (("UTC", now), ("+02:00", now.astimezone(timezone(timedelta(hours=2)))),
                     ("-05:00", now.astimezone(timezone(timedelta(hours=-5)))), ("no zone", now.astimezone().replace(tzinfo=None))):
    signed = hook.sign("msg_1", moment, body)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(moment.timestamp())), "webhook-signature": signed}
    try:
        hook.verify(body, headers)
        said = "verified"
    except WebhookVerificationError as error:
        said = str(error)
    print(f"Python, {name}: signed second {off_by(signed, moment)}; {said}")
PYTHON
cat >sign.js <<'JAVASCRIPT'
const { Webhook } = require("standardwebhooks");
const hook = new Webhook("whsec_" + Buffer.from([...Array(32).keys()]).toString("base64"));
const now = new Date(Math.floor(Date.now() / 1000) * 1000), body = '{"type":"order.paid"}';
hook.verify(body, { "webhook-id": "msg_1", "webhook-timestamp": String(now / 1000), "webhook-signature": hook.sign("msg_1", now, body) });
console.log("npm: verified");
JAVASCRIPT
# The machine's zone is set for the case without a zone.
{ TZ=UTC-2 venv/bin/python sign.py && TZ=UTC-2 node sign.js; } >seen.txt 2>&1 || { cat seen.txt; echo "CHANGED: an error is raised."; exit 1; }

cat >expected.txt <<'TEXT'
Python, UTC: signed second right; verified
Python, +02:00: signed second +2 h; No matching signature found
Python, -05:00: signed second -5 h; No matching signature found
Python, no zone: signed second +2 h; No matching signature found
npm: verified
TEXT
cat seen.txt
diff expected.txt seen.txt || { echo "CHANGED: the output differs from that of 2026-12-01."; exit 1; }
echo "As on 2026-12-01."
