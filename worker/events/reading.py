"""What is kept of Stripe's events: identifiers, states and times, by what an event is about.

No personal data reaches the broker's disk, since only what is listed (`worker.events.kept`) is kept. msgspec skips the
rest while it parses: what nobody keeps never becomes an object of Python's. It takes only what has the form of Stripe's
objects; what hasn't, such as an object in the place of its id, is cut by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, NamedTuple, Required, TypedDict, TypeVar

import msgspec
from msgspec import Meta, defstruct

from worker.domain.event import TYPES, Event
from worker.errors import Rejected
from worker.events.kept import KEPT, LEAF

MAX_TEXT = 500
"""Characters of a kept text: Stripe's limit of a metadata value, and its longest."""

# What Postgres can hold of numbers, and what it can't of texts: NUL, which JSON escapes, and half of a surrogate pair.
_LEAST, _MOST = -(2**63), 2**63 - 1
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_NUL = rb"\u0000"


class Heard(NamedTuple):
    """What a body says: `account` is a connected account's id, `livemode` Stripe's, whatever they hold. `event`: or why
    it is none."""

    account: object
    livemode: object
    event: Event | Rejected


def heard(body: bytes, source: str) -> Heard:
    """Stripe's event as JSON. Raises `ValueError` for what is no JSON in UTF-8, and no object."""
    if not body.isascii():
        body.decode()  # msgspec doesn't look at what it skips
    try:
        if b"\\" not in body or _NUL not in body:  # one byte is found in no time
            return _formed(body, source)
    except (msgspec.DecodeError, RecursionError):
        pass
    return _odd(body, source)


def pruned(event: Mapping[str, Any], source: str) -> Event:
    """Stripe's event (decoded JSON) in the fields that we keep. Raises `Rejected`: `event_malformed`, or
    `event_type_unknown` for one that is not in `TYPES`."""
    kind = _required(event, "type", str)
    if kind not in TYPES:
        raise Rejected("event_type_unknown", "its type is none that is asked for")
    shape = KEPT[kind.rpartition(".")[0]]
    data = _required(event, "data", dict)
    about = _required(data, "object", dict)
    version = _plain(event.get("api_version"))
    return Event(
        _required(event, "id", str),
        kind,
        time_of(_required(event, "created", int)),
        version if isinstance(version, str) else None,
        _required(event, "livemode", bool),
        source,
        _cut(about, shape) | {"id": _required(about, "id", str)},
        _cut(data.get("previous_attributes"), shape) or {},
    )


def time_of(seconds: int) -> datetime:
    """Unix time. Raises `Rejected`: `event_malformed`."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise Rejected("event_malformed", "its created is no time") from None


# What has another form than Stripe's objects have

_Kind = TypeVar("_Kind")


def _odd(body: bytes, source: str) -> Heard:
    event = _decoded(body)
    account, livemode = event.get("account"), event.get("livemode")
    try:
        return Heard(account, livemode, pruned(event, source))
    except Rejected as rejected:
        return Heard(account, livemode, rejected)


def _decoded(body: bytes) -> Mapping[str, Any]:
    try:
        event = _decode(body.decode())
    except RecursionError:
        raise ValueError from None
    if not isinstance(event, dict):
        raise ValueError  # noqa: TRY004 - the value is somebody's
    return event


def _refuse_constant(_name: str) -> float:
    raise ValueError


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def _required(found: Mapping[str, Any], name: str, kind: type[_Kind]) -> _Kind:
    """Names what it lacks, and repeats nothing that it says."""
    value = found.get(name)
    is_flag = isinstance(value, bool) and kind is int
    if not isinstance(value, kind) or is_flag or (kind is str and _plain(value) is None):
        raise Rejected("event_malformed", f"it has no {name} that is {kind.__name__}")
    return value


def _cut(value: object, shape: Any) -> Any:
    """What is there, and none of what is kept, is None."""
    if shape is LEAF:
        return _plain(value.get("id") if isinstance(value, dict) else value)
    if isinstance(shape, list):
        return [_cut(each, shape[0]) for each in value] if isinstance(value, list) else None
    if not isinstance(value, dict):
        return None
    return {name: _cut(value[name], inner) for name, inner in shape.items() if name in value}


def _plain(value: object) -> str | int | bool | None:
    """Amounts and times are whole numbers."""
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT and not _UNFIT.search(value) else None
    return value if isinstance(value, int) and _LEAST <= value <= _MOST else None


# What has their form, as types of msgspec's

_Text = Annotated[str, Meta(max_length=MAX_TEXT)]
_Plain = _Text | Annotated[int, Meta(ge=_LEAST, le=_MOST)] | bool | None
_Time = Annotated[int, Meta(ge=int(datetime.min.replace(tzinfo=UTC).timestamp()), lt=253_402_300_800)]
"""Before the year 10000."""


def _formed(body: bytes, source: str) -> Heard:
    """Raises `msgspec.DecodeError` and `RecursionError`."""
    found = _decoder()(body)
    version = found.api_version
    event = Event(
        found.id,
        found.__struct_config__.tag,
        time_of(found.created),
        version if isinstance(version, str) else None,
        found.livemode,
        source,
        found.data.object,
        found.data.previous_attributes or {},
    )
    return Heard(found.account, found.livemode, event)


@cache
def _decoder() -> Callable[[bytes], Any]:
    families = {name: _data(shape) for name, shape in KEPT.items()}
    kinds = [_kind(name, families[name.rpartition(".")[0]]) for name in TYPES]
    return msgspec.json.Decoder(reduce(or_, kinds)).decode


def _kind(name: str, data: Any) -> Any:
    """Of events."""
    fields = [("id", _Text), ("created", _Time), ("livemode", bool), ("data", data)]
    may_lack = [("api_version", _Plain, None), ("account", Any, None)]
    return defstruct(name.title().replace(".", ""), [*fields, *may_lack], tag_field="type", tag=name)


def _data(shape: Mapping[str, Any]) -> Any:
    fields = {name: _type(inner) for name, inner in shape.items()}
    about = _typed_dict(fields | {"id": Required[_Text]})
    return defstruct("Data", [("object", about), ("previous_attributes", _typed_dict(fields) | None, None)])


def _type(shape: Any) -> Any:
    if shape is LEAF:
        return _Plain
    if isinstance(shape, list):
        return list[_type(shape[0])] | None  # type: ignore[misc]  # made as it runs
    return _typed_dict({name: _type(inner) for name, inner in shape.items()}) | None


def _typed_dict(fields: Mapping[str, Any]) -> Any:
    return TypedDict("_Kept", fields, total=False)  # type: ignore[operator]  # likewise
