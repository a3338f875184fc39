"""The partitions of `processed_stripe_events`, one for each day (UTC) of `created`.

Made and dropped by a function that runs as the tables' owner: the role of a running Subkeeper may make no tables.
Stripe can send an event for 30 days; partitions are there from 32 days ago to 7 days ahead. They are attached, since
that waits for nobody who reads or writes the others (https://www.postgresql.org/docs/current/sql-altertable.html).
Dropping one does, so that it is left for later while somebody reads the table (a dump).
"""

from __future__ import annotations

MAINTAIN_EVENT_PARTITIONS = """
CREATE FUNCTION maintain_event_partitions(OUT first date, OUT last date)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    day date;
    name text;
BEGIN
    first := today - 32;
    last := today + 7;
    PERFORM pg_advisory_xact_lock(1533739010);
    FOR day IN SELECT generate_series(first, last, interval '1 day')::date LOOP
        name := 'processed_stripe_events_' || to_char(day, 'YYYYMMDD');
        IF to_regclass(name) IS NULL THEN
            EXECUTE format('CREATE TABLE %%I (LIKE processed_stripe_events INCLUDING ALL)', name);
            EXECUTE format(
                'ALTER TABLE processed_stripe_events ATTACH PARTITION %%I FOR VALUES FROM (%%L) TO (%%L)',
                name, day || ' 00:00:00+00', day + 1 || ' 00:00:00+00'
            );
        END IF;
    END LOOP;
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'processed_stripe_events'::regclass
            AND c.relname < 'processed_stripe_events_' || to_char(first, 'YYYYMMDD')
    LOOP
        BEGIN
            LOCK TABLE processed_stripe_events IN ACCESS EXCLUSIVE MODE NOWAIT;
            EXECUTE format('DROP TABLE %%I', name);
        EXCEPTION WHEN lock_not_available THEN
            EXIT;
        END;
    END LOOP;
END
$$
"""
"""Returns the first and the last day that have one. `DDL` halves the percent signs."""
