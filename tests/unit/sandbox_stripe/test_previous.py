"""`previous_attributes`: applied to the new state they give the old one back, and they hold no more than that takes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sandbox.stripe.events.previous import previous_attributes

_LEAVES = st.one_of(st.none(), st.integers(0, 2), st.sampled_from("ab"), st.lists(st.integers(0, 2), max_size=2))
_HASHES = st.dictionaries(st.sampled_from("xyz"), st.one_of(_LEAVES, st.dictionaries(st.sampled_from("uv"), _LEAVES)))


def _undone(after: dict[str, Any], previous: dict[str, Any]) -> dict[str, Any]:
    """The state before: a null takes a key away, as a key that was not there is null."""
    before = dict(after)
    for name, old in previous.items():
        nested = isinstance(old, dict) and isinstance(after.get(name), dict)
        before[name] = _undone(after[name], old) if nested else old
    return _without_nulls(before)


def _without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    there = {name: child for name, child in value.items() if child is not None}
    return {name: _without_nulls(child) if isinstance(child, dict) else child for name, child in there.items()}


@given(_HASHES, _HASHES)
def test_what_changed_can_be_undone(before: dict[str, Any], after: dict[str, Any]) -> None:
    previous = previous_attributes(before, after)
    assert _undone(after, previous) == _without_nulls(before)
    assert set(previous) == {name for name in before | after if before.get(name) != after.get(name)}


def test_an_array_is_told_whole_and_a_hash_by_its_keys() -> None:
    before = {"items": {"data": [1, 2], "url": "u"}, "metadata": {"a": "1"}, "kept": {"x": 1}}
    after = {"items": {"data": [1, 3], "url": "u"}, "metadata": {"a": "1", "b": "2"}, "kept": {"x": 1}}
    assert previous_attributes(before, after) == {"items": {"data": [1, 2]}, "metadata": {"b": None}}
