"""What the doctor finds at Stripe, with which key."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.integration.doctor.conftest import Examine
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Stack
from worker.runtime.doctor.findings import Verdict

READS = ["customer_read", "event_read", "subscription_read", "product_read", "plan_read"]


def test_a_refused_key_is_a_problem_and_hides_nothing_else(stack: Stack, examined: Examine) -> None:
    stack.control.put_key(stack.stripe.secret_key, revoked=True)
    found = examined(stack)
    assert found.unwell == {"stripe": Verdict.PROBLEM}
    assert "STRIPE_SECRET_KEY" in found.one("stripe").detail
    assert found.one("stripe.prices").verdict is Verdict.SKIPPED
    assert found.one("postgres.grants").verdict is Verdict.OK
    assert "not known" in found.one("deployment").detail


def test_a_stripe_that_does_not_answer_is_named_by_its_address(stack: Stack, examined: Examine) -> None:
    found = examined(stack, SUBKEEPER_STRIPE__API_BASE="http://127.0.0.1:1").one("stripe")
    assert (found.verdict, "http://127.0.0.1:1" in found.detail) == (Verdict.PROBLEM, True)
    assert "stripe.api_base" in found.fix


@pytest.mark.parametrize("lacks", READS)
def test_a_restricted_key_that_may_not_read_is_told_what_it_lacks(stack: Stack, examined: Examine, lacks: str) -> None:
    stack.control.put_key("rk_test_restricted", [each for each in READS if each != lacks])
    found = examined(stack, STRIPE_SECRET_KEY="rk_test_restricted").one("stripe.permissions")
    resource = {"plan_read": "prices"}.get(lacks, lacks.replace("_read", "s"))
    assert (found.verdict, resource in found.detail) == (Verdict.PROBLEM, True)
    assert resource in found.fix


def test_that_a_restricted_key_may_write_is_not_claimed(stack: Stack, examined: Examine) -> None:
    stack.control.put_key("rk_test_restricted", READS)
    found = examined(stack, STRIPE_SECRET_KEY="rk_test_restricted").one("stripe.permissions")
    assert (found.verdict, "can't be told without writing" in found.detail) == (Verdict.OK, True)


def test_a_key_of_another_account_is_a_problem(stack: Stack, new_stack: NewStack, examined: Examine) -> None:
    other = new_stack(database_url=stack.database_url)
    found = examined(other).one("deployment")
    assert found.verdict is Verdict.PROBLEM
    assert stack.stripe.account in found.detail
    assert other.stripe.account in found.detail


def test_another_database_with_this_account_and_namespace_is_a_problem(stack: Stack, examined: Examine) -> None:
    assert examined(stack).one("deployment.products").verdict is Verdict.OK
    stack.rows("UPDATE deployment SET database_id = gen_random_uuid()")
    found = examined(stack).one("deployment.products")
    assert (found.verdict, "setup --take-over" in found.fix) == (Verdict.PROBLEM, True)


def test_another_namespace_is_a_problem_even_without_stripe(stack: Stack, examined: Examine) -> None:
    found = examined(stack, SUBKEEPER_NAMESPACE="other", SUBKEEPER_STRIPE__API_BASE="http://127.0.0.1:1")
    assert (found.one("deployment").verdict, "namespace" in found.one("deployment").detail) == (Verdict.PROBLEM, True)


def test_before_setup_each_thing_that_is_missing_is_setups_to_make(new_stack: NewStack, examined: Examine) -> None:
    found = examined(new_stack())
    assert found.unwell.keys() == {"nsqd.channels", "stripe.prices", "deployment"}
    fixes = {each.fix for each in found.findings if each.fix}
    assert fixes == {"Run `subkeeper setup`"}


@pytest.mark.parametrize(
    ("change", "said", "fix"),
    [
        (lambda stack: archive(stack, "prices", stack.price()["id"]), "is archived", "Activate it"),
        (lambda stack: archive(stack, "products", stack.price()["product"]), "is archived", "Unarchive"),
    ],
    ids=["price", "product"],
)
def test_a_price_that_cannot_be_used_is_a_problem(
    stack: Stack, examined: Examine, change: Callable[[Stack], object], said: str, fix: str
) -> None:
    change(stack)
    found = examined(stack).one("stripe.prices")
    assert (found.verdict, said in found.detail, fix in found.fix) == (Verdict.PROBLEM, True, True)


def archive(stack: Stack, kind: str, name: str) -> None:
    stack.call_stripe("POST", f"/v1/{kind}/{name}", active="false")


def test_a_price_that_is_not_the_configured_one_is_a_problem(stack: Stack, examined: Examine) -> None:
    found = examined(stack, SUBKEEPER_PLANS__PENDING__UNIT_AMOUNT="900").one("stripe.prices")
    assert (found.verdict, "0 usd a month, not 900 usd a month" in found.detail) == (Verdict.PROBLEM, True)


def test_a_test_clock_that_is_not_there_is_a_problem(stack: Stack, examined: Examine) -> None:
    frozen = str(int(time.time()) + 36 * 3600)
    clock = stack.call_stripe("POST", "/v1/test_helpers/test_clocks", frozen_time=frozen)["id"]
    found = [examined(stack, SUBKEEPER_STRIPE__TEST_CLOCK=each).one("stripe.test_clock") for each in (clock, "clock_0")]
    assert [each.verdict for each in found] == [Verdict.OK, Verdict.PROBLEM]
    assert "1.5 days ahead" in found[0].detail


def test_every_plan_is_looked_at(stack: Stack, examined: Examine) -> None:
    found = examined(stack, SUBKEEPER_PLANS__PENDING__NAME="Pending", SUBKEEPER_PLANS__PRO__LOOKUP_KEY="pro")
    assert [each.verdict for each in found.of("stripe.prices")] == [Verdict.OK, Verdict.PROBLEM]


def test_stripes_clock_is_compared(stack: Stack, examined: Examine) -> None:
    stack.control.jump(7200)
    postgres, stripe = examined(stack).of("clocks")
    assert (postgres.verdict, stripe.verdict) == (Verdict.OK, Verdict.PROBLEM)
    assert "ahead of this machine's" in stripe.detail


def test_a_key_that_may_not_read_invoices_is_told_where_they_are_to_be_charged(stack: Stack, examined: Examine) -> None:
    on = {"SUBKEEPER_CHARGING__IN_ORDER": "true"}
    assert examined(stack, **on).one("stripe.charging").verdict is Verdict.OK
    stack.control.put_key("rk_test_restricted", READS)
    found = examined(stack, STRIPE_SECRET_KEY="rk_test_restricted", **on).one("stripe.charging")
    assert (found.verdict, "invoices" in found.fix) == (Verdict.PROBLEM, True)
