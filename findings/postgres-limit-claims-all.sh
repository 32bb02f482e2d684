#!/usr/bin/env bash
# What:     A PostgreSQL queue that claims work with `UPDATE … WHERE id IN (SELECT … LIMIT 1 FOR UPDATE SKIP LOCKED)`
#           can claim every row of the queue with one statement.
# Versions: PostgreSQL 15.20 (Debian 12's postgresql-15 15.20-0+deb12u1), psycopg 3.3.9 from PyPI. Default settings;
#           autovacuum is off only so that a background ANALYZE cannot change the plan during the run.
# Date:     2026-12-01
# Guess:    LIMIT 1 is a promise: the statement returns one row whatever the plan is.
# Seen:     The table was analyzed while it held one row, as a nearly empty queue is, and then filled with nine more. The planner now
#           expects one row on both sides and joins by a nested loop. The loop runs the subquery again for each row of the
#           outer side. Each run skips the row that this command has already updated and locks the next one, so all ten rows
#           are claimed. DELETE … USING and UPDATE … FROM do the same. The subquery in a WITH clause, or in
#           `= ANY (ARRAY(…))`, runs once and claims one row.
# Exit:     0 as described, 1 the behaviour has changed, 2 it could not be run (needs Debian 12, the libraries of its
#           postgresql-15, and python3 with venv).
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
        python3 -m venv venv && venv/bin/pip -q install 'psycopg[binary]==3.3.9'
} >install.log 2>&1 || { cat install.log; echo "Could not install the packages."; exit 2; }

bin=$temp/server/usr/lib/postgresql/15/bin
if [ "$(id -u)" = 0 ]; then # PostgreSQL refuses to run as root.
    mkdir run && chmod 755 . && chown nobody run
    as_user="setpriv --reuid=nobody --regid=nogroup --clear-groups"
else
    mkdir run
fi
$as_user "$bin/initdb" -D run/data -A trust -U tester >install.log 2>&1 || { cat install.log; exit 2; }
$as_user "$bin/postgres" -D "$temp/run/data" -p 18401 -k "$temp/run" -c listen_addresses= -c autovacuum=off >server.log 2>&1 &
server=$!

cat >claim.py <<'PYTHON'
import sys, time, psycopg

for _ in range(100):
    try:
        db = psycopg.connect(host=sys.argv[1], port=18401, user="tester", dbname="postgres")
        break
    except psycopg.OperationalError:
        time.sleep(0.1)

one = "SELECT id FROM queue WHERE state = 'new' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
statements = {
    "UPDATE, IN (subquery)": f"UPDATE queue SET state = 'taken' WHERE id IN ({one}) RETURNING id",
    "UPDATE, FROM (subquery)": f"UPDATE queue q SET state = 'taken' FROM ({one}) one WHERE q.id = one.id RETURNING q.id",
    "DELETE, USING (subquery)": f"DELETE FROM queue q USING ({one}) one WHERE q.id = one.id RETURNING q.id",
    "UPDATE, WITH": f"WITH one AS ({one}) UPDATE queue q SET state = 'taken' FROM one WHERE q.id = one.id RETURNING q.id",
    "UPDATE, = ANY (ARRAY(…))": f"UPDATE queue SET state = 'taken' WHERE id = ANY (ARRAY({one})) RETURNING id",
}
db.autocommit = True
db.execute("CREATE TABLE queue (id bigserial PRIMARY KEY, state text NOT NULL)")
db.execute("INSERT INTO queue (state) VALUES ('new')")
db.execute("VACUUM ANALYZE queue")
db.execute("INSERT INTO queue (state) SELECT 'new' FROM generate_series(1, 9)")
for name, sql in statements.items():
    with db.transaction(force_rollback=True):
        print(f"{name}: {len(db.execute(sql).fetchall())} of 10 rows claimed by LIMIT 1")
db.execute("ANALYZE queue")
with db.transaction(force_rollback=True):
    sql = statements["UPDATE, IN (subquery)"]
    print(f"UPDATE, IN (subquery), after ANALYZE: {len(db.execute(sql).fetchall())} of 10 rows claimed by LIMIT 1")
PYTHON
venv/bin/python claim.py "$temp/run" >seen.txt || { cat seen.txt server.log; exit 2; }

cat >expected.txt <<'TEXT'
UPDATE, IN (subquery): 10 of 10 rows claimed by LIMIT 1
UPDATE, FROM (subquery): 10 of 10 rows claimed by LIMIT 1
DELETE, USING (subquery): 10 of 10 rows claimed by LIMIT 1
UPDATE, WITH: 1 of 10 rows claimed by LIMIT 1
UPDATE, = ANY (ARRAY(…)): 1 of 10 rows claimed by LIMIT 1
UPDATE, IN (subquery), after ANALYZE: 1 of 10 rows claimed by LIMIT 1
TEXT
cat seen.txt
diff expected.txt seen.txt || { echo "CHANGED: the output differs from that of 2026-12-01."; exit 1; }
echo "As on 2026-12-01."
