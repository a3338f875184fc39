"""An invoice's life: draft, open, then paid, failed and tried again, overdue, void or uncollectible.

Source: https://docs.stripe.com/invoicing/overview#invoice-lifecycle, https://docs.stripe.com/billing/subscriptions/webhooks.
"""

from __future__ import annotations

from sandbox.stripe import cards, invoices, payment_objects, prorations, standing
from sandbox.stripe.agenda import DAY
from sandbox.stripe.charging import charging
from sandbox.stripe.errors import ApiError
from sandbox.stripe.ledger import Transaction
from sandbox.stripe.lifecycle import method_of
from sandbox.stripe.objects import Obj


def draft(tx: Transaction, sub: Obj, *, reason: str, trial: bool = False, waits: bool, period: bool = True) -> Obj:
    """The invoice of `sub`'s current period (without `period`: of what waited for an invoice alone). `waits`: an hour
    passes before it is finalized, as for renewals."""
    waits = waits and sub["status"] != "unpaid" and (sub["pause_collection"] or {}).get("behavior") != "keep_as_draft"
    identifier, customer, added = tx.ids.long("in"), tx.get(sub["customer"]), prorations.waiting(tx, sub)
    bill = invoices.invoice(identifier, tx.now, sub, customer, reason=reason, trial=trial, added=added, period=period)
    for item in added:
        tx.put({**item, "invoice": identifier})
    return tx.put(invoices.waiting(bill) if waits else bill)


def finalize(tx: Transaction, bill: Obj) -> Obj:
    """Open from now on; what costs nothing is paid with that."""
    bill = prorations.settle_balance(tx, bill)
    sub, customer = standing.subscription_of(tx, bill), tx.get(bill["customer"])
    charged = bill["collection_method"] == "charge_automatically"
    transitions = {**bill["status_transitions"], "finalized_at": tx.now}
    opened = tx.put(
        {
            **bill,
            "auto_advance": bill["amount_due"] > 0,
            "automatically_finalizes_at": None,
            "due_date": None if charged else tx.now + (sub["days_until_due"] or 0) * DAY,
            "effective_at": tx.now,
            "next_payment_attempt": None,
            "number": f"{customer['invoice_prefix']}-{bill['created']}",
            "status": "open",
            "status_transitions": transitions,
        }
    )
    tx.emit("invoice.finalized", opened)
    if opened["amount_due"] == 0:
        return _paid(tx, opened)
    intent = payment_objects.payment_intent(tx.ids.long("pi"), tx.wall, tx.ids.unguessable(), opened)
    tx.put(intent)
    tx.emit("payment_intent.created", intent)
    tx.put(payment_objects.invoice_payment(tx.ids.long("inpay"), tx.now, opened, intent["id"]))
    return opened


def advance(tx: Transaction, bill: Obj) -> None:
    """What time does to a draft: finalized, then collected, or given up where collection is paused."""
    opened = finalize(tx, bill)
    pause = standing.subscription_of(tx, opened)["pause_collection"]
    if opened["status"] != "open" or opened["collection_method"] == "send_invoice":
        return
    if pause is None:
        collect(tx, opened, automatic=True)
    elif pause["behavior"] == "void":
        void(tx, opened)
    else:
        mark_uncollectible(tx, opened)


def collect(tx: Transaction, bill: Obj, method: Obj | None = None, *, automatic: bool) -> cards.Outcome | None:
    """One attempt to be paid by `method`, else by the default card; None where there is none."""
    card = method or method_of(tx, standing.subscription_of(tx, bill), bill)
    outcome = None if card is None else charging(tx, card)
    if outcome == "paid":
        _paid(tx, bill, card)
    else:
        _failed(tx, bill, card, outcome, automatic=automatic)
    return outcome


def _paid(tx: Transaction, bill: Obj, method: Obj | None = None) -> Obj:
    amount = bill["amount_due"]
    if method is not None:
        fields = {"amount_received": amount, "last_payment_error": None, "next_action": None, "status": "succeeded"}
        if method["id"] in tx.authenticated:
            fields["setup_future_usage"] = "off_session"
        _settle_intent(tx, bill, "payment_intent.succeeded", payment_method=method["id"], **fields)
        _close_payments(tx, bill, "paid", amount_paid=amount, paid_at=tx.now)
        count = max(bill["attempt_count"], 1)
    else:
        count = bill["attempt_count"]
    return settled(tx, {**bill, "attempt_count": count})


def settled(tx: Transaction, bill: Obj) -> Obj:
    """Paid, by whatever means."""
    amount = bill["amount_due"]
    paid = tx.put(
        {
            **_closed(bill, "paid", "paid_at", tx.now),
            "amount_paid": amount,
            "amount_remaining": 0,
            "attempted": True,
        }
    )
    tx.emit("invoice.paid", paid)
    tx.emit("invoice.payment_succeeded", paid)
    if amount:
        standing.set_delinquent(tx, bill["customer"], delinquent=False)
    standing.after_payment(tx, paid)
    return paid


