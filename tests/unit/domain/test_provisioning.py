"""The rules of a user's ledger row: keys, looks, what is adopted, what is sent, when it is tried again."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.domain.rows import NOW, row
from worker.domain.clocks import CLOCKS_AGREE
from worker.domain.lanes import Lane
from worker.domain.provisioning import (
    BEGINNING,
    KEY_TRUSTED_BY_CREATION,
    KEY_TRUSTED_FOR,
    LONGEST_RETRY,
    LOOK_MARGIN,
    RENEWAL_MARGIN,
    SHORTEST_TRIAL_TO_SEND,
    Requested,
    State,
    Step,
    customer_request,
    idempotency_key,
    look_window,
    must_look,
    rarer_delay,
    renewal_wait,
    retry_delay,
    retry_lane,
    step_key,
    subscription_request,
    trial_is_spent,
    user_digest,
)

SECOND = timedelta(seconds=1)
texts = st.text(min_size=1, max_size=20)


def asked(ago: timedelta) -> Requested:
    return Requested(NOW - ago, NOW)


# Digests and keys


def test_digests_and_keys_stay_what_they_are() -> None:
    """Golden values: a change here would give every user of a running deployment a second customer."""
    assert user_digest("subkeeper", "u1") == "34556fa3f62f3b6b3ac8256cfd6312ee4e6a2ce01d2f4d1956cf9da1ca925932"
    assert user_digest("subkeeper", "Zoë ☃") == "5311aeaabd1bce0b238c0c430a9f7bd69c999bdc2c4b66b44a07a5bcb345d143"
    assert (
        idempotency_key("subkeeper", row())
        == "subkeeper-d4eaad87cbfed4d45b62ac8ab877fc8dbe3a35938262545e83e9f6e5b7793cf1"
    )
    assert (
        idempotency_key("subkeeper", row(state=State.CUSTOMER_CREATED))
        == "subkeeper-2c5a44e60ed4d8017eb98b00650438f69a7964fa5c95c4f150d89c4c22cb204d"
    )
    assert (
        idempotency_key("subkeeper", row(generation=2))
        == "subkeeper-97fd190b94a25208049f32fb10d6c87f202dfcfb4effe0c3226ef25805b67bb3"
    )


@given(st.lists(st.tuples(texts, texts, st.sampled_from(Step), st.integers(1, 9)), unique=True, max_size=20))
def test_no_two_users_namespaces_steps_or_generations_share_a_key(
    names: list[tuple[str, str, Step, int]],
) -> None:
    assert len({step_key(*name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("one", "other"), [(("a", "bc"), ("ab", "c")), (("a", 'b","c'), ('a","b', "c")), (("a", "b"), ("b", "a"))]
)
def test_where_the_namespace_ends_makes_a_difference(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert user_digest(*one) != user_digest(*other)


@given(texts, st.text(max_size=255), st.integers(1, 10**6))
def test_a_key_fits_stripes_limit_and_says_nothing_of_the_user(namespace: str, user_id: str, generation: int) -> None:
    key = idempotency_key(namespace, row(user_id=user_id, generation=generation))
    assert len(key) <= 255
    prefix, digest = key[:10], key[10:]
    assert prefix == "subkeeper-"
    assert len(digest) == 64
    assert set(digest) <= set("0123456789abcdef")


def test_all_attempts_of_one_generation_share_their_key() -> None:
    keys = {idempotency_key("n", row(attempts=n, lease_token=n, lane=lane)) for n in range(3) for lane in Lane}
    assert len(keys) == 1


# Looking before creating


def test_a_customer_s_key_is_trusted_for_23_hours_where_this_database_saw_the_profile_as_it_was_created() -> None:
    assert timedelta(hours=23) == KEY_TRUSTED_FOR
    for late in (timedelta(0), CLOCKS_AGREE):
        since = NOW - KEY_TRUSTED_FOR
        assert not must_look(row(key_possible_since=since, first_seen=since + late), NOW)
        assert must_look(row(key_possible_since=since, first_seen=since + late), NOW + SECOND)


def test_a_customer_s_key_is_trusted_for_12_hours_where_only_the_creation_says_since_when_it_was_possible() -> None:
    assert timedelta(hours=12) == KEY_TRUSTED_BY_CREATION
    since = NOW - KEY_TRUSTED_BY_CREATION
    for first_seen in (since + CLOCKS_AGREE + SECOND, NOW, None):
        assert not must_look(row(key_possible_since=since, first_seen=first_seen), NOW)
        assert must_look(row(key_possible_since=since, first_seen=first_seen), NOW + SECOND)


def test_a_customer_s_key_of_unknown_age_is_not_trusted() -> None:
    assert must_look(row(key_possible_since=None), NOW)


def test_a_customer_s_key_that_is_said_to_be_possible_only_later_is_of_unknown_age() -> None:
    later = NOW + CLOCKS_AGREE
    assert not must_look(row(key_possible_since=later, first_seen=later), NOW)
    assert must_look(row(key_possible_since=later + SECOND, first_seen=later), NOW)


@given(st.timedeltas(timedelta(0), timedelta(days=100)))
def test_how_late_a_row_was_asked_for_says_nothing_of_the_age_of_its_customer_s_key(ago: timedelta) -> None:
    """A database that was lost may have asked long before."""
    since = NOW - timedelta(hours=25)
    assert must_look(row(key_possible_since=since, first_seen=since, customer_requested=asked(ago)), NOW)


def test_a_subscription_of_a_new_customer_is_asked_for_with_a_key_that_is_trusted_for_23_hours() -> None:
    """Before that customer there was nothing to subscribe, however old the profile."""
    new = row(state=State.CUSTOMER_CREATED, key_possible_since=None, subscription_requested=asked(SECOND))
    assert not must_look(replace(new, customer_requested=asked(KEY_TRUSTED_FOR)), NOW)
    assert must_look(replace(new, customer_requested=asked(KEY_TRUSTED_FOR + SECOND)), NOW)
    assert must_look(new, NOW)


@given(st.none() | st.timedeltas(timedelta(0), timedelta(days=100)).map(asked))
def test_a_row_that_says_look_is_always_looked_for(requested: Requested | None) -> None:
    assert must_look(row(look_first=True, customer_requested=requested), NOW)


moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive there


@given(moments, moments, moments, moments)
def test_a_look_covers_every_moment_at_which_the_key_may_have_been_used(
    since: datetime, first: datetime, last: datetime, at: datetime
) -> None:
    start, end = look_window(row(key_possible_since=since, customer_requested=Requested(first, last)), at)
    assert start == min(since, first, last) - LOOK_MARGIN
    assert end == max(first, last, at) + LOOK_MARGIN
    assert look_window(row(key_possible_since=since), at) == (since - LOOK_MARGIN, at + LOOK_MARGIN)


def test_a_look_for_a_key_of_unknown_age_covers_everything() -> None:
    assert look_window(row(key_possible_since=None, customer_requested=asked(SECOND)), NOW)[0] < BEGINNING
    assert look_window(row(key_possible_since=datetime(1, 1, 1, tzinfo=UTC)), NOW)[0] < BEGINNING


def test_a_request_is_repeated_also_where_the_clock_went_back() -> None:
    assert not Requested(NOW, NOW).repeated
    assert Requested(NOW, NOW + SECOND).repeated
    assert Requested(NOW, NOW - SECOND).repeated


# A trial that is spent


def test_a_trial_under_an_hour_is_not_sent() -> None:
    assert not trial_is_spent(row(trial_end=NOW + SHORTEST_TRIAL_TO_SEND), NOW)
    assert trial_is_spent(row(trial_end=NOW + SHORTEST_TRIAL_TO_SEND - SECOND), NOW)


@given(st.timedeltas(timedelta(days=-100), timedelta(days=100)))
def test_a_new_trial_waits_until_the_old_one_was_too_short_for_a_while(left: timedelta) -> None:
    spent_since = SHORTEST_TRIAL_TO_SEND - left
    requested = asked(timedelta(minutes=5))
    wait = renewal_wait(row(trial_end=NOW + left, subscription_requested=requested), NOW)
    assert wait == max(timedelta(0), RENEWAL_MARGIN - spent_since)


def test_a_new_trial_waits_for_nothing_where_the_old_one_was_never_sent() -> None:
    assert renewal_wait(row(trial_end=NOW, subscription_requested=asked(timedelta(0))), NOW) == timedelta(0)
    assert renewal_wait(row(trial_end=NOW), NOW) == timedelta(0)


# What is sent


def test_a_customer_carries_whose_it_is_and_only_what_is_known() -> None:
    assert customer_request("n", "u1", "ada@example.com", "Ada") == {
        "metadata": {"subkeeper": user_digest("n", "u1"), "user_id": "u1"},
        "email": "ada@example.com",
        "name": "Ada",
    }
    assert set(customer_request("n", "u1", None, None)) == {"metadata"}
    assert set(customer_request("n", "u1", "", "")) == {"metadata"}
    assert customer_request("n", "u1", None, None, "clock_1")["test_clock"] == "clock_1"


def test_a_subscription_is_frozen_with_everything_explicit() -> None:
    text = subscription_request(
        row(trial_end=datetime(2026, 2, 2, tzinfo=UTC)),
        namespace="n",
        customer_id="cus_1",
        price_id="price_1",
        missing_payment_method="pause",
        billing_mode="flexible",
    )
    assert " " not in text, "frozen texts are compared, also with those of other releases"
    assert json.loads(text) == {
        "customer": "cus_1",
        "items": [{"price": "price_1"}],
        "trial_end": 1769990400,
        "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}},
        "billing_mode": {"type": "flexible"},
        "metadata": {"subkeeper": user_digest("n", "u1"), "user_id": "u1"},
    }


# Trying again


@given(st.integers(1, 10**9), st.randoms(use_true_random=False))
def test_a_delay_doubles_up_to_its_longest_and_is_jittered_down_to_a_half(attempts: int, rng: random.Random) -> None:
    ceiling = min(LONGEST_RETRY, 2.0 ** min(attempts - 1, 60))
    assert ceiling / 2 <= retry_delay(attempts, rng) <= ceiling


def test_the_same_seed_gives_the_same_delays() -> None:
    def delays(seed: int) -> list[float]:
        rng = random.Random(seed)
        return [retry_delay(attempts, rng) for attempts in range(1, 9)]

    assert delays(7) == delays(7)
    assert delays(7) != delays(8)


def test_a_retry_of_the_backfill_stays_behind_live_signups() -> None:
    assert [retry_lane(lane) for lane in (Lane.LIVE, Lane.RETRY, Lane.BACKFILL)] == [
        Lane.RETRY,
        Lane.RETRY,
        Lane.BACKFILL,
    ]


@pytest.mark.parametrize(
    ("attempts", "ceiling"), [(1, 1.0), (10, 20.0), (11, 40.0), (17, 2560.0), (18, 3600.0), (500, 3600.0)]
)
def test_what_nobody_waits_for_is_tried_ever_more_rarely_and_every_hour_at_last(attempts: int, ceiling: float) -> None:
    assert ceiling / 2 <= rarer_delay(attempts, random.Random(1)) <= ceiling
