-- What an hour of attempts at an endpoint came to, without those of test events: written in the same commit as
-- the attempts, one row an endpoint and hour, always as a whole, so that writing it twice changes nothing. From
-- these the settings pages have their rates, charts and percentiles, which else would take a walk over the log.
CREATE TABLE endpoint_hours (
    endpoint_id  INTEGER NOT NULL,
    hour         INTEGER NOT NULL, -- hours since the Unix epoch
    delivered    INTEGER NOT NULL, -- attempts that delivered
    failed       INTEGER NOT NULL, -- attempts that failed
    dead_letters INTEGER NOT NULL, -- deliveries given up
    latency      BLOB NOT NULL,    -- see model::tally::Latency
    PRIMARY KEY (endpoint_id, hour)
) STRICT, WITHOUT ROWID;
-- What housekeeping deletes, and what a start takes up: touched once an hour.
CREATE INDEX endpoint_hours_by_hour ON endpoint_hours (hour);

-- Sessions of the settings pages, by SHA-256 of the token in the cookie.
CREATE TABLE sessions (
    hash       BLOB NOT NULL PRIMARY KEY,
    team_id    INTEGER,          -- whose settings were opened by a link; null: a key signed in
    key_hash   BLOB,             -- the key that signed in, a team's or the operator's: the session ends with it
    idle_until INTEGER NOT NULL, -- its end where nothing more is asked for
    expires_at INTEGER NOT NULL  -- its end whatever is asked for
) STRICT, WITHOUT ROWID;
-- What housekeeping deletes.
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- Those of before end here: they knew no idle end.
DELETE FROM tokens WHERE kind = 'session';
