"""Marks of invoices whose payment failed, and tries: what the tables themselves hold to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from tests.integration.store.conftest import LEASE
from worker.domain.charging import Attempt, InvoiceNow, Try, TryOutcome
from worker.domain.deadline import OutOfTime
from worker.errors import SubkeeperError
from worker.events.charge_leases import ChargeLeases
from worker.store import charges
from worker.store.charges import FailingInvoice
from worker.store.engine.database import Database
from worker.store.engine.errors import LeaseLost

TRY = Try("in_1", 1, "pm_b")
INVOICE = InvoiceNow("in_1", "open", "charge_automatically", None, "cus_1", "sub_1", "past_due", 1, None, ())


def leased(database: Database) -> FailingInvoice:
    with database.transaction() as tx:
        charges.mark(tx, {"in_1"})
        (found,) = charges.lease(tx, 9, LEASE)
    return found


def test_what_is_marked_while_somebody_is_at_it_is_looked_at_once_more(database: Database) -> None:
    first = leased(database)
    with database.transaction() as tx:
        charges.mark(tx, ["in_1", "in_2"])
        assert [each.id for each in charges.lease(tx, 9, LEASE)] == ["in_2"], "nobody else takes it"
        charges.end(tx, first)
        (second,) = charges.lease(tx, 9, LEASE)
        assert (second.id, second.wanted, second.attempts) == ("in_1", 2, 1)
        charges.end(tx, second)
        assert charges.backlog(tx).waiting == 1
    with pytest.raises(LeaseLost), database.transaction() as tx:
        charges.end(tx, second)


def test_who_has_waited_longest_is_next(database: Database) -> None:
    with database.transaction() as tx:
        charges.mark(tx, ["in_1", "in_2", "in_3"])
        waiting = (
            "UPDATE failing_invoices SET due_at = now() - interval '1 hour', marked_at = now() - interval '2 hours'"
        )
        tx.execute(text(f"{waiting} WHERE stripe_invoice_id = 'in_2'"))
        assert charges.backlog(tx).oldest == pytest.approx(7200)
        assert [each.id for each in charges.lease(tx, 1, LEASE)] == ["in_2"]


def test_what_waits_is_due_at_once_when_it_is_marked_again(database: Database) -> None:
    first = leased(database)
    with database.transaction() as tx:
        charges.postpone(tx, first, timedelta(hours=1), "away")
        assert charges.lease(tx, 1, LEASE) == []
        charges.mark(tx, ["in_1"])
        (second,) = charges.lease(tx, 1, LEASE)
    assert (second.wanted, second.attempts) == (2, 2)


def test_who_has_lost_the_lease_writes_nothing(database: Database) -> None:
    first = leased(database)
    with database.transaction() as tx:
        charges.postpone(tx, first, timedelta(), "away")
        (second,) = charges.lease(tx, 1, LEASE)
    assert (second.token != first.token, second.attempts) == (True, 2)
    with pytest.raises(LeaseLost), database.transaction() as tx:
        charges.hold(tx, first, LEASE)
    with pytest.raises(LeaseLost), database.transaction() as tx:
        charges.postpone(tx, first, timedelta(), None)


def test_a_card_is_tried_once_at_an_attempt_and_the_one_before_it_is_known(database: Database) -> None:
    with database.transaction() as tx:
        charges.begin(tx, TRY, INVOICE, ["pm_a"])
    with pytest.raises(LeaseLost), database.transaction() as tx:
        charges.begin(tx, TRY, INVOICE, ["pm_a"])
    with database.transaction() as tx:
        charges.end_try(tx, TRY, TryOutcome.DECLINED, "card_declined")
        charges.begin(tx, replace(TRY, attempt_count=2), INVOICE, [])
        found = charges.tries(tx, "in_1")
    told = [(each.payment_method, each.attempt_count, each.outcome) for each in found]
    assert told == [("pm_a", 1, "declined"), ("pm_b", 1, "declined"), ("pm_b", 2, None)]


def test_the_first_answer_stands_and_until_then_the_try_is_under_way(database: Database) -> None:
    with database.transaction() as tx:
        charges.begin(tx, TRY, INVOICE, ["pm_a"])
        assert charges.under_way(tx, "ann", ["cus_1", "cus_2"])
        assert not charges.under_way(tx, "ann", ["cus_2"])
        charges.end_try(tx, TRY, TryOutcome.DECLINED, "expired_card")
        charges.end_try(tx, TRY, TryOutcome.PAID, None)
        charges.renew(tx, TRY.renewed())
        assert [(each.outcome, each.generation) for each in charges.tries(tx, "in_1")] == [("declined", 1)] * 2
        assert not charges.under_way(tx, "ann", ["cus_1"])


def test_what_is_held_stays_so_for_as_long_as_that(database: Database) -> None:
    with database.transaction() as tx:
        charges.mark(tx, {"in_1"})
        (found,) = charges.lease(tx, 1, timedelta())
        charges.hold(tx, found, LEASE)
        assert charges.lease(tx, 1, LEASE) == []
        charges.mark(tx, {"in_1"})
        assert charges.lease(tx, 1, LEASE) == [], "nor where it is marked once more"


def test_only_what_has_no_answer_and_was_left_for_long_is_asked_about(database: Database) -> None:
    left = timedelta(minutes=20)
    with database.transaction() as tx:
        for number, ends in ((1, True), (2, False), (3, False)):
            asked = replace(TRY, invoice_id=f"in_{number}")
            charges.begin(tx, asked, replace(INVOICE, id=asked.invoice_id), [])
            if ends:
                charges.end_try(tx, asked, TryOutcome.PAID, None)
        charges.remark(tx)
        assert charges.backlog(tx).waiting == 2, "of in_2 and in_3"
        charges.mark(tx, ["in_1"])
        assert charges.lease_unanswered(tx, 9, LEASE, left) == []
        tx.execute(
            text("UPDATE failing_invoices SET due_at = now() - interval '21 minutes' WHERE stripe_invoice_id <> 'in_3'")
        )
        (found,) = charges.lease_unanswered(tx, 9, LEASE, left)
        charges.remark(tx)
        assert (found.id, charges.lease_unanswered(tx, 9, LEASE, left)) == ("in_2", [])
        assert {each.id for each in charges.lease(tx, 9, LEASE)} == {"in_1", "in_3"}, "what has a mark keeps it"


def test_an_invoice_has_one_try_without_an_answer(database: Database) -> None:
    with database.transaction() as tx:
        charges.begin(tx, TRY, INVOICE, [])
        charges.begin(tx, replace(TRY, invoice_id="in_2"), replace(INVOICE, id="in_2"), [])
    with pytest.raises(SubkeeperError), database.transaction() as tx:
        charges.begin(tx, replace(TRY, payment_method="pm_c"), INVOICE, [])


def test_a_key_is_as_old_as_its_first_request_and_the_next_generation_begins_anew(database: Database) -> None:
    with database.transaction() as tx:
        charges.begin(tx, TRY, INVOICE, [])
        tx.execute(text("UPDATE charge_tries SET asked_at = now() - interval '24 hours'"))
        (old,) = charges.tries(tx, "in_1")
        charges.renew(tx, old.renewed())
        (new,) = charges.tries(tx, "in_1")
    assert (old.is_forgotten, new.is_forgotten, new.generation) == (True, False, 2)


def test_a_look_that_is_older_than_its_lease_begins_nothing(database: Database) -> None:
    """The machine was suspended in between: nobody else has the lease, and what Stripe said is of long ago."""
    seconds = 0.0
    leases = ChargeLeases(database, length=LEASE, clock=lambda: seconds)
    with database.transaction() as tx:
        charges.mark(tx, {"in_1"})
    (lease,) = leases.lease_due(1)
    seconds = LEASE.total_seconds()
    with pytest.raises(OutOfTime):
        leases.begin(lease, INVOICE, Attempt("pm_b", ()))
    with pytest.raises(OutOfTime):
        leases.renew(lease, INVOICE, TRY)