def _failed(tx: Transaction, bill: Obj, method: Obj | None, outcome: cards.Outcome | None, *, automatic: bool) -> None:
    """Only the schedule's own attempts count, and the first of all."""
    counts = automatic or bill["attempt_count"] == 0
    count = bill["attempt_count"] + counts
    first = standing.subscription_of(tx, bill)["status"] == "incomplete"
    when = tx.ledger.retries.after(count, tx.now) if counts else bill["next_payment_attempt"]
    failed = tx.put(
        {**bill, "attempt_count": count, "attempted": True, "next_payment_attempt": None if first else when}
    )
    _fail_intent(tx, bill, method, outcome)
    if outcome == "action":
        tx.emit("invoice.payment_action_required", failed)
    tx.emit("invoice.payment_failed", failed)
    tx.emit("invoice.updated", failed, bill)
    standing.set_delinquent(tx, bill["customer"], delinquent=True)
    standing.after_failure(tx, failed, tx.ledger.retries.then if when is None else None)


def _fail_intent(tx: Transaction, bill: Obj, method: Obj | None, outcome: cards.Outcome | None) -> None:
    if method is None or outcome is None:
        return
    if not isinstance(outcome, cards.Decline):
        for intent in _intents(tx, bill):
            action = payment_objects.redirect(tx.ledger.url, intent, None)
            fields: Obj = {"next_action": action, "payment_method": method["id"], "status": "requires_action"}
            tx.emit("payment_intent.requires_action", tx.put({**intent, **fields}))
        return
    failed: Obj = {"next_action": None, "payment_method": None, "status": "requires_payment_method"}
    error = cards.problem(outcome, method)
    _settle_intent(tx, bill, "payment_intent.payment_failed", last_payment_error=error, **failed)


def refuse(tx: Transaction, bill: Obj, method: Obj) -> ApiError:
    """The card's owner was asked whether to pay, and said no; the 402 that says so."""
    refusal = cards.refusal("payment")
    _failed(tx, bill, method, refusal, automatic=False)
    return cards.declined(refusal, method)


def _payments(tx: Transaction, bill: Obj) -> list[Obj]:
    made = [row for row in tx.puts.values() if row["object"] == "invoice_payment" and row["invoice"] == bill["id"]]
    return made or tx.ledger.tables["invoice_payment"].by("invoice", bill["id"])


def _intents(tx: Transaction, bill: Obj) -> list[Obj]:
    return [tx.get(payment["payment"]["payment_intent"]) for payment in _payments(tx, bill)]


def _settle_intent(tx: Transaction, bill: Obj, kind: str, **fields: object) -> None:
    for intent in _intents(tx, bill):
        tx.emit(kind, tx.put({**intent, **fields}))


def _close_payments(tx: Transaction, bill: Obj, status: str, amount_paid: int | None, **when: int) -> None:
    for payment in _payments(tx, bill):
        transitions = {**payment["status_transitions"], **when}
        tx.put({**payment, "amount_paid": amount_paid, "status": status, "status_transitions": transitions})


def _closed(bill: Obj, status: str, when: str, now: int) -> Obj:
    """No payment is attempted any more."""
    transitions = {**bill["status_transitions"], when: now}
    fields = {"auto_advance": False, "next_payment_attempt": None, "status": status}
    return {**bill, **fields, "status_transitions": transitions}


def cancel_payments(tx: Transaction, bill: Obj) -> None:
    """Nobody can pay by them any more."""
    _close_payments(tx, bill, "canceled", amount_paid=None, canceled_at=tx.now)
    fields = {"canceled_at": tx.wall, "cancellation_reason": "void_invoice", "status": "canceled"}
    _settle_intent(tx, bill, "payment_intent.canceled", **fields)


def void(tx: Transaction, bill: Obj) -> Obj:
    voided = tx.put(_closed(bill, "void", "voided_at", tx.now))
    cancel_payments(tx, bill)
    prorations.restore_balance(tx, bill)
    tx.emit("invoice.voided", voided)
    standing.after_void(tx, voided)
    return voided


def mark_uncollectible(tx: Transaction, bill: Obj) -> Obj:
    marked = tx.put(_closed(bill, "uncollectible", "marked_uncollectible_at", tx.now))
    tx.emit("invoice.marked_uncollectible", marked)
    standing.set_delinquent(tx, bill["customer"], delinquent=False)
    if standing.subscription_of(tx, bill)["status"] != "incomplete":
        standing.after_payment(tx, marked)
    return marked


def overdue(tx: Transaction, bill: Obj) -> None:
    """An invoice that was sent is not paid by its due date."""
    tx.emit("invoice.overdue", bill)
    standing.set_delinquent(tx, bill["customer"], delinquent=True)
    standing.after_failure(tx, bill, None)


def stop(tx: Transaction, bill: Obj) -> None:
    """The subscription has ended: nothing is collected any more."""
    tx.emit("invoice.updated", tx.put({**bill, **dict.fromkeys(_ADVANCING), "auto_advance": False}), bill)


_ADVANCING = ("automatically_finalizes_at", "next_payment_attempt")
