"""How many subscriptions there are, by what is asked for: kept by the statement that writes them, whoever sends it.

Each statement adds what it changed as rows of its own, so that no row is written by two; they are folded together now
and then (`worker.store.counts`), and their sum is true at any moment. Triggers for each row would cost an event's batch
as many calls as it has rows; these get a statement's rows at once
(https://www.postgresql.org/docs/current/sql-createtrigger.html, transition tables). The function runs as the tables'
owner: the role of a running Subkeeper need not be able to count.

The day of a trial's end counts while the trial lasts: kept for ever, each day would leave rows behind that no folding
takes away.
"""

from __future__ import annotations

_COUNTED = """
    SELECT plan, stripe_subscription_status, canceling,
        CASE WHEN stripe_subscription_status = 'trialing' THEN (trial_end AT TIME ZONE 'UTC')::date END
            AS trial_end_day"""

COUNT_SUBSCRIPTIONS = f"""
CREATE FUNCTION count_subscriptions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM subscription_counts;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO subscription_counts (plan, stripe_subscription_status, canceling, trial_end_day, subscriptions)
        SELECT counted.*, count(*) FROM ({_COUNTED} FROM came) counted GROUP BY 1, 2, 3, 4;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO subscription_counts (plan, stripe_subscription_status, canceling, trial_end_day, subscriptions)
        SELECT counted.*, -count(*) FROM ({_COUNTED} FROM gone) counted GROUP BY 1, 2, 3, 4;
    ELSE
        INSERT INTO subscription_counts (plan, stripe_subscription_status, canceling, trial_end_day, subscriptions)
        SELECT plan, stripe_subscription_status, canceling, trial_end_day, sum(n)
        FROM (
            SELECT counted.*, 1 AS n FROM ({_COUNTED} FROM came) counted
            UNION ALL SELECT counted.*, -1 FROM ({_COUNTED} FROM gone) counted
        ) changed
        GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0;
    END IF;
    RETURN NULL;
END
$$
"""  # noqa: S608 - constants

_AFTER = "AFTER {} ON billing_subscriptions {} FOR EACH STATEMENT EXECUTE FUNCTION count_subscriptions()"

COUNTING = (
    COUNT_SUBSCRIPTIONS,
    "CREATE TRIGGER count_inserted " + _AFTER.format("INSERT", "REFERENCING NEW TABLE AS came"),
    "CREATE TRIGGER count_updated " + _AFTER.format("UPDATE", "REFERENCING OLD TABLE AS gone NEW TABLE AS came"),
    "CREATE TRIGGER count_deleted " + _AFTER.format("DELETE", "REFERENCING OLD TABLE AS gone"),
    "CREATE TRIGGER count_truncated " + _AFTER.format("TRUNCATE", ""),
)
