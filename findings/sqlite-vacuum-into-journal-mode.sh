#!/usr/bin/env bash
# What:     Of SQLite's two ways to copy a live database, the backup API keeps WAL mode and VACUUM INTO drops it.
# Versions: SQLite 3.54.1 and 3.46.1 (inside apsw 3.54.1.0 and 3.46.1.0, PyPI).
# Date:     2026-12-01
# Guess:    WAL mode is a persistent property in the file's header, like user_version and application_id, so every copy
#           that SQLite makes has it.
# Seen:     VACUUM INTO keeps user_version, application_id, page_size and auto_vacuum, but the copy is in DELETE mode. A service that
#           restores such a copy and relies on "WAL was set once" runs with a rollback journal: its readers and its writer
#           block each other. A plain VACUUM in place and the backup API keep WAL.
# Exit:     0 as described, 1 the behaviour has changed, 2 it could not be run (needs python3 with venv).
set -eu
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
trap 'exit 2' INT TERM

cd "$temp"
cat >copy.py <<'PYTHON'
import apsw

def look(name):
    db = apsw.Connection(name)
    values = [f"{pragma} {db.pragma(pragma)}" for pragma in ("journal_mode", "user_version", "application_id", "page_size", "auto_vacuum")]
    db.close()
    return ", ".join(values)

live = apsw.Connection("live.db")
live.pragma("page_size", 8192)
live.pragma("auto_vacuum", 2)
live.pragma("journal_mode", "wal")
live.pragma("user_version", 5)
live.pragma("application_id", 77)
live.execute("CREATE TABLE event (id INTEGER PRIMARY KEY)")
live.execute("INSERT INTO event VALUES (1)")
live.execute("VACUUM INTO 'into.db'")
copy = apsw.Connection("backup.db")
with copy.backup("main", live, "main") as backup:
    backup.step()
copy.close()
live.execute("VACUUM")
live.close()
for way, name in (("VACUUM INTO", "into.db"), ("backup API", "backup.db"), ("VACUUM", "live.db")):
    print(f"SQLite {apsw.sqlite_lib_version()}, {way}: {look(name)}")
PYTHON
for version in 3.54.1.0 3.46.1.0; do
    { python3 -m venv "venv-$version" && "venv-$version/bin/pip" -q install "apsw==$version"; } >install.log 2>&1 || { cat install.log; exit 2; }
    mkdir "run-$version"
    (cd "run-$version" && "../venv-$version/bin/python" ../copy.py) >>seen.txt || { cat seen.txt; exit 2; }
done

for version in 3.54.1 3.46.1; do
    echo "SQLite $version, VACUUM INTO: journal_mode delete, user_version 5, application_id 77, page_size 8192, auto_vacuum 2"
    echo "SQLite $version, backup API: journal_mode wal, user_version 5, application_id 77, page_size 8192, auto_vacuum 2"
    echo "SQLite $version, VACUUM: journal_mode wal, user_version 5, application_id 77, page_size 8192, auto_vacuum 2"
done >expected.txt
cat seen.txt
diff expected.txt seen.txt || { echo "CHANGED: the output differs from that of 2026-12-01."; exit 1; }
echo "As on 2026-12-01."
