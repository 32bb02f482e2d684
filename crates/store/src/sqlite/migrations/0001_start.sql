-- The first schema. All times are milliseconds since the Unix epoch, handed in by the caller. All
-- ids are time-ordered 64-bit integers made by model::id, so `id` is also the order of creation and
-- carries `created_at`; a new row lands at the right edge of its table and of most indexes.

-- What belongs to the store as a whole: `id_key` (16 bytes: turns ids into UUIDs and back; made here,
-- once), `operator_key` (SHA-256 of the operator's key), `ready` (written by the readiness check).
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (key, value) VALUES ('id_key', randomblob(16));

-- A customer of the product. A deleted team keeps its row (its log still refers to it) until
-- retention has emptied the log.
CREATE TABLE teams (
    id          INTEGER PRIMARY KEY,
    external_id TEXT NOT NULL,    -- the operator's name for it
    name        TEXT NOT NULL,
    plan        TEXT NOT NULL,
    updated_at  INTEGER NOT NULL,
    deleted_at  INTEGER           -- null: living
) STRICT;
-- An external id names one living team; a deleted team's may be used again.
CREATE UNIQUE INDEX teams_by_external_id ON teams (external_id) WHERE deleted_at IS NULL;
-- The list of teams and its total.
CREATE INDEX teams_living ON teams (id) WHERE deleted_at IS NULL;
-- What retention looks through.
CREATE INDEX teams_deleted ON teams (deleted_at) WHERE deleted_at IS NOT NULL;

-- API keys; a deleted key's row is gone. Keys are looked up in memory, by hash.
CREATE TABLE api_keys (
    id           INTEGER PRIMARY KEY,
    team_id      INTEGER NOT NULL,
    name         TEXT NOT NULL,
    shown        TEXT NOT NULL,   -- the characters a list shows
    hash         BLOB NOT NULL,   -- SHA-256 of the whole key
    scopes       INTEGER NOT NULL, -- bits, see model::key::Scopes
    last_used_at INTEGER,
    expires_at   INTEGER
) STRICT;
CREATE UNIQUE INDEX api_keys_by_hash ON api_keys (hash);
-- A team's keys, counted against its plan and listed.
CREATE INDEX api_keys_of_team ON api_keys (team_id, id);

-- Where deliveries go. A deleted endpoint keeps its row, without its secrets, as long as deliveries
-- refer to it: "canceled" is an open delivery whose endpoint is deleted, "held" one whose endpoint is
-- disabled or paused, so each of these is one write however many deliveries are owed.
CREATE TABLE endpoints (
    id                         INTEGER PRIMARY KEY,
    team_id                    INTEGER NOT NULL,
    url                        TEXT NOT NULL,
    description                TEXT,
    event_types                TEXT,             -- JSON array of names; null: all
    secret                     TEXT NOT NULL,
    previous_secrets           TEXT,             -- while rotations last: JSON array of [secret, its end]; null: none
    disabled                   INTEGER NOT NULL, -- 0 or 1
    paused                     INTEGER NOT NULL, -- 0 or 1
    consecutive_failures       INTEGER NOT NULL, -- health, see model::health
    failing_since              INTEGER,
    last_reason                TEXT,
    last_delivery_at           INTEGER,
    updated_at                 INTEGER NOT NULL, -- last change by hand
    deleted_at                 INTEGER           -- null: living
) STRICT;
-- All that a team's log can refer to.
CREATE INDEX endpoints_of_team ON endpoints (team_id, id);
-- The living: a team's list, its count against the plan, and all of them at start.
CREATE INDEX endpoints_living ON endpoints (team_id, id) WHERE deleted_at IS NULL;
-- What retention looks through.
CREATE INDEX endpoints_deleted ON endpoints (deleted_at) WHERE deleted_at IS NOT NULL;

-- Accepted facts. An event's deliveries have the `deliveries` ids that follow its own, so finding
-- them needs no index.
CREATE TABLE events (
    id         INTEGER PRIMARY KEY,
    team_id    INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    deliveries INTEGER NOT NULL, -- how many it made
    test       INTEGER NOT NULL, -- 1: made by "send test event"
    body       BLOB NOT NULL     -- what every receiver gets, byte for byte; last, so that a large one is not read past
) STRICT;
-- A team's events, newest first, and their number.
CREATE INDEX events_of_team ON events (team_id, id);

-- One event owed to one endpoint. `standing`: 0 owed and not yet tried, 1 owed and tried,
-- 2 delivered, 3 dead letter. (0 and 1 are model::delivery::State::Open; they are told apart here so
-- that each of the log's filters is one range of one index.)
CREATE TABLE deliveries (
    id              INTEGER PRIMARY KEY,
    team_id         INTEGER NOT NULL,
    event_id        INTEGER NOT NULL,
    endpoint_id     INTEGER NOT NULL,
    event_type      TEXT NOT NULL,    -- the event's, for the log's filter
    standing        INTEGER NOT NULL,
    attempt_count   INTEGER NOT NULL,
    schedule_start  INTEGER NOT NULL, -- attempts made before its current retry schedule
    next_attempt_at INTEGER,          -- null exactly when it is finished
    completed_at    INTEGER,          -- null while it is owed
    test            INTEGER NOT NULL
) STRICT;
-- What an endpoint is owed, in the order it is due. Holds only what is owed.
CREATE INDEX deliveries_due ON deliveries (endpoint_id, next_attempt_at, id)
    WHERE next_attempt_at IS NOT NULL;
-- A team's whole log, newest first.
CREATE INDEX deliveries_of_team ON deliveries (team_id, id);
-- The log by endpoint and by status: a page is a merge of few ranges of this index, however many
-- rows stand elsewhere. Also whether a deleted endpoint still has any.
CREATE INDEX deliveries_by_standing ON deliveries (endpoint_id, standing, id);
-- The log by event type: a merge over the team's endpoints.
CREATE INDEX deliveries_by_type ON deliveries (endpoint_id, event_type, id);
-- Dead letters of a type: to be looked at, and to be retried. Written only where one is given up.
CREATE INDEX deliveries_dead ON deliveries (endpoint_id, event_type, id) WHERE standing = 3;

-- HTTP tries, immutable. Lives in its key's own tree: read by delivery, written in about its order.
CREATE TABLE attempts (
    delivery_id      INTEGER NOT NULL,
    number           INTEGER NOT NULL, -- from 1, without a gap
    started_at       INTEGER NOT NULL,
    duration_ms      INTEGER NOT NULL,
    outcome          TEXT NOT NULL,    -- model::attempt::Outcome
    status_code      INTEGER,
    reason           TEXT,             -- model::attempt::Reason
    detail           TEXT,
    remote_addr      TEXT,
    dns_ms           INTEGER,
    connect_ms       INTEGER,
    tls_ms           INTEGER,
    first_byte_ms    INTEGER,
    response_headers TEXT,             -- JSON array of [name, value]; null: none
    response_body    BLOB,
    PRIMARY KEY (delivery_id, number)
) STRICT, WITHOUT ROWID;

-- Which publication a publisher's key stood for, and the answer it got.
CREATE TABLE idempotency_keys (
    team_id     INTEGER NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,    -- hash of what was published
    event_id    INTEGER NOT NULL,
    deliveries  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL, -- from then on as if it were not there
    PRIMARY KEY (team_id, key)
) STRICT, WITHOUT ROWID;
-- What housekeeping deletes.
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

-- One-time links and sessions of the settings pages, by SHA-256 of the token.
CREATE TABLE tokens (
    kind       TEXT NOT NULL,
    hash       BLOB NOT NULL,
    team_id    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (kind, hash)
) STRICT, WITHOUT ROWID;
-- A deleted team's.
CREATE INDEX tokens_of_team ON tokens (team_id);
-- What housekeeping deletes.
CREATE INDEX tokens_expiry ON tokens (expires_at);
