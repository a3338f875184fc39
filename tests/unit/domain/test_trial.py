"""When a trial ends: counted from the profile's creation, however long the queue was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from worker.domain.clocks import CLOCKS_AGREE
from worker.domain.profile import ProfileCreated
from worker.domain.trial import TrialPolicy, capped_trial_end, trial_end

SEEN = datetime(2026, 1, 31, 12, 0, 0, 700_000, tzinfo=UTC)
POLICY = TrialPolicy(length=timedelta(days=31), max_lag=timedelta(hours=72))
LENGTH = timedelta(days=31)


def ends(created_at: datetime | None, seen: datetime = SEEN) -> datetime:
    return trial_end(ProfileCreated("u1", None, None, created_at), seen, POLICY)


def test_a_slow_queue_neither_lengthens_nor_shortens_a_trial() -> None:
    created = datetime(2026, 1, 30, tzinfo=UTC)
    assert ends(created) == ends(created, SEEN + timedelta(hours=20)) == created + LENGTH


def test_without_a_creation_the_trial_is_counted_from_first_sight() -> None:
    assert ends(None) == SEEN.replace(microsecond=0) + LENGTH


def test_a_profile_as_old_as_the_longest_lag_is_counted_from_its_creation_and_an_older_one_from_first_sight() -> None:
    oldest = SEEN - POLICY.max_lag
    assert ends(oldest) == oldest.replace(microsecond=0) + LENGTH
    assert ends(oldest - timedelta(microseconds=1)) == SEEN.replace(microsecond=0) + LENGTH


def test_a_creation_in_the_future_counts_as_now() -> None:
    assert ends(SEEN + timedelta(days=400)) == ends(SEEN)


def test_the_earliest_of_all_times_is_an_old_profile() -> None:
    assert ends(datetime(1, 1, 1, tzinfo=UTC)) == SEEN.replace(microsecond=0) + LENGTH


moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive there
lags = st.timedeltas(timedelta(0), timedelta(days=730))


@given(st.none() | moments, moments, st.timedeltas(timedelta(days=1), timedelta(days=730)), lags)
def test_a_trial_ends_in_whole_seconds_and_within_its_length_of_first_sight(
    created_at: datetime | None, seen: datetime, length: timedelta, max_lag: timedelta
) -> None:
    end = trial_end(ProfileCreated("u1", None, None, created_at), seen, TrialPolicy(length, max_lag))
    assert end.microsecond == 0
    assert seen + length - max_lag - timedelta(seconds=1) <= end <= seen + length


def test_a_trial_that_clocks_which_are_ahead_made_too_long_ends_a_full_trial_from_now_by_stripes_clock() -> None:
    ahead = SEEN + timedelta(days=40)
    assert capped_trial_end(ends(ahead, ahead), SEEN, LENGTH) == SEEN.replace(microsecond=0) + LENGTH


@given(st.timedeltas(timedelta(days=-40), CLOCKS_AGREE))
@example(CLOCKS_AGREE)
def test_a_trial_stays_as_it_is_where_the_clocks_agree_or_it_is_shorter(ahead: timedelta) -> None:
    end = ends(SEEN) + ahead
    assert capped_trial_end(end, SEEN, LENGTH) == end


def test_a_user_may_have_been_asked_for_since_the_earlier_of_creation_and_first_sight() -> None:
    created = SEEN - timedelta(hours=5)
    assert ProfileCreated("u1", None, None, created).known_since(SEEN) == created
    assert ProfileCreated("u1", None, None, SEEN + timedelta(minutes=1)).known_since(SEEN) == SEEN
    assert ProfileCreated("u1", None, None, None).known_since(SEEN) is None


def test_a_profile_that_says_it_was_created_later_than_now_says_nothing_of_when_it_was() -> None:
    """A local time without its zone, hours ahead: a database that is lost may have seen it all that time ago."""
    assert ProfileCreated("u1", None, None, SEEN + timedelta(minutes=1, seconds=1)).known_since(SEEN) is None
