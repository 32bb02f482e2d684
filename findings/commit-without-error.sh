#!/usr/bin/env bash
# What:     PostgreSQL drivers end a transaction block without an error although nothing was stored.
# Versions: psycopg 3.3.9 and asyncpg 0.32.0 (PyPI), pg 8.23.1 (npm, Node 20), PostgreSQL 15.20 (Debian 12's postgresql-15
#           15.20-0+deb12u1).
# Date:     2026-12-01
# Guess:    The server answers the COMMIT of a failed transaction with ROLLBACK, so commit() or the end of the `with` block
#           raises an error. A caller that sees none may tell its client "accepted".
# Seen:     A statement inside the block fails and the program handles that error inside the block (an optional step, say).
#           psycopg's commit(), `with connection`, `with connection.transaction()` and asyncpg's `async with transaction()`
#           all end normally with 0 rows stored. Only pg shows the difference, in the `command` field of COMMIT's result.
#           psycopg's transaction_status, read before commit(), says INERROR.
# Exit:     0 as described, 1 the behaviour has changed, 2 it could not be run (needs Debian 12, the libraries of its
#           postgresql-15, python3 with venv, node and npm).
set -eu
temp=$(mktemp -d)
server=
as_user=
finish() {
    if [ -n "$server" ]; then kill -INT "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
    rm -rf "$temp"
}
trap finish EXIT
trap 'exit 2' INT TERM

cd "$temp"
{
    apt-get -qq -o APT::Sandbox::User=root download postgresql-15=15.20-0+deb12u1 && dpkg -x postgresql-15_*.deb server &&
        python3 -m venv venv && venv/bin/pip -q install 'psycopg[binary]==3.3.9' asyncpg==0.32.0 &&
        npm init -y && npm install --no-audit --no-fund pg@8.23.1
} >install.log 2>&1 || { cat install.log; echo "Could not install the packages."; exit 2; }

bin=$temp/server/usr/lib/postgresql/15/bin
if [ "$(id -u)" = 0 ]; then # PostgreSQL refuses to run as root.
    mkdir run && chmod 755 . && chown nobody run
    as_user="setpriv --reuid=nobody --regid=nogroup --clear-groups"
else
    mkdir run
fi
$as_user "$bin/initdb" -D run/data -A trust -U tester >install.log 2>&1 || { cat install.log; exit 2; }
$as_user "$bin/postgres" -D "$temp/run/data" -p 18402 -k "$temp/run" -c listen_addresses=127.0.0.1 >server.log 2>&1 &
server=$!

cat >drivers.py <<'PYTHON'
import asyncio, asyncpg, psycopg

at = dict(host="127.0.0.1", port=18402, user="tester")
db = psycopg.connect(**at, dbname="postgres")
db.execute("CREATE TABLE event (id int)")
db.commit()

def work(db):
    db.execute("INSERT INTO event VALUES (1)")
    try:
        db.execute("SELECT 1 / 0")
    except psycopg.errors.DivisionByZero:
        pass

def report(name, ended="no error"):
    with psycopg.connect(**at, dbname="postgres") as other:
        print(f"{name}: {ended}, {other.execute('SELECT count(*) FROM event').fetchone()[0]} rows")

work(db)
status = db.info.transaction_status.name
db.commit()
report(f"psycopg commit() in status {status}")
with psycopg.connect(**at, dbname="postgres") as block:
    work(block)
report("psycopg `with connection`")
with db.transaction():
    work(db)
report("psycopg `with transaction()`")

async def with_asyncpg():
    db = await asyncpg.connect(**at, database="postgres")
    async with db.transaction():
        await db.execute("INSERT INTO event VALUES (1)")
        try:
            await db.execute("SELECT 1 / 0")
        except asyncpg.DivisionByZeroError:
            pass
    await db.close()

asyncio.run(with_asyncpg())
report("asyncpg `async with transaction()`")
PYTHON
cat >driver.js <<'JAVASCRIPT'
const { Client } = require("pg");
(async () => {
  const db = new Client({ host: "127.0.0.1", port: 18402, user: "tester", database: "postgres" });
  await db.connect();
  await db.query("BEGIN");
  await db.query("INSERT INTO event VALUES (1)");
  await db.query("SELECT 1 / 0").catch(() => {});
  const { command } = await db.query("COMMIT");
  const { rows } = await db.query("SELECT count(*)::int AS n FROM event");
  console.log(`pg query("COMMIT"): no error, command ${command}, ${rows[0].n} rows`);
  await db.end();
})();
JAVASCRIPT
for _ in $(seq 100); do grep -q 'ready to accept' server.log && break; sleep 0.1; done
grep -q 'ready to accept' server.log || { cat server.log; exit 2; }
{ venv/bin/python drivers.py && node driver.js; } >seen.txt 2>errors.txt || { cat seen.txt errors.txt; echo "CHANGED: an error is raised."; exit 1; }

cat >expected.txt <<'TEXT'
psycopg commit() in status INERROR: no error, 0 rows
psycopg `with connection`: no error, 0 rows
psycopg `with transaction()`: no error, 0 rows
asyncpg `async with transaction()`: no error, 0 rows
pg query("COMMIT"): no error, command ROLLBACK, 0 rows
TEXT
cat seen.txt
diff expected.txt seen.txt || { echo "CHANGED: the output differs from that of 2026-12-01."; exit 1; }
echo "As on 2026-12-01."
