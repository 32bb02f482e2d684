#!/usr/bin/env bash
# What:     Django under WSGI sees an empty body when a webhook arrives with Transfer-Encoding: chunked. Whether that happens
#           depends on the server below it.
# Versions: Django 5.2.19, Flask 3.1.3, gunicorn 27.0.1, granian 2.8.9, waitress 3.0.2, uvicorn 0.54.0 (PyPI).
# Date:     2026-12-01
# Guess:    The server removes the chunked framing, so a framework sees the same bytes as with Content-Length; where it
#           cannot, it answers 411 or 400.
# Seen:     gunicorn and granian decode the chunks and hand over a stream without CONTENT_LENGTH. Django takes the missing length as
#           0, so request.body is b"" and the view runs with status 200. A signature check then fails for a body that
#           arrived whole; a view that checks none accepts an empty event. Flask on the same gunicorn reads all bytes,
#           and so does the same Django project under waitress (it counts the body first) and under ASGI.
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
    python3 -m venv venv && venv/bin/pip -q install django==5.2.19 flask==3.1.3 gunicorn==27.0.1 granian==2.8.9 waitress==3.0.2 uvicorn==0.54.0
} >install.log 2>&1 || { cat install.log; echo "Could not install the packages."; exit 2; }

cat >receiver.py <<'PYTHON'
import django
from django.conf import settings

settings.configure(SECRET_KEY="not-secret", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[])
django.setup()

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
import flask

urlpatterns = [path("hook", lambda request: HttpResponse(f"{len(request.body)} bytes"))]
wsgi = get_wsgi_application()
asgi = get_asgi_application()

with_flask = flask.Flask(__name__)

@with_flask.post("/hook")
def hook():
    return f"{len(flask.request.get_data())} bytes"
PYTHON
cat >send.py <<'PYTHON'
import http.client, sys, time

body = b'{"type":"order.paid"}'
for name, port in (pair.split("=") for pair in sys.argv[1:]):
    def post(**how):
        sender = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
        sender.request("POST", "/hook", headers={"Content-Type": "application/json"}, **how)
        response = sender.getresponse()
        return f"{response.status} {response.read().decode()}"

    for attempt in range(150):
        try:
            whole = post(body=body)
            break
        except ConnectionRefusedError:
            time.sleep(0.2)
    else:
        sys.exit(f"{name} did not start.")
    print(f"{name}: with Content-Length {whole}; chunked {post(body=iter([body[:9], body[9:]]), encode_chunked=True)}")
PYTHON
start() { "$@" >>servers.log 2>&1 & pids="$pids $!"; }
start venv/bin/gunicorn -b 127.0.0.1:18411 receiver:wsgi
start venv/bin/granian --interface wsgi --host 127.0.0.1 --port 18412 receiver:wsgi
start venv/bin/waitress-serve --listen=127.0.0.1:18413 receiver:wsgi
start venv/bin/uvicorn --port 18414 receiver:asgi
start venv/bin/gunicorn -b 127.0.0.1:18415 receiver:with_flask
venv/bin/python send.py "Django, gunicorn=18411" "Django, granian=18412" "Django, waitress=18413" "Django, uvicorn=18414" \
    "Flask, gunicorn=18415" >seen.txt || { cat seen.txt servers.log; exit 2; }

cat >expected.txt <<'TEXT'
Django, gunicorn: with Content-Length 200 21 bytes; chunked 200 0 bytes
Django, granian: with Content-Length 200 21 bytes; chunked 200 0 bytes
Django, waitress: with Content-Length 200 21 bytes; chunked 200 21 bytes
Django, uvicorn: with Content-Length 200 21 bytes; chunked 200 21 bytes
Flask, gunicorn: with Content-Length 200 21 bytes; chunked 200 21 bytes
TEXT
cat seen.txt
diff expected.txt seen.txt || { echo "CHANGED: the output differs from that of 2026-12-01."; exit 1; }
echo "As on 2026-12-01."
