"""Which of the objects that a look finds is the user's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.domain.provisioning import has_ended, our_customer, usable_subscription
from worker.domain.stripe_facts import TERMINAL_STATUSES, CustomerFact, SubscriptionFact

OURS = "our-digest"
START = datetime(2026, 1, 1, tzinfo=UTC)
STATUSES = ["trialing", "active", "past_due", "unpaid", "paused", "incomplete", "a new one", *sorted(TERMINAL_STATUSES)]


def customer(number: int, digest: str | None, day: int) -> CustomerFact:
    return CustomerFact(f"cus_{number}", digest, START + timedelta(days=day))


def subscription(number: int, digest: str | None, status: str, day: int = 0) -> SubscriptionFact:
    return SubscriptionFact(
        id=f"sub_{number}",
        customer_id="cus_1",
        user_digest=digest,
        price_id="price_1",
        price_lookup_key=None,
        status=status,
        canceling=False,
        trial_start=None,
        trial_end=None,
        period_start=None,
        period_end=None,
        canceled_at=None,
        ended_at=None,
        created=START + timedelta(days=day),
    )


digests = st.sampled_from([OURS, "somebody else's", None])
customers = st.lists(st.builds(customer, st.integers(0, 9), digests, st.integers(0, 3)), unique_by=lambda each: each.id)
subscriptions = st.lists(
    st.builds(subscription, st.integers(0, 9), digests, st.sampled_from(STATUSES), st.integers(0, 3)),
    unique_by=lambda each: each.id,
)


@given(customers)
def test_our_customer_is_the_oldest_with_our_digest_in_whatever_order(found: list[CustomerFact]) -> None:
    chosen = our_customer(found, OURS)
    ours = [each for each in found if each.user_digest == OURS]
    assert (chosen is None) == (not ours)
    assert chosen is None or (chosen in ours and chosen.created == min(each.created for each in ours))
    assert our_customer(reversed(found), OURS) == chosen


@given(subscriptions)
def test_a_subscription_that_ended_or_is_another_users_is_never_adopted(found: list[SubscriptionFact]) -> None:
    chosen = usable_subscription(found, OURS)
    possible = [s for s in found if s.status not in TERMINAL_STATUSES and s.user_digest != "somebody else's"]
    assert (chosen is None) == (not possible)
    assert chosen is None or chosen in possible
    assert usable_subscription(reversed(found), OURS) == chosen


def test_ours_comes_before_an_older_one_that_nobody_marked() -> None:
    unmarked, ours = subscription(1, None, "active", day=0), subscription(2, OURS, "trialing", day=3)
    assert usable_subscription([unmarked, ours], OURS) == ours
    assert usable_subscription([unmarked], OURS) == unmarked


def test_only_our_own_ended_subscription_means_that_its_key_is_spent() -> None:
    assert has_ended([subscription(1, OURS, "canceled")], OURS)
    assert has_ended([subscription(1, OURS, "incomplete_expired")], OURS)
    assert not has_ended([subscription(1, None, "canceled")], OURS)
    assert not has_ended([subscription(1, "somebody else's", "canceled")], OURS)
    assert not has_ended([subscription(1, OURS, "paused")], OURS)
    assert not has_ended([], OURS)
