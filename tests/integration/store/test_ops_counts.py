"""What the ops page counts, with little to read."""

from __future__ import annotations

from sqlalchemy import text

from worker.store import event_list, events
from worker.store.engine.database import Database
from worker.store.provisioning import backlog

_HEAR = text("""
    INSERT INTO processed_stripe_events (stripe_event_id, created, type, source, outcome)
    SELECT :id || n, date_trunc('day', now(), 'UTC') + :day * interval '1 day', 'invoice.paid', :source, :outcome
    FROM generate_series(1, :events) n
""")
_SIGN_UP = text("""
    INSERT INTO provisionings (user_id, state, plan, trial_end, lane, stripe_subscription_id)
    SELECT :state || n, :state, 'pending', now(), 0, CASE WHEN :state = 'completed' THEN 'sub_' || n END
    FROM generate_series(1, :rows) n
""")


def test_events_of_yesterday_and_today_are_counted_by_outcome_as_far_as_asked(database: Database) -> None:
    heard = [(-2, "poll", "stale", 9), (-1, "poll", "stale", 2), (0, "webhook", "applied", 4), (1, "poll", "stale", 1)]
    with database.transaction() as tx:
        assert event_list.outcomes(tx, 5) == ({}, {}, False)
        events.maintain_days(tx)
        for day, source, outcome, count in heard:
            values = {"id": f"evt_{day}_", "day": day, "source": source, "outcome": outcome, "events": count}
            tx.execute(_HEAR, values)
        found, cut = event_list.outcomes(tx, 6), event_list.outcomes(tx, 3)
    assert list(found.outcomes.items()) == [("applied", 4), ("stale", 3)]
    assert found.last_taken_in.keys() == {"poll", "webhook"}
    assert not found.is_cut
    assert cut.is_cut
    assert sum(cut.outcomes.values()) == 5


def test_settled_rows_are_counted_while_they_are_few_and_estimated_after_that(database: Database) -> None:
    with database.transaction() as tx:
        tx.execute(_SIGN_UP, {"state": "completed", "rows": 20})
        tx.execute(_SIGN_UP, {"state": "pending", "rows": 3})
        assert backlog.settled(tx) == (20, False)
        assert backlog.settled(tx, most=10) == (None, True)
        tx.execute(text("ANALYZE provisionings"))
        assert backlog.settled(tx, most=10) == (23, True)
