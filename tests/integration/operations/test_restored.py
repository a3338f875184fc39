"""`subkeeper provisioning doubt`: what comes first after a database was restored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.provisioning.test_adoption import after_the_loss_of_the_database
from tests.support.commands import Commands
from tests.support.stack import Stack, profile
from worker.domain.lanes import Lane
from worker.provisioning import restored
from worker.store.engine.database import Database
from worker.store.engine.errors import LeaseLost
from worker.store.provisioning import leases, postponing


def unfinished_rows(stack: Stack, count: int, lane: int = 0) -> None:
    stack.rows(
        """INSERT INTO provisionings (user_id, plan, trial_end, lane, due_at)
           SELECT 'user-' || %s::text || '-' || n, 'pending', now(), %s, now() - (n / 3) * interval '1 second'
           FROM generate_series(1, %s) AS n""",
        lane,
        lane,
        count,
    )


def test_every_unfinished_row_will_look_and_no_other_one(
    stack: Stack, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lane in range(3):
        unfinished_rows(stack, 25, lane)
    stack.rows("UPDATE provisionings SET state = 'quarantined' WHERE user_id = 'user-0-7'")
    stack.rows("UPDATE provisionings SET state = 'customer_created' WHERE user_id = 'user-2-7'")
    monkeypatch.setattr(restored, "BATCH", 10)
    database = Database(stack.settings().database)
    assert restored.count_unfinished(database) == 74
    assert restored.look_first(database) == 74
    database.close()
    assert [row["user_id"] for row in stack.rows("SELECT user_id FROM provisionings WHERE NOT look_first")] == [
        "user-0-7"
    ]
    said = commands("provisioning", "doubt", "--yes")
    assert (said.code, said.out) == (0, "74 profiles will be looked for at Stripe first\n")


def test_it_says_how_many_and_asks(stack: Stack, commands: Commands) -> None:
    unfinished_rows(stack, 3)
    said = commands("provisioning", "doubt")
    assert said.code == 2
    assert "--yes" in said.err
    said = commands.on_a_terminal("provisioning", "doubt", typed=b"n\n")
    assert "3 unfinished profiles" in said.out
    assert not stack.rows("SELECT 1 FROM provisionings WHERE look_first")
    assert commands.on_a_terminal("provisioning", "doubt", typed=b"y\n").code == 0
    assert len(stack.rows("SELECT 1 FROM provisionings WHERE look_first")) == 3


def test_without_an_unfinished_row_there_is_nothing_to_doubt(commands: Commands) -> None:
    for option in (["--yes"], []):
        said = commands("provisioning", "doubt", *option)
        assert (said.code, said.out) == (0, "0 profiles will be looked for at Stripe first\n"), option


def test_whoever_holds_a_row_loses_it(stack: Stack) -> None:
    """It was leased before anybody doubted it, and would create without a look."""
    unfinished_rows(stack, 1)
    stack.rows("UPDATE provisionings SET state = 'customer_created'")
    database = Database(stack.settings().database)
    with database.transaction() as tx:
        (row,) = leases.lease_due(
            tx, Lane.LIVE, 1, lease=timedelta(seconds=60), stripe_now=datetime.now(UTC), openable=[]
        )
    assert restored.look_first(database) == 1
    with pytest.raises(LeaseLost), database.transaction() as tx:
        postponing.postpone(tx, row, delay=timedelta(0), lane=Lane.LIVE, error=None, sent=True)
    database.close()


def test_a_restored_row_whose_next_generation_the_lost_database_had_used_makes_no_second_subscription(
    stack: Stack, commands: Commands
) -> None:
    """Stripe doesn't know the row's key, young as it is: the object was made under another one."""
    write = {"path": "/v1/subscriptions", "method": "POST"}
    stack.control.fault("status", status=503, match=write)
    worker = stack.start_worker()
    stack.publish(profile("ada"))
    stack.await_state("ada", "customer_created")
    worker.stop()
    stack.rows("CREATE TABLE backup AS TABLE provisionings")
    stack.rows("CREATE TABLE backed_up_customers AS TABLE billing_customers")
    stack.rows("UPDATE provisionings SET generation = generation + 1, due_at = now()")
    stack.control.clear_faults()
    worker = stack.start_worker()
    stack.await_completed("ada")
    worker.stop()
    after_the_loss_of_the_database(stack)
    stack.rows("INSERT INTO provisionings TABLE backup")
    stack.rows("INSERT INTO billing_customers OVERRIDING SYSTEM VALUE TABLE backed_up_customers")
    assert commands("provisioning", "doubt", "--yes").code == 0
    stack.expire_leases()
    stack.start_worker()
    stack.await_completed("ada")
    assert stack.control.duplicates() == {}
    stack.assert_exactly_one("ada")
