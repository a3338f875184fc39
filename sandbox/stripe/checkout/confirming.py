"""/v1/payment_pages/{session}/confirm: what Checkout's page asks of Stripe, for who completes a session without it.

It isn't in Stripe's documentation; `stripe trigger checkout.session.completed` asks the same
(https://github.com/stripe/stripe-cli, pkg/fixtures/triggers). Of its answer nobody should rely on more than the id.
"""

from __future__ import annotations

from sandbox.stripe.call import Context
from sandbox.stripe.checkout import completing
from sandbox.stripe.checkout.sessions import KIND
from sandbox.stripe.errors import refused
from sandbox.stripe.lists import EXPAND, alive
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Spec, integer, text
from sandbox.stripe.payment_methods import resolve

CONFIRM = Spec({"expand": EXPAND, "expected_amount": integer(0), "payment_method": text()}, ("payment_method",))


def confirm(ctx: Context) -> Obj:
    """Completes the session by that card (402: declined); one whose owner is to be asked leaves it open."""
    session = alive(ctx, KIND, ctx.identifier)
    if session["status"] != "open":
        raise refused(f"This Checkout Session is {session['status']} and can no longer be confirmed.")
    if ctx.params.get("expected_amount", session["amount_total"]) != session["amount_total"]:
        raise refused("The amount has changed.", param="expected_amount", code="checkout_amount_mismatch")
    method = resolve(ctx, ctx.params["payment_method"], "payment_method")
    after = completing.complete(ctx, session, method, method["billing_details"]["email"])
    page = f"ppage_{session['id'].rpartition('_')[2]}"
    return {"id": page, "object": "payment_page", "session_id": session["id"], "status": after["status"]}
