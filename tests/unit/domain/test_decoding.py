"""A message is a profile, or it is refused with a reason: every trap of JSON, text and time by its name."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from worker.domain.profile import MAX_EMAIL, MAX_NAME, MAX_USER_ID, MessageShape, ProfileCreated
from worker.errors import Rejected

BARE = MessageShape(user_id="/id", email="/email", name="/name", created_at="/created_at")


def decoded(**fields: object) -> ProfileCreated:
    return BARE.decode(json.dumps({"id": "u1", **fields}).encode())


def refusal_of(body: bytes) -> Rejected:
    with pytest.raises(Rejected) as refusal:
        BARE.decode(body)
    return refusal.value


def refused(body: bytes) -> str:
    """The reason, beside which every refusal says what is wrong in words."""
    refusal = refusal_of(body)
    assert refusal.detail
    assert len(refusal.detail) > 10
    return refusal.reason


def test_a_whole_profile_is_read_as_it_is() -> None:
    profile = decoded(email="ada@example.com", name="Ada", created_at="2026-01-02T03:04:05Z", plan="gold")
    assert profile.user_id == "u1"
    assert (profile.email, profile.name) == ("ada@example.com", "Ada")
    assert profile.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_an_id_is_all_that_is_needed() -> None:
    assert BARE.decode(b'{"id": "u1"}') == ProfileCreated("u1", None, None, None)


@pytest.mark.parametrize("nothing", [None, ""])
def test_null_and_empty_mean_absent(nothing: str | None) -> None:
    assert decoded(email=nothing, name=nothing, created_at=nothing) == ProfileCreated("u1", None, None, None)


POISON = {
    "nothing": (b"", "not_json"),
    "a NUL byte": (b'{"id": "u\x001"}', "not_json"),
    "an escaped NUL": (rb'{"id": "u\u0000"}', "id_unstorable"),
    "a lone surrogate": (rb'{"id": "u\ud800"}', "id_unstorable"),
    "a lone low surrogate in the email": (rb'{"id": "u", "email": "\udc00@example.com"}', "email_unstorable"),
    "UTF-16": ('{"id": "u1"}'.encode("utf-16"), "not_utf8"),
    "UTF-16 without its mark": ('{"id": "u1"}'.encode("utf-16-le"), "not_json"),
    "UTF-8 with a mark": (b'\xef\xbb\xbf{"id": "u1"}', "not_json"),
    "bad UTF-8": (b'{"id": "u\xff"}', "not_utf8"),
    "a surrogate in UTF-8": (b'{"id": "\xed\xa0\x80"}', "not_utf8"),
    "an integer of 5,000 digits": (b'{"id": "u", "n": ' + b"9" * 5000 + b"}", "number_too_long"),
    "2^63 as the id": (b'{"id": 9223372036854775808}', "id_not_text"),
    "NaN": (b'{"id": "u", "n": NaN}', "not_a_json_number"),
    "-Infinity": (b'{"id": "u", "n": -Infinity}', "not_a_json_number"),
    "1e999": (b'{"id": "u", "n": 1e999}', "number_too_large"),
    "-1e999": (b'{"id": "u", "n": -1e999}', "number_too_large"),
    "deep arrays": (b'{"id": "u", "n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested_too_deep"),
    "deep objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested_too_deep"),
    "a member twice": (b'{"id": "u1", "id": "u2"}', "duplicate_key"),
    "a member twice, deep inside": (b'{"id": "u", "n": [{"a": 1, "a": 1}]}', "duplicate_key"),
    "an array": (b'[{"id": "u1"}]', "not_an_object"),
    "a string": (b'"u1"', "not_an_object"),
    "something after it": (b'{"id": "u1"} {}', "not_json"),
    "a cut message": (b'{"id": "u1", "em', "not_json"),
    "1 MiB of spaces": (b" " * 2**20, "not_json"),
    "1 MiB of id": (b'{"id": "' + b"u" * 2**20 + b'"}', "id_too_long"),
    "no id": (b'{"email": "ada@example.com"}', "id_missing"),
    "an empty id": (b'{"id": ""}', "id_missing"),
    "true as the id": (b'{"id": true}', "id_not_text"),
    "an object as the email": (b'{"id": "u", "email": {"a": 1}}', "email_not_text"),
    "a list as the name": (b'{"id": "u", "name": ["Ada"]}', "name_not_text"),
    "a number as the time": (b'{"id": "u", "created_at": 1700000000}', "created_at_not_text"),
}


@pytest.mark.parametrize(("body", "reason"), POISON.values(), ids=POISON.keys())
def test_poison_is_refused_by_its_reason(body: bytes, reason: str) -> None:
    assert refused(body) == reason


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"[]", "list"), (b'"u1"', "str"), (b'{"id": 7}', "int"), (b'{"id": "u", "email": ["a"]}', "list")],
)
def test_a_refusal_says_what_was_found_instead(body: bytes, kind: str) -> None:
    assert f"a JSON {kind}" in refusal_of(body).detail


def test_a_number_at_the_edge_of_64_bits_is_no_reason_to_refuse() -> None:
    assert decoded(n=2**63).user_id == "u1"
    assert decoded(n=-(2**63)).user_id == "u1"
    assert refused(b'{"id": "u", "n": ' + b"9" * 21 + b"}") == "number_too_long"


@pytest.mark.parametrize(
    ("field", "most"), [("id", MAX_USER_ID), ("email", MAX_EMAIL), ("name", MAX_NAME)], ids=["id", "email", "name"]
)
def test_a_text_may_be_as_long_as_its_limit_and_no_longer(field: str, most: int) -> None:
    assert BARE.decode(json.dumps({"id": "u", field: "é" * most}).encode()) != decoded()
    assert refused(json.dumps({"id": "u", field: "é" * (most + 1)}).encode()) == f"{field}_too_long"


def test_text_beyond_the_basic_plane_is_kept() -> None:
    assert decoded(name="\N{GRINNING FACE} Ада").name == "\N{GRINNING FACE} Ада"


TIMES = {
    "2026-01-02T03:04:05Z": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "2026-01-02t03:04:05z": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "2026-01-02 03:04:05Z": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "2026-01-02T03:04:05+05:30": datetime(2026, 1, 1, 21, 34, 5, tzinfo=UTC),
    "2026-01-02T03:04:05-00:00": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "2026-01-02T03:04:05-23:59": datetime(2026, 1, 3, 3, 3, 5, tzinfo=UTC),
    "2026-01-02T03:04:05.1Z": datetime(2026, 1, 2, 3, 4, 5, 100_000, tzinfo=UTC),
    "2026-01-02T03:04:05.123456789Z": datetime(2026, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC),
    "2016-12-31T23:59:60Z": datetime(2017, 1, 1, tzinfo=UTC),
    "2016-12-31T15:59:60.5-08:00": datetime(2017, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC),
    "0001-01-01T00:00:00Z": datetime(1, 1, 1, tzinfo=UTC),
}


@pytest.mark.parametrize(("text", "time"), TIMES.items(), ids=TIMES.keys())
def test_a_time_of_rfc_3339_is_read_in_utc(text: str, time: datetime) -> None:
    created_at = decoded(created_at=text).created_at
    assert created_at == time
    assert created_at is not None
    assert created_at.tzinfo is UTC, "not the machine's zone, wherever that is"


@pytest.mark.parametrize(
    "text",
    [
        "yesterday", "2026-01-02", "2026-01-02T03:04:05", "2026-01-02T03:04Z", "20260102T030405Z", "1700000000",
        "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-02T24:00:00Z", "2026-01-02T03:04:61Z",
        "2026-01-02T03:60:00Z", "2026-01-02T03:04:05+24:00", "2026-01-02T03:04:05+01:75", "2026-01-02T03:04:05+0100",
        "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:60Z", "9999-12-31T23:59:59-00:01", "2026-01-02T03:04:05.Z",
        "٢٠٢٦-01-02T03:04:05Z", "2026-01-02T03:04:05Z\n", " 2026-01-02T03:04:05Z", "2026-W01-1T00:00:00Z",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    assert refused(json.dumps({"id": "u", "created_at": text}).encode()) == "created_at_invalid"


def test_a_time_may_have_as_many_digits_as_fit_into_64_characters() -> None:
    longest = "2026-01-02T03:04:05." + "1" * 43 + "Z"
    assert decoded(created_at=longest).created_at == datetime(2026, 1, 2, 3, 4, 5, 111_111, tzinfo=UTC)
    too_long = longest.replace("Z", "1Z")
    assert refused(json.dumps({"id": "u", "created_at": too_long}).encode()) == "created_at_too_long"


def test_a_time_far_too_long_is_refused_without_reading_it() -> None:
    assert refused(json.dumps({"id": "u", "created_at": "2" * 10_000}).encode()) == "created_at_too_long"


# CloudEvents


def test_the_data_of_a_cloudevent_is_the_message() -> None:
    envelope = {"specversion": "1.0", "id": "event-1", "source": "/auth", "type": "profile", "data": {"id": "u1"}}
    assert BARE.decode(json.dumps(envelope).encode()).user_id == "u1"


@pytest.mark.parametrize(
    ("envelope", "reason"),
    [
        ({"specversion": "0.3", "data": {"id": "u1"}}, "cloudevent_version"),
        ({"specversion": 1.0, "data": {"id": "u1"}}, "cloudevent_version"),
        ({"specversion": "1.0", "id": "u1"}, "cloudevent_data"),
        ({"specversion": "1.0", "id": "u1", "data": '{"id": "u1"}'}, "cloudevent_data"),
        ({"specversion": "1.0", "id": "u1", "data_base64": "eyJpZCI6ICJ1MSJ9"}, "cloudevent_data"),
        ({"specversion": "1.0", "id": "event-1", "data": {}}, "id_missing"),
    ],
)
def test_an_envelope_that_holds_no_profile_is_refused_and_its_own_id_is_never_taken(
    envelope: dict[str, object], reason: str
) -> None:
    assert refused(json.dumps(envelope).encode()) == reason


# Pointers


def test_pointers_lead_into_objects_arrays_and_names_with_slashes_and_tildes() -> None:
    shape = MessageShape(user_id="/user/u~1id", email="/user/e~0mails/0", name="/", created_at="/at")
    body = {"user": {"u/id": "u1", "e~mails": ["ada@example.com"]}, "": "Ada"}
    profile = shape.decode(json.dumps(body).encode())
    assert profile == ProfileCreated("u1", "ada@example.com", "Ada", None)


@pytest.mark.parametrize("body", ['{"user": null}', '{"user": 7}', '{"user": "u1"}', '{"user": ["u1"]}', "{}"])
def test_a_pointer_that_leads_nowhere_finds_nothing(body: str) -> None:
    shape = MessageShape(user_id="/user/id", email="/user/email", name="/user/name", created_at="/user/at")
    with pytest.raises(Rejected) as refusal:
        shape.decode(body.encode())
    assert refusal.value.reason == "id_missing"


@pytest.mark.parametrize("place", ["-", "1", "2"])
def test_the_end_of_a_list_is_nobodys_id(place: str) -> None:
    shape = MessageShape(user_id=f"/ids/{place}", email="/email", name="/name", created_at="/at")
    with pytest.raises(Rejected, match="id_missing"):
        shape.decode(b'{"ids": ["u1"]}')


# What must not be told


def test_a_profiles_repr_shows_nothing_personal() -> None:
    shown = repr(decoded(email="ada@example.com", name="Ada Lovelace"))
    assert "u1" in shown
    assert "ada" not in shown.lower()
