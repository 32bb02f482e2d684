-- A delivery's row is written once, with its first outcome, where that comes soon (see store::fresh). Until then
-- the event's row says when they are due and whom it is owed to: a time and the endpoints' ids, 8 bytes each,
-- big-endian, in the order of the deliveries' ids. Null: the rows of its deliveries were written with it.
ALTER TABLE events ADD COLUMN owed BLOB;

-- From this event on (8 bytes, big-endian) deliveries may have no row yet: what an opening store looks through.
-- All that there are so far have theirs.
INSERT INTO meta (key, value)
    SELECT 'rows_from', unhex(format('%016X', coalesce(max(id) + 1, 0))) FROM events;

-- A team's whole log is a merge over its endpoints, as every other page of it.
DROP INDEX deliveries_of_team;

-- A row seldom changes its standing now, so an index by type may have it too: a page of any type and any
-- status is then one range, whatever else there is. It serves the retries of a type's dead letters as well.
DROP INDEX deliveries_by_type;
DROP INDEX deliveries_dead;
CREATE INDEX deliveries_by_type ON deliveries (endpoint_id, event_type, standing, id);
