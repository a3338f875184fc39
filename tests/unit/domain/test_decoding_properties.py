"""Whatever the bytes: a profile that Postgres can hold and Stripe accepts, or `Rejected`; and nobody's email in it."""

from __future__ import annotations

import json

from hypothesis import assume, example, given
from hypothesis import strategies as st

from worker.domain.profile import MAX_EMAIL, MAX_NAME, MAX_USER_ID, MessageShape, ProfileCreated
from worker.errors import Rejected

BARE = MessageShape(user_id="/id", email="/email", name="/name", created_at="/created_at")
NESTED = MessageShape(user_id="/a/id", email="/a/b/0", name="/a/b/-", created_at="/a/0/c")

any_text = st.text(st.characters())  # surrogates and NUL too
scalars = st.none() | st.booleans() | st.integers() | st.floats() | any_text
keys = st.sampled_from(["id", "email", "name", "created_at", "specversion", "data", "a", "b", "0"]) | any_text
documents = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20)
times = st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", fullmatch=True)
profiles = st.fixed_dictionaries(
    {"id": any_text}, optional={"email": any_text, "name": any_text, "created_at": times | any_text}
)


def checked(shape: MessageShape, body: bytes) -> ProfileCreated | Rejected:
    try:
        profile = shape.decode(body)
    except Rejected as refusal:
        return refusal
    assert 1 <= len(profile.user_id) <= MAX_USER_ID
    assert profile.email is None or 1 <= len(profile.email) <= MAX_EMAIL
    assert profile.name is None or 1 <= len(profile.name) <= MAX_NAME
    for text in (profile.user_id, profile.email or "", profile.name or ""):
        assert b"\x00" not in text.encode()  # which raises for a lone surrogate
    assert profile.created_at is None or profile.created_at.isoformat().endswith("+00:00")
    return profile


@given(st.binary())
@example(b'{"id":"u","created_at":"0001-01-01T00:00:60+23:59"}')
def test_any_bytes_are_a_profile_or_rejected(body: bytes) -> None:
    checked(BARE, body)


@given(documents)
def test_any_json_is_a_profile_or_rejected_wherever_the_pointers_lead(document: object) -> None:
    body = json.dumps(document).encode()
    checked(BARE, body)
    checked(NESTED, body)


@given(profiles)
def test_anything_like_a_profile_is_one_or_rejected(profile: dict[str, str]) -> None:
    checked(BARE, json.dumps(profile).encode())
    checked(BARE, json.dumps({"specversion": "1.0", "data": profile}).encode())


@given(profiles, st.data())
def test_a_message_that_lost_or_changed_bytes_is_one_or_rejected(profile: dict[str, str], data: st.DataObject) -> None:
    body = bytearray(json.dumps(profile).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    checked(BARE, bytes(body[: data.draw(st.integers(0, len(body)))]))


printable = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=50)


@given(printable, printable, printable)
def test_what_can_be_kept_comes_back_as_it_was(user_id: str, email: str, name: str) -> None:
    body = json.dumps({"id": user_id, "email": email, "name": name}, ensure_ascii=False).encode()
    assert checked(BARE, body) == ProfileCreated(user_id, email, name, None)


PLANTED = "planted-person"


@given(
    st.sampled_from(["id", "email", "name", "created_at", "other"]),
    st.sampled_from(["{}", "{}\x00", "\ud800{}", "{}" + "x" * 600, "{}@example.com"]),
    st.sampled_from(["text", "list", "object", "key", "cut", "doubled", "bad utf-8"]),
)
def test_neither_a_refusal_nor_a_repr_repeats_what_the_message_holds(field: str, form: str, how: str) -> None:
    value = form.format(PLANTED)
    wrapped = {"list": [value], "object": {value: 1}, "key": {value: value}}.get(how, value)
    body = json.dumps({"id": "u", field: wrapped}).encode()
    if how == "cut":
        body = body[: body.index(PLANTED.encode()) + len(PLANTED)]
    if how == "doubled":
        body = body[:-1] + f', "{PLANTED}": 1, "{PLANTED}": 2}}'.encode()
    if how == "bad utf-8":
        body += b"\xff"
    said = checked(BARE, body)
    assume(not (isinstance(said, ProfileCreated) and field == "id"))  # a user's id is what we name him by
    assert not isinstance(said, Rejected) or said.reason.replace("_", "").isalnum()
    assert PLANTED not in repr(said)
    assert PLANTED not in str(said)
    assert not isinstance(said, Rejected) or said.__cause__ is None
