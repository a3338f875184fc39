"""SQL of `failing_invoices` and `charge_tries`: which invoices are to be looked at, by whom, and with which payment
methods they were tried.

A mark is `wanted + 1`, by Stripe's id. Whoever looks reads `wanted` first, and ends the mark only if that is unmoved.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, text

from worker.domain.charging import InvoiceNow, Try, TryOutcome
from worker.store.engine import arrays
from worker.store.engine.errors import LeaseLost
from worker.store.provisioning.leases import NEW_TOKEN
from worker.store.subscriptions import USER

_MARK = text("""
    INSERT INTO failing_invoices AS f (stripe_invoice_id)
    SELECT id FROM unnest(CAST(:ids AS text[])) AS id
    ON CONFLICT (stripe_invoice_id) DO UPDATE
    SET wanted = f.wanted + 1,
        due_at = CASE WHEN f.lease_until > now() THEN f.due_at ELSE least(f.due_at, excluded.due_at) END
""")

_TAKE = f"""
    UPDATE failing_invoices f
    SET lease_token = {NEW_TOKEN}, lease_until = now() + :lease, due_at = now() + :lease, attempts = f.attempts + 1
    FROM (
        SELECT stripe_invoice_id FROM failing_invoices
        WHERE {{which}} ORDER BY due_at LIMIT :count FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE f.stripe_invoice_id = due.stripe_invoice_id
    RETURNING f.stripe_invoice_id, f.wanted, f.lease_token, f.attempts
"""  # noqa: S608 - a constant
_LEASE = text(_TAKE.format(which="due_at <= now()"))
_LEASE_UNANSWERED = text(
    _TAKE.format(
        which="""
        due_at <= now() - CAST(:left AS interval) AND EXISTS (
            SELECT FROM charge_tries t
            WHERE t.stripe_invoice_id = failing_invoices.stripe_invoice_id AND t.outcome IS NULL)"""
    )
)

_REMARK = text("""
    INSERT INTO failing_invoices (stripe_invoice_id)
    SELECT stripe_invoice_id FROM charge_tries WHERE outcome IS NULL
    ON CONFLICT (stripe_invoice_id) DO NOTHING
""")

_FENCE = "WHERE stripe_invoice_id = :invoice AND lease_token = :token"

_HOLD = text(f"""
    UPDATE failing_invoices SET lease_until = now() + :lease, due_at = now() + :lease {_FENCE} RETURNING wanted
""")  # noqa: S608 - the fence is a constant

_POSTPONE = text(f"""
    UPDATE failing_invoices
    SET lease_token = 0, lease_until = NULL, due_at = now() + :delay, last_error = CAST(:error AS text),
        attempts = CASE WHEN CAST(:error AS text) IS NULL THEN 0 ELSE attempts END
    {_FENCE}
""")  # noqa: S608 - as above

_END = text(f"DELETE FROM failing_invoices {_FENCE} AND wanted = :wanted")  # noqa: S608 - as above

_TRIES = text("""
    SELECT stripe_invoice_id, attempt_count, stripe_payment_method_id, generation, now() - asked_at AS asked_for,
        outcome
    FROM charge_tries WHERE stripe_invoice_id = :invoice ORDER BY id
""")

_TRY = text("""
    INSERT INTO charge_tries
        (stripe_invoice_id, attempt_count, stripe_payment_method_id, stripe_customer_id, stripe_subscription_id,
         is_ours, outcome, ended_at)
    SELECT :invoice, :attempt_count, id, :customer, :subscription, :ours, CASE WHEN NOT :ours THEN 'declined' END,
        CASE WHEN NOT :ours THEN now() END
    FROM unnest(CAST(:ids AS text[])) AS id
    ON CONFLICT (stripe_invoice_id, attempt_count, stripe_payment_method_id) DO NOTHING
""")

_OF_TRY = """
    WHERE stripe_invoice_id = :invoice AND attempt_count = :attempt_count AND stripe_payment_method_id = :card
        AND outcome IS NULL
"""

_RENEW = text(f"UPDATE charge_tries SET generation = :generation, asked_at = now() {_OF_TRY}")  # noqa: S608 - as above

_END_TRY = text(f"""
    UPDATE charge_tries SET outcome = :outcome, code = CAST(:code AS text), ended_at = now() {_OF_TRY}
""")  # noqa: S608 - as above

OF_SUBSCRIPTION = """
    coalesce(t.stripe_subscription_id = s.stripe_subscription_id, t.stripe_invoice_id = s.charge_invoice)
"""
"""Whether the try `t` is of the row `s`: by its latest invoice, where the try names no subscription."""

# What no row is of may be anybody's there.
_UNDER_WAY = text(f"""
    SELECT EXISTS (
        SELECT FROM charge_tries t
        WHERE t.stripe_customer_id = ANY(CAST(:customers AS text[])) AND t.outcome IS NULL AND NOT EXISTS (
            SELECT FROM billing_customers c JOIN billing_subscriptions s ON s.billing_customer_id = c.id
            WHERE c.stripe_customer_id = t.stripe_customer_id
                AND c.stripe_customer_id = ANY(CAST(:shared AS text[]))
                AND {OF_SUBSCRIPTION} AND {USER} IS DISTINCT FROM :user_id))
""")  # noqa: S608 - constants

_PRUNE = text("""
    DELETE FROM charge_tries WHERE id IN (
        SELECT id FROM charge_tries WHERE ended_at < now() - CAST(:kept AS interval) LIMIT :limit)
""")

_BACKLOG = text("""
    SELECT count(*), coalesce(extract(epoch FROM now() - min(marked_at)), 0) FROM failing_invoices
""")


@dataclass(frozen=True, slots=True)
class FailingInvoice:
    """A leased mark. `attempts` counts from 1."""

    id: str
    wanted: int
    token: int
    attempts: int


class Backlog(NamedTuple):
    """How many invoices are to be looked at, and the age in seconds of the oldest mark."""

    waiting: int
    oldest: float


def mark(tx: Connection, stripe_invoice_ids: Collection[str]) -> None:
    """These are to be looked at as soon as possible; one that somebody is at, once more after that."""
    tx.execute(_MARK, {"ids": arrays.texts(sorted(stripe_invoice_ids))})


def lease(tx: Connection, count: int, length: timedelta) -> list[FailingInvoice]:
    """Up to `count` due ones, the longest due first, for `length`."""
    return [FailingInvoice(*row) for row in tx.execute(_LEASE, {"count": count, "lease": length})]


def lease_unanswered(tx: Connection, count: int, length: timedelta, left: timedelta) -> list[FailingInvoice]:
    """The same of those with a try that has no answer, if nobody has done anything with them for as long as `left`."""
    parameters = {"count": count, "lease": length, "left": left}
    return [FailingInvoice(*row) for row in tx.execute(_LEASE_UNANSWERED, parameters)]


def hold(tx: Connection, invoice: FailingInvoice, length: timedelta) -> None:
    """For `length` from now on; locked until `tx` ends. Raises `LeaseLost`."""
    if tx.execute(_HOLD, {**_fence(invoice), "lease": length}).one_or_none() is None:
        raise LeaseLost(invoice.id)


def postpone(tx: Connection, invoice: FailingInvoice, delay: timedelta, error: str | None) -> None:
    """Gives it back, due after `delay`; without an `error` it counts as not tried. Raises `LeaseLost`."""
    if tx.execute(_POSTPONE, {**_fence(invoice), "delay": delay, "error": error}).rowcount != 1:
        raise LeaseLost(invoice.id)


def end(tx: Connection, invoice: FailingInvoice) -> None:
    """There is nothing to do; one that was marked meanwhile is due at once. Raises `LeaseLost`."""
    if tx.execute(_END, {**_fence(invoice), "wanted": invoice.wanted}).rowcount != 1:
        postpone(tx, invoice, timedelta(), None)


def backlog(tx: Connection) -> Backlog:
    waiting, oldest = tx.execute(_BACKLOG).one()
    return Backlog(int(waiting), float(oldest))


# Tries. Whoever writes them holds the invoice's mark


def tries(tx: Connection, stripe_invoice_id: str) -> list[Try]:
    """All of an invoice, in their order."""
    return [_try(row) for row in tx.execute(_TRIES, {"invoice": stripe_invoice_id})]


def begin(tx: Connection, asked: Try, invoice: InvoiceNow, elsewhere: Sequence[str]) -> None:
    """`asked`, of `invoice`, is about to be sent; those `elsewhere` were declined at this attempt, by no try of ours.
    Raises `LeaseLost` where somebody has tried it."""
    of = {"invoice": invoice.id, "customer": invoice.customer_id, "subscription": invoice.subscription_id}
    values = {**of, "attempt_count": asked.attempt_count}
    tx.execute(_TRY, {**values, "ids": arrays.texts(elsewhere), "ours": False})
    if tx.execute(_TRY, {**values, "ids": arrays.texts([asked.payment_method]), "ours": True}).rowcount != 1:
        raise LeaseLost(asked.invoice_id)


def renew(tx: Connection, asked: Try) -> None:
    """It is about to be sent under the key of its present generation, which is a new one."""
    tx.execute(_RENEW, {**_of(asked), "generation": asked.generation})


def end_try(tx: Connection, asked: Try, outcome: TryOutcome, code: str | None) -> None:
    """What it has come to, with Stripe's `code`."""
    tx.execute(_END_TRY, {**_of(asked), "outcome": outcome.value, "code": code})


def remark(tx: Connection) -> None:
    """An invoice with a try that has no answer is to be looked at, in case its mark was deleted."""
    tx.execute(_REMARK)


def under_way(tx: Connection, user_id: str, stripe_customer_ids: Sequence[str], shared: Collection[str] = ()) -> bool:
    """Whether a try on one of these customers may still take effect; on one that is `shared`, a try of what may be the
    user's own subscription."""
    customers = {"customers": arrays.texts(stripe_customer_ids), "shared": arrays.texts(sorted(shared))}
    return bool(tx.execute(_UNDER_WAY, {"user_id": user_id, **customers}).scalar_one())


def prune(tx: Connection, kept: timedelta, limit: int) -> int:
    """Deletes up to `limit` tries that ended more than `kept` ago; how many they were."""
    return tx.execute(_PRUNE, {"kept": kept, "limit": limit}).rowcount


def _fence(invoice: FailingInvoice) -> dict[str, object]:
    return {"invoice": invoice.id, "token": invoice.token}


def _of(asked: Try) -> dict[str, object]:
    return {"invoice": asked.invoice_id, "attempt_count": asked.attempt_count, "card": asked.payment_method}


def _try(row: Row[Any]) -> Try:
    return Try(
        invoice_id=row.stripe_invoice_id,
        attempt_count=row.attempt_count,
        payment_method=row.stripe_payment_method_id,
        generation=row.generation,
        asked_for=row.asked_for,
        outcome=None if row.outcome is None else TryOutcome(row.outcome),
    )
