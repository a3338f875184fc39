"""Invoices whose payment is declined while the process dies that tries other cards: what is arranged, and what is to
come of it."""

from __future__ import annotations

from collections.abc import Mapping

from tests.faults import page_scenarios as pages
from tests.support.stack import Stack

ENVIRON = {**pages.ENVIRON, "SUBKEEPER_CHARGING__IN_ORDER": "true"}
FAILED = "invoice.payment_failed"


def owing(stack: Stack) -> Mapping[str, str]:
    """The default card was declined, the next one will be, and the last one pays; an invoice is marked that Stripe
    doesn't have."""
    expected, customer = pages.owing(stack), str(stack.customers("user-0")[0]["id"])
    (default,) = stack.call_stripe("GET", f"/v1/customers/{customer}/payment_methods")["data"]
    others = [
        stack.call_stripe("POST", f"/v1/payment_methods/{name}/attach", customer=customer)["id"]
        for name in ("pm_card_chargeCustomerFail", "pm_card_visa")
    ]
    stack.rows(
        "INSERT INTO payment_methods (billing_customer_id, stripe_payment_method_id, priority)"
        " SELECT id, unnest(%s::text[]), generate_series(1, 3) FROM billing_customers",
        [default["id"], *others],
    )
    stack.rows("INSERT INTO failing_invoices (stripe_invoice_id) VALUES ('in_nowhere')")
    stack.hear(*stack.events(FAILED))
    return expected


def unanswered(stack: Stack) -> Mapping[str, str]:
    """Stripe does what it is asked, and says that it is away."""
    expected = owing(stack)
    match = {"path": f"/v1/invoices/{_owed(stack)}/pay", "method": "POST"}
    stack.control.fault("status", match=match, status=503, times=1, when="after", sticky=False)
    return expected


def forgotten(stack: Stack) -> Mapping[str, str]:
    """A try was begun a day ago, and nobody knows what came of it."""
    expected = owing(stack)
    stack.rows(
        """
        INSERT INTO charge_tries
            (stripe_invoice_id, attempt_count, stripe_payment_method_id, stripe_customer_id, is_ours, asked_at)
        SELECT %s, 1, p.stripe_payment_method_id, c.stripe_customer_id, true, now() - interval '1 day'
        FROM payment_methods p JOIN billing_customers c ON c.id = p.billing_customer_id WHERE p.priority = 3
        """,
        _owed(stack),
    )
    return expected


def is_paid_once(stack: Stack) -> bool:
    """Nothing is left to be looked at, no card was charged twice for it, and the invoice is paid."""
    left = "SELECT 1 FROM failing_invoices UNION ALL SELECT 1 FROM charge_tries WHERE outcome IS NULL"
    if stack.rows(left) or not stack.rows("SELECT 1 FROM charge_tries WHERE outcome = 'paid'"):
        return False
    paid = stack.call_stripe("GET", "/v1/invoices?status=paid")["data"]
    assert [each["amount_paid"] for each in paid if each["amount_paid"]] == [900]
    assert len(stack.events("payment_intent.succeeded")) == 1
    assert len(stack.events(FAILED)) <= 2, "each card that is declined was tried once"
    return True


def _owed(stack: Stack) -> str:
    (owed,) = stack.call_stripe("GET", "/v1/invoices?status=open")["data"]
    return str(owed["id"])
