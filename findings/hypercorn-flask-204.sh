#!/usr/bin/env bash
# What:     A Flask receiver that answers 204 is a 500 on the wire when Hypercorn serves it as WSGI.
# Versions: Hypercorn 0.18.0, Flask 3.1.3, Werkzeug 3.1.9, Django 5.2.19, gunicorn 27.0.1 (PyPI).
# Date:     2026-12-01
# Guess:    `return "", 204` is the shortest correct answer to a webhook, so any server sends it.
# Seen:     For a 204, Werkzeug returns an empty iterable of chunks, as WSGI allows. Hypercorn's WSGI wrapper sends status and
#           headers only with the first chunk; with none it ends the response before it has begun, raises
#           UnexpectedMessageError and sends 500. The view has run by then, so a sender that retries on 500 delivers the
#           event again and again. A Flask 200 and Django's 204 (which has one empty chunk) pass, and gunicorn passes all.
# Exit:     0 as described, 1 the behaviour has changed, 2 it could not be run (needs python3 with venv).
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
export HOME="$temp" # gunicorn 27 puts a control socket there.
{
    python3 -m venv venv &&
        venv/bin/pip -q install hypercorn==0.18.0 flask==3.1.3 werkzeug==3.1.9 django==5.2.19 gunicorn==27.0.1
} >install.log 2>&1 || { cat install.log; echo "Could not install the packages."; exit 2; }

cat >receiver.py <<'PYTHON'
import django, flask
from django.conf import settings

settings.configure(SECRET_KEY="not-secret", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[])
django.setup()

from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("204", lambda request: HttpResponse(status=204))]
with_django = get_wsgi_application()
with_flask = flask.Flask(__name__)
calls = 0

@with_flask.post("/204")
def no_content():
    global calls
    calls += 1
    return "", 204

@with_flask.post("/calls")
def ok():
    return f"{calls} views run"
PYTHON
cat >send.py <<'PYTHON'
import http.client, sys, time

def post(port, path):
    for _ in range(150):
        try:
            sender = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            sender.request("POST", path, body=b"{}", headers={"Content-Type": "application/json"})
            response = sender.getresponse()
            return f"{response.status} {response.read().decode()}".strip()
        except ConnectionRefusedError:
            time.sleep(0.2)
    sys.exit("A server did not start.")

for name, port, paths in (("Flask, Hypercorn", 18421, ("/204", "/204", "/calls")), ("Django, Hypercorn", 18422, ("/204",)),
                          ("Flask, gunicorn", 18423, ("/204", "/204", "/calls"))):
    for path in paths:
        print(f"{name}: POST {path}: {post(port, path)}")
PYTHON
start() { "$@" >>servers.log 2>&1 & pids="$pids $!"; }
start venv/bin/hypercorn -b 127.0.0.1:18421 wsgi:receiver:with_flask
start venv/bin/hypercorn -b 127.0.0.1:18422 wsgi:receiver:with_django
start venv/bin/gunicorn -b 127.0.0.1:18423 receiver:with_flask
venv/bin/python send.py >seen.txt || { cat seen.txt servers.log; exit 2; }

cat >expected.txt <<'TEXT'
Flask, Hypercorn: POST /204: 500
Flask, Hypercorn: POST /204: 500
Flask, Hypercorn: POST /calls: 200 2 views run
Django, Hypercorn: POST /204: 204
Flask, gunicorn: POST /204: 204
Flask, gunicorn: POST /204: 204
Flask, gunicorn: POST /calls: 200 2 views run
TEXT
cat seen.txt
diff expected.txt seen.txt || { echo "CHANGED: the output differs from that of 2026-12-01."; exit 1; }
grep -o 'UnexpectedMessageError: .*' servers.log | sort -u
echo "As on 2026-12-01."
