"""A user who is erased while processes die: what there is of them, and what is to be left."""

from __future__ import annotations

from collections.abc import Mapping

from tests.faults import account_scenarios as accounts
from tests.faults import page_scenarios as pages
from tests.faults.account_scenarios import Asked
from tests.faults.tally import SOMEBODY_ELSE
from tests.support.stack import Stack
from worker.sealing import Sealer

ERASURE = Asked("POST", "/customers/user-0/erase", None, 200)
ERASED = {"user-0": "erased"}


def arranged(stack: Stack) -> Mapping[str, str]:
    """On a page of Checkout's, and with a message in quarantine."""
    expected = pages.another_open(stack)
    sealed = Sealer([stack.environ["SUBKEEPER_SECRET_KEY"]]).seal(b'{"id": "user-0", "email": 1}', b"t")
    stack.rows(
        "INSERT INTO quarantined_messages (topic, nsq_message_id, reason, detail, sealed_body, body_digest,"
        " published_at, expires_at) VALUES ('t', '1', 'email_not_text', '', %s, '', now(), now() + interval '1 day')",
        sealed,
    )
    return expected


def shared(stack: Stack) -> Mapping[str, str]:
    """Their customer is somebody else's, too."""
    expected = accounts.arranged(stack)
    stack.rows(
        "INSERT INTO billing_owners (billing_customer_id, owner_kind, owner_id, role)"
        " SELECT id, 'project', 'p', 'payer' FROM billing_customers"
    )
    return expected


def is_erased(stack: Stack) -> None:
    """Each thing was done once."""
    _is_gone_here(stack)
    kinds = ("customer.deleted", "customer.subscription.deleted", "checkout.session.expired")
    assert sorted(each["type"] for each in stack.events(*kinds)) == sorted(kinds)
    assert not stack.rows("SELECT 1 FROM checkouts UNION ALL SELECT 1 FROM payment_methods")
    assert not stack.rows("SELECT 1 FROM billing_customers WHERE deleted_at IS NULL")


def is_taken_out(stack: Stack) -> None:
    """The customer stays, and names nobody."""
    _is_gone_here(stack)
    (customer,) = stack.control.state()["customers"]
    (subscription,) = stack.control.state()["subscriptions"]
    assert (customer["metadata"], subscription["metadata"], subscription["status"]) == ({}, {}, "canceled")
    assert len(stack.events("customer.subscription.deleted")) == 1
    roles = stack.rows("SELECT owner_id, role FROM billing_owners ORDER BY 1")
    assert [tuple(each.values()) for each in roles] == [("p", "payer"), ("user-0", None)]
    stack.call_stripe("POST", f"/v1/customers/{customer['id']}", name=SOMEBODY_ELSE)
    stack.rows("DELETE FROM billing_customers")


def _is_gone_here(stack: Stack) -> None:
    assert not stack.rows("SELECT 1 FROM billing_subscriptions UNION ALL SELECT 1 FROM subscription_refreshes")
    (told,) = stack.rows("SELECT version FROM subscription_changes WHERE after IS NULL")
    (tombstone,) = stack.rows("SELECT version FROM subscription_tombstones")
    assert told == tombstone
