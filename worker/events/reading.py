"""What is kept of Stripe's events: identifiers, states and times, by what an event is about.

No personal data reaches the broker's disk, since only what is listed here is kept. pydantic-core cuts the rest off
while it parses: what nobody keeps never becomes an object of Python's, which took more than twice as long.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from pydantic_core import CoreSchema, SchemaValidator, ValidationError
from pydantic_core import core_schema as core

from worker.domain.event import TYPES, Event
from worker.errors import Rejected
from worker.events.kept import KEPT, LEAF

MAX_TEXT = 500
"""Characters of a kept text: Stripe's limit of a metadata value, and its longest."""


class Heard(NamedTuple):
    """What a body says: `account` is a connected account's id, `livemode` Stripe's, whatever they hold. `event`: or why
    it is none."""

    account: object
    livemode: object
    event: Event | Rejected


def heard(body: bytes, source: str) -> Heard:
    """Stripe's event as JSON. Raises `ValueError` for what is no JSON in UTF-8, and no object."""
    try:
        found = _events().validate_json(body)
    except ValidationError:  # also for half of a surrogate pair, in a field that nobody reads perhaps
        return _odd(_decoded(body), source)
    return Heard(found["account"], found["livemode"], _event(found, source))


def pruned(event: Mapping[str, Any], source: str) -> Event:
    """Stripe's event (decoded JSON) in the fields that we keep. Raises `Rejected`: `event_malformed`, or
    `event_type_unknown` for one that is not in `TYPES`."""
    try:
        found = _events().validate_python(event)
    except ValidationError as error:
        raise _rejected(event, error) from None
    made = _event(found, source)
    if isinstance(made, Rejected):
        raise made
    return made


def time_of(seconds: int) -> datetime:
    """Unix time. Raises `Rejected`: `event_malformed`."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise Rejected("event_malformed", "its created is no time") from None


def _odd(event: Mapping[str, Any], source: str) -> Heard:
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


def _event(found: Mapping[str, Any], source: str) -> Event | Rejected:
    try:
        created = time_of(found["created"])
    except Rejected as rejected:
        return rejected
    version, data = found["api_version"], found["data"]
    return Event(
        found["id"],
        found["type"],
        created,
        version if isinstance(version, str) else None,
        found["livemode"],
        source,
        data["object"],
        data["previous_attributes"] or {},
    )


_KINDS = {"id": "str", "type": "str", "created": "int", "livemode": "bool", "data": "dict", "object": "dict"}


def _rejected(event: Mapping[str, Any], error: ValidationError) -> Rejected:
    """Names what it lacks, and repeats nothing that it says."""
    event_type = event.get("type")
    if isinstance(event_type, str) and event_type not in TYPES:
        return Rejected("event_type_unknown", "its type is none that is asked for")
    place = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
    name = str(place[-1]) if len(place) > 1 else "type"
    return Rejected("event_malformed", f"it has no {name} that is {_KINDS[name]}")


# The shapes as schemas of pydantic-core. What is there, and none of what is kept, is None.

_Choices: TypeAlias = list[CoreSchema | tuple[CoreSchema, str]]

_TEXT = core.str_schema(strict=True, max_length=MAX_TEXT, pattern="^[^\x00]*$")
"""What Postgres can hold."""

_PLAIN: _Choices = [
    _TEXT,
    core.int_schema(strict=True, ge=-(2**63), lt=2**63),
    core.bool_schema(strict=True),
]
"""Amounts and times are whole numbers."""

_NONE: _Choices = [core.no_info_plain_validator_function(lambda _odd: None)]


def _or_none(choices: _Choices) -> CoreSchema:
    return core.union_schema([*choices, *_NONE], mode="left_to_right")


_EXPANDED = core.no_info_after_validator_function(
    itemgetter("id"), core.typed_dict_schema({"id": core.typed_dict_field(core.nullable_schema(_or_none(_PLAIN)))})
)
"""Stripe's object in the place of its id."""

_VALUE = core.nullable_schema(_or_none([*_PLAIN, _EXPANDED]))


def _schema(shape: Any) -> CoreSchema:
    if shape is LEAF:
        return _VALUE
    if isinstance(shape, list):
        return _or_none([core.list_schema(_schema(shape[0]), strict=True)])
    return _or_none([core.typed_dict_schema(_fields(shape))])


def _fields(shape: Mapping[str, Any]) -> dict[str, core.TypedDictField]:
    return {name: core.typed_dict_field(_schema(inner), required=False) for name, inner in shape.items()}


def _required(**schemas: CoreSchema) -> dict[str, core.TypedDictField]:
    return {name: core.typed_dict_field(schema) for name, schema in schemas.items()}


def _event_schema(shape: Mapping[str, Any]) -> CoreSchema:
    data = _required(
        object=core.typed_dict_schema({**_fields(shape), **_required(id=_TEXT)}),
        previous_attributes=core.with_default_schema(_schema(shape), default=None),
    )
    return core.typed_dict_schema(
        _required(
            id=_TEXT,
            type=core.str_schema(),
            created=core.int_schema(strict=True),
            livemode=core.bool_schema(strict=True),
            api_version=core.with_default_schema(_VALUE, default=None),
            account=core.with_default_schema(core.any_schema(), default=None),
            data=core.typed_dict_schema(data),
        )
    )


@cache
def _events() -> SchemaValidator:
    choices = {each: _event_schema(KEPT[each.rpartition(".")[0]]) for each in TYPES}
    return SchemaValidator(core.tagged_union_schema(choices, "type"))
