"""What the gateway makes of Stripe's answers: pages, refusals, throttling, a rotated key."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest

from tests.integration.stripe_api.conftest import WEIGHTS, NewGateway
from tests.integration.stripe_api.peer import Peer, Step, answer, drop, refuse
from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.errors import Misconfigured, Rejected, SubkeeperError, TryLater
from worker.settings.sections import StripeSettings
from worker.stripe_api.errors import KeyBurnt, KeyInUse, Throttled, Unauthorized, Unclear
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.limiter.limiter import Limiter, account_rate, limiter_for
from worker.telemetry import Metrics

ACCOUNT = {"id": "acct_1"}
REFUSED_KEY = refuse(401, type="invalid_request_error")


def customer(number: int) -> dict[str, object]:
    return {"id": f"cus_{number}", "created": 1_800_000_000 + number, "metadata": {}}


def subscription(number: int) -> dict[str, object]:
    item = {"price": {"id": "price_1", "lookup_key": None}, "current_period_start": 1, "current_period_end": 2}
    unset = dict.fromkeys(
        ("cancel_at", "trial_start", "trial_end", "canceled_at", "ended_at", "default_payment_method")
    )
    return {
        **customer(number),
        "id": f"sub_{number}",
        "customer": "cus_1",
        "status": "active",
        "cancel_at_period_end": False,
        "items": {"data": [item], "has_more": False},
        **unset,
    }


def page(*numbers: int, has_more: bool = False) -> Step:
    return answer({"data": [customer(number) for number in numbers], "has_more": has_more})


def subscription_page(*numbers: int, has_more: bool = False) -> Step:
    return answer({"data": [subscription(number) for number in numbers], "has_more": has_more})


def create(gateway: StripeGateway) -> str:
    made = gateway.create_customer({}, key="key-1", lane=Lane.LIVE, deadline=Deadline.after(10))
    return made.value.id


def subscriptions(gateway: StripeGateway, seconds: float = 10) -> list[str]:
    found = gateway.subscriptions_of("cus_1", lane=Lane.RETRY, deadline=Deadline.after(seconds))
    return [each.id for each in found.value]


def test_a_list_is_read_to_its_last_page(new_gateway: NewGateway) -> None:
    with Peer(subscription_page(1, 2, has_more=True), subscription_page(3)) as peer:
        assert subscriptions(new_gateway(peer.url)) == ["sub_1", "sub_2", "sub_3"]
    first, second = (request.params for request in peer.requests)
    assert first == {"customer": "cus_1", "status": "all", "limit": "100", "expand[0]": "data.customer"}
    assert second == {**first, "starting_after": "sub_2"}


def test_every_page_checks_the_deadline(new_gateway: NewGateway) -> None:
    with Peer(subscription_page(1, has_more=True)) as peer, pytest.raises(TryLater):
        subscriptions(new_gateway(peer.url), seconds=0.6)
    assert len(peer.requests) > 1


def test_customers_are_listed_page_by_page_by_whoever_asks(new_gateway: NewGateway) -> None:
    with Peer(page(2, 1, has_more=True)) as peer:
        until = datetime.fromtimestamp(1_800_000_002.5, UTC)
        found = new_gateway(peer.url).customers_page(
            email="a", until=until, after="cus_3", lane=Lane.LIVE, deadline=Deadline.after(10)
        )
    assert [each.id for each in found.customers] == ["cus_2", "cus_1"]
    assert found.more
    assert peer.requests[0].params == {
        "limit": "100", "email": "a", "created[lte]": "1800000003", "starting_after": "cus_3"
    }  # fmt: skip


def test_a_search_asks_for_several_digests_at_once(new_gateway: NewGateway) -> None:
    with Peer(page(1, 2)) as peer:
        found = new_gateway(peer.url).customers_by_digest_search(
            ["d1", "d2"], lane=Lane.LIVE, deadline=Deadline.after(10)
        )
    assert [each.id for each in found] == ["cus_1", "cus_2"]
    assert peer.requests[0].params["query"] == "metadata['subkeeper']:'d1' OR metadata['subkeeper']:'d2'"


def test_a_list_that_has_more_and_shows_nothing_is_incomplete(new_gateway: NewGateway) -> None:
    with Peer(page(has_more=True)) as peer:
        with pytest.raises(Rejected, match="stripe_answer_incomplete"):
            new_gateway(peer.url).customers_page(lane=Lane.LIVE, deadline=Deadline.after(10))
        with pytest.raises(Rejected, match="stripe_answer_incomplete"):
            subscriptions(new_gateway(peer.url))


def test_a_deleted_customer_is_none(new_gateway: NewGateway) -> None:
    with Peer(answer({"id": "cus_1", "deleted": True})) as peer:
        gateway = new_gateway(peer.url)
        assert gateway.customer("cus_1", lane=Lane.LIVE, deadline=Deadline.after(10)).value is None


def test_a_product_that_is_not_there_is_none(new_gateway: NewGateway) -> None:
    with Peer(answer({"data": [], "has_more": False})) as peer:
        assert new_gateway(peer.url).products.find("prod_1", deadline=Deadline.after(10)) is None
    assert peer.requests[0].params["ids[0]"] == "prod_1"


def test_an_id_cannot_lead_elsewhere(new_gateway: NewGateway) -> None:
    with Peer(answer({"id": "cus_1", "deleted": True})) as peer:
        new_gateway(peer.url).customer("../account?x", lane=Lane.LIVE, deadline=Deadline.after(10))
    assert peer.requests[0].path == "/v1/customers/..%2Faccount%3Fx"


def test_a_replayed_answer_says_so(new_gateway: NewGateway) -> None:
    with Peer(answer(customer(1), headers={"Idempotent-Replayed": "true"})) as peer:
        made = new_gateway(peer.url).create_customer({}, key="k", lane=Lane.LIVE, deadline=Deadline.after(10))
    assert made.replayed
    assert made.request_id == "req_1"


@pytest.mark.parametrize(
    ("step", "expected", "attempts"),
    [
        (refuse(500, type="api_error"), Unclear, 1),
        (refuse(500, {"Idempotent-Replayed": "true"}, type="api_error"), KeyBurnt, 1),
        (refuse(409, type="idempotency_error", code="idempotency_key_in_use"), KeyInUse, 3),
        (refuse(429, {"Stripe-Rate-Limited-Reason": "global-rate"}, type="x"), Throttled, 3),
    ],
)
def test_only_what_may_pass_at_once_is_tried_again_at_once(
    new_gateway: NewGateway, step: Step, expected: type[SubkeeperError], attempts: int
) -> None:
    with Peer(step) as peer, pytest.raises(expected):
        create(new_gateway(peer.url))
    assert len(peer.requests) >= attempts
    assert attempts > 1 or len(peer.requests) == 1


def test_a_429_slows_the_budget_that_it_names(new_gateway: NewGateway) -> None:
    limiter = Limiter(100, 25, weights=WEIGHTS)
    step = refuse(429, {"Stripe-Rate-Limited-Reason": "endpoint-rate"}, type="invalid_request_error")
    with Peer(step) as peer, pytest.raises(Throttled):
        create(new_gateway(peer.url, limiter=limiter))
    assert limiter.rates()["account"] == 100
    assert limiter.rates()["customers.create"] < 20


def test_a_lock_timeout_slows_its_endpoint_alone(new_gateway: NewGateway) -> None:
    limiter = Limiter(100, 25, weights=WEIGHTS)
    step = refuse(429, type="invalid_request_error", code="lock_timeout")
    with Peer(step) as peer, pytest.raises(Throttled):
        create(new_gateway(peer.url, limiter=limiter))
    assert limiter.rates()["account"] == 100


def test_a_rotated_key_is_taken_up_when_the_old_one_is_refused(new_gateway: NewGateway) -> None:
    keys = iter(["sk_test_old", "sk_test_new"])
    with Peer(answer(ACCOUNT), REFUSED_KEY, answer(ACCOUNT), answer(customer(1))) as peer:
        gateway = new_gateway(peer.url, secret_key=lambda: next(keys))
        gateway.opened_on(gateway.account(Deadline.after(10)))
        assert create(gateway) == "cus_1"
    sent = [(request.path, request.headers["authorization"]) for request in peer.requests]
    assert sent[1:] == [
        ("/v1/customers", "Bearer sk_test_old"),
        ("/v1/account", "Bearer sk_test_new"),
        ("/v1/customers", "Bearer sk_test_new"),
    ]


def test_a_key_of_another_account_is_not_taken_up(new_gateway: NewGateway) -> None:
    keys = iter(["sk_test_old", "sk_test_new"])
    with Peer(answer(ACCOUNT), answer({"id": "acct_2"})) as peer:
        gateway = new_gateway(peer.url, secret_key=lambda: next(keys))
        gateway.opened_on(gateway.account(Deadline.after(10)))
        with pytest.raises(Misconfigured, match="another Stripe account"):
            gateway.reload()


def test_a_refused_key_that_was_not_rotated_is_for_a_person(new_gateway: NewGateway) -> None:
    with Peer(REFUSED_KEY) as peer, pytest.raises(Unauthorized):
        create(new_gateway(peer.url))
    assert len(peer.requests) == 1


def test_a_live_key_beside_livemode_false_is_refused(new_gateway: NewGateway) -> None:
    with pytest.raises(Misconfigured, match="livemode"):
        new_gateway("https://api.stripe.com", secret_key=lambda: "rk_live_1")


def test_every_attempt_is_counted_with_its_outcome(new_gateway: NewGateway, metrics: Metrics) -> None:
    with Peer(drop, answer(customer(1))) as peer:
        create(new_gateway(peer.url))

    def counted(outcome: str) -> float | None:
        labels = {"operation": "customers.create", "outcome": outcome}
        return metrics.registry.get_sample_value("subkeeper_stripe_calls_total", labels)

    assert (counted("unclear"), counted("ok")) == (1, 1)
    waits = metrics.registry.get_sample_value("subkeeper_limiter_wait_seconds_count", {"lane": "live"})
    assert waits == 2


def test_the_limits_follow_from_the_key_unless_they_are_set() -> None:
    assert [account_rate(key) for key in ("sk_live_1", "rk_live_1", "sk_test_1", "rk_test_1")] == [100, 100, 25, 25]
    chosen = StripeSettings(requests_per_second=50, share=0.5)
    assert limiter_for(StripeSettings(), "sk_live_1", WEIGHTS).rates() == {"account": 80}
    assert limiter_for(chosen, "sk_live_1", WEIGHTS).rates() == {"account": 25}


IN_2036 = "Thu, 01 May 2036 00:00:00 GMT"


@pytest.mark.parametrize(
    ("step", "heard"),
    [
        (answer(customer(1), headers={"Date": IN_2036}), True),
        (refuse(402, {"Date": IN_2036}, type="card_error"), True),
        (refuse(503, {"Date": IN_2036}, type="api_error"), True),
        (refuse(502, {"Date": IN_2036}), False),
        (answer("<html>Bad Gateway</html>", 502, {"Date": IN_2036}), False),
        (answer("<html>welcome to the hotel's network</html>", 200, {"Date": IN_2036}), False),
        (answer({"error": "not an object"}, 404, {"Date": IN_2036}), False),
    ],
    ids=["answer", "refusal", "failure", "an error without a type", "proxy", "portal", "somebody else's JSON"],
)
def test_the_time_is_read_off_stripe_s_answers_and_typed_errors_not_off_a_proxy_s_page(
    new_gateway: NewGateway, step: Step, heard: bool
) -> None:
    with Peer(step) as peer:
        gateway = new_gateway(peer.url)
        assert gateway.clock.known() is None
        with suppress(SubkeeperError):
            create(gateway)
    known = gateway.clock.known()
    assert (known is not None and known.year == 2036) if heard else known is None
