"""Which of the objects that a look finds is the user's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.domain.adoption import has_expired, subscription_to_adopt
from worker.domain.provisioning import our_customer
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
def test_ours_that_lives_comes_before_somebody_s_that_lives_and_that_before_ours_that_ended(
    found: list[SubscriptionFact],
) -> None:
    def rank(each: SubscriptionFact) -> int | None:
        lives = each.status not in {*TERMINAL_STATUSES, "incomplete"}
        if each.user_digest == OURS:
            return 0 if lives else None if each.status == "incomplete_expired" else 2
        return 1 if lives and each.user_digest is None else None

    ranks = [number for each in found if (number := rank(each)) is not None]
    chosen = subscription_to_adopt(found, OURS)
    assert (chosen is None) == (not ranks)
    if chosen is not None:
        assert rank(chosen) == min(ranks)
        equals = [each for each in found if rank(each) == rank(chosen)]
        created = [each.created for each in equals]
        assert chosen.created == (max(created) if rank(chosen) == 2 else min(created))
    assert subscription_to_adopt([*reversed(found)], OURS) == chosen


def test_a_canceled_duplicate_beside_a_living_one_is_not_adopted() -> None:
    canceled, living = subscription(1, OURS, "canceled", day=0), subscription(2, OURS, "trialing", day=3)
    assert subscription_to_adopt([canceled, living], OURS) == living


def test_one_that_lives_and_that_nobody_marked_comes_before_ours_that_was_canceled() -> None:
    canceled, unmarked = subscription(1, OURS, "canceled", day=0), subscription(2, None, "active", day=3)
    assert subscription_to_adopt([canceled, unmarked], OURS) == unmarked


def test_ours_that_was_canceled_is_the_one_that_the_profile_has_had() -> None:
    canceled, another = subscription(1, OURS, "canceled", day=0), subscription(2, OURS, "canceled", day=3)
    assert subscription_to_adopt([canceled], OURS) == canceled
    assert subscription_to_adopt([canceled, another], OURS) == another
    assert subscription_to_adopt([canceled, subscription(3, None, "incomplete")], OURS) == canceled


def test_what_was_never_paid_for_or_was_somebody_s_and_ended_is_nothing_to_adopt() -> None:
    found = [subscription(1, OURS, "incomplete_expired"), subscription(2, None, "canceled")]
    found += [subscription(3, None, "incomplete"), subscription(4, "somebody else's", "active")]
    assert subscription_to_adopt(found, OURS) is None
    assert has_expired(found, OURS)
    assert not has_expired(found[1:], OURS)
    assert not has_expired([subscription(1, OURS, "canceled")], OURS)
