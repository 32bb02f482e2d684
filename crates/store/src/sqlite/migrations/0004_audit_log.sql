-- Who changed which team, endpoint, secret or key by hand, written in the commit that changed it. `subject` is the
-- id of what was changed: the action says what that is. Kept as long as the team.
CREATE TABLE audit_log (
    id        INTEGER PRIMARY KEY,
    team_id   INTEGER NOT NULL,
    actor     TEXT NOT NULL,    -- model::audit::Actor
    actor_key INTEGER,          -- the API key, where it was one
    action    TEXT NOT NULL,    -- model::audit::Action
    subject   INTEGER NOT NULL,
    changes   TEXT NOT NULL     -- JSON array of [field, before or null, after or null]
) STRICT;
-- A team's, newest first.
CREATE INDEX audit_log_of_team ON audit_log (team_id, id);
