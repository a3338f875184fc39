"""A cursor is taken only as it was told, by the list that told it."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.owners import Owner, OwnerKind
from worker.domain.profile import MAX_USER_ID
from worker.web.api.operations import Refused
from worker.web.api.owners import OWNED, OWNERS
from worker.web.api.paging import MAX_CURSOR, MOST, USUAL, Places
from worker.web.api.subscription_list import SUBSCRIPTIONS

LISTS: list[Places[int]] = [SUBSCRIPTIONS, OWNED]
NUMBERS = st.integers(0, 2**63 - 1)
IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=MAX_USER_ID)


def cursor_of(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@given(NUMBERS)
def test_a_number_is_read_as_it_was_told(number: int) -> None:
    for places in LISTS:
        _, cursor = places.cut([number, 0], places.page({"limit": ["1"]}), lambda row: row)
        assert places.page({"cursor": [cursor or ""]}).after == number


@given(st.sampled_from(OwnerKind), IDS)
def test_an_owner_is_read_as_it_was_told(kind: OwnerKind, identifier: str) -> None:
    owner = Owner(kind, identifier)
    _, cursor = OWNERS.cut([owner, owner], OWNERS.page({"limit": ["1"]}), lambda row: row)
    assert cursor is not None
    assert len(cursor) <= MAX_CURSOR
    assert OWNERS.page({"cursor": [cursor]}).after == owner


@given(st.one_of(st.text(), NUMBERS.map(lambda number: cursor_of(f"owned:0{number}")), IDS.map(cursor_of)))
def test_anything_else_is_refused(text: str) -> None:
    for places in (SUBSCRIPTIONS, OWNED, OWNERS):
        with pytest.raises(Refused):
            places.page({"cursor": [text]})


def test_the_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(Refused):
        SUBSCRIPTIONS.page({"cursor": [cursor_of("owned:7")]})
    assert SUBSCRIPTIONS.page({"cursor": [cursor_of("subscriptions:7")]}).after == 7


@pytest.mark.parametrize("there", [0, 1, USUAL, USUAL + 1])
def test_only_a_page_with_others_behind_it_has_a_cursor(there: int) -> None:
    page = OWNED.page({})
    rows, cursor = OWNED.cut(range(there)[: page.fetched], page, lambda row: row)
    assert (list(rows), cursor is None) == (list(range(min(there, USUAL))), there <= USUAL)


def test_a_page_has_as_many_as_are_asked_for() -> None:
    assert [OWNED.page({"limit": [str(limit)]}).limit for limit in (1, USUAL, MOST)] == [1, USUAL, MOST]
