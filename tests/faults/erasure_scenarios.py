"""A user who is erased while processes die: what there is of them, and what is to be left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from sandbox.ports import free_port
from tests.faults import account_scenarios as accounts
from tests.faults import charge_scenarios as charging
from tests.faults import page_scenarios as pages
from tests.faults.account_scenarios import Asked
from tests.faults.launcher import Launched
from tests.faults.tally import SOMEBODY_ELSE
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until
from worker.domain.event import TYPES
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


# Of whom another process was at something when it died: it is asked for then, and waits for whoever goes on with that


def asked_of_the_web(stack: Stack, launched: Launched) -> None:
    launched.await_end(60)
    stack.start_worker("web")
    _ask(stack)


def asked_while_paying(stack: Stack, launched: Launched) -> None:
    """It is the web process that has died."""
    pages.paying_unpolled(stack, launched)
    _ask(stack)


def _ask(stack: Stack) -> None:
    """By the command, which needn't be waited for."""
    stack.spawn("erase", "user-0", "--yes")
    wait_until(lambda: stack.rows("SELECT 1 FROM account_changes WHERE kind = 'erase'"), 30, "it is asked for")


def comes_to_its_end(check: Callable[[Stack], None]) -> Callable[[Stack], Mapping[str, str]]:
    """And all that Stripe has told, heard once more, brings nothing back; nothing is left waiting."""

    def wait(stack: Stack) -> Mapping[str, str]:
        wait_until(lambda: stack.rows("SELECT 1 FROM provisionings WHERE state = 'erased'"), 40, "the user is erased")
        with_events = stack.start_worker("events")
        told = stack.events(*TYPES)
        stack.hear(*told)
        stack.await_heard(*told)
        waiting = (
            "SELECT 1 FROM subscription_refreshes UNION ALL SELECT 1 FROM failing_invoices UNION ALL"
            " SELECT 1 FROM account_changes WHERE state = 'pending'"
        )
        wait_until(lambda: not stack.rows(waiting), 30, "nothing waits")
        with_events.stop()
        assert not stack.rows("SELECT 1 FROM billing_subscriptions UNION ALL SELECT 1 FROM charge_tries")
        assert not stack.rows("SELECT 1 FROM checkouts UNION ALL SELECT 1 FROM payment_methods")
        assert not stack.rows("SELECT 1 FROM billing_customers WHERE deleted_at IS NULL")
        check(stack)
        return ERASED

    return wait


def signing_up(stack: Stack) -> Mapping[str, str]:
    stack.environ["SUBKEEPER_WEB__PORT"] = str(free_port())
    stack.publish(profile("user-0"))
    return {}


def leaves_nothing(stack: Stack) -> None:
    """What was made was made once, and is gone."""
    made = _events(stack)
    assert made["customer.created"] == made["customer.deleted"] <= 1
    assert made["customer.subscription.created"] == made["customer.subscription.deleted"] <= 1


def hearing(stack: Stack) -> Mapping[str, str]:
    """A subscription has moved, and there is another one, which somebody has begun in the dashboard."""
    expected, customer = accounts.arranged(stack), str(stack.customers("user-0")[0]["id"])
    path = f"/v1/subscriptions/{stack.ledger('user-0')['stripe_subscription_id']}"
    stack.call_stripe("POST", path, cancel_at_period_end="true")
    form = {"customer": customer, "items[0][price]": stack.price()["id"], "trial_period_days": "9"}
    stack.call_stripe("POST", "/v1/subscriptions", **form)
    stack.hear(*stack.events(*TYPES))
    return expected


def is_heard_in_vain(stack: Stack) -> None:
    """The other one may have been adopted before: then its end was told, too."""
    made = _events(stack)
    assert (made["customer.deleted"], made["customer.subscription.deleted"]) == (1, 2)
    told = stack.rows("SELECT stripe_subscription_id AS id, before, after FROM subscription_changes")
    begun = Counter(each["id"] for each in told if each["before"] is None)
    assert begun == Counter(each["id"] for each in told if each["after"] is None)
    assert set(begun.values()) == {1}
    stack.rows("DELETE FROM subscription_changes")


def is_charged_once(stack: Stack) -> None:
    """If the card that pays was tried: by one request, however often that was sent; the one that doesn't, once."""
    asked = [each for each in stack.control.requests() if each["path"].endswith("/pay") and each["method"] == "POST"]
    paid = {each["idempotency_key"] for each in asked if each["status"] == 200}
    assert len(stack.events("payment_intent.succeeded")) == len(paid) <= 1
    assert len(stack.events(charging.FAILED)) <= 2
    assert _events(stack)["customer.deleted"] == 1


def is_applied_first(stack: Stack) -> None:
    made = _events(stack)
    ended = ("customer.deleted", "customer.subscription.deleted", "payment_method.attached")
    assert [made[each] for each in ended] == [1, 1, 1]


def _events(stack: Stack) -> Counter[str]:
    return Counter(each["type"] for each in stack.events(*TYPES))
