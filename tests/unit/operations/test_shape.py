"""A message that we write is the one that we read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.profile import MessageShape, ProfileCreated
from worker.errors import Misconfigured

PLAIN = MessageShape(user_id="/id", email="/email", name="/name", created_at="/created_at")
NESTED = MessageShape(user_id="/data/user/id", email="/data/user/e~1mail", name="/data/n~0me", created_at="/0/at")

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=255)
times = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9000, 1, 1)).map(  # noqa: DTZ001 - given UTC next
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(user_id=texts, email=st.none() | texts, name=st.none() | texts, created_at=st.none() | times)
def test_what_is_encoded_decodes_to_the_same_profile(
    user_id: str, email: str | None, name: str | None, created_at: datetime | None
) -> None:
    for shape in (PLAIN, NESTED):
        body = shape.encode(
            user_id=user_id, email=email, name=name, created_at=created_at.isoformat() if created_at else None
        )
        assert shape.decode(body) == ProfileCreated(user_id, email, name, created_at)


def test_fields_that_are_none_or_empty_are_left_out() -> None:
    assert PLAIN.encode(user_id="u", email=None, name="", created_at=None) == b'{"id":"u"}'


@pytest.mark.parametrize("email", ["/id", "/id/email"])
def test_pointers_that_leave_no_room_for_each_other_are_a_setting_to_change(email: str) -> None:
    shape = MessageShape(user_id="/id", email=email, name="/name", created_at="/created_at")
    with pytest.raises(Misconfigured, match="pointer") as refusal:
        shape.encode(user_id="u", email="e", name=None, created_at=None)
    assert (refusal.value.key, "place of its own" in refusal.value.fix) == ("message", True)
