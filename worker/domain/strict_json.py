"""JSON, decoded once and strictly, at the edge.

The traps that this guards against (UTF-16, NaN, duplicate keys, huge integers, deep nesting) are those that
`json.loads(bytes)` would let through or trip over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NoReturn

from worker.errors import Rejected

MAX_INTEGER_DIGITS = 19


def parse_object(body: bytes) -> dict[str, object]:
    """The JSON object in `body`, in UTF-8. Raises `Rejected`."""
    try:
        document = _decoder.decode(body.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise Rejected("not_utf8", f"byte {exc.start} is not UTF-8") from None
    except json.JSONDecodeError as exc:
        raise Rejected("not_json", f"{exc.msg} (character {exc.pos})") from None
    except RecursionError:
        raise Rejected("nested_too_deep", "the JSON nests deeper than the parser goes") from None
    if not isinstance(document, dict):
        raise Rejected("not_an_object", f"the message is a JSON {type(document).__name__}, not an object")
    return document


def _unique_members(members: Iterable[tuple[str, object]]) -> dict[str, object]:
    pairs = list(members)
    document = dict(pairs)
    if len(document) != len(pairs):
        raise Rejected("duplicate_key", "a member occurs twice in one object")
    return document


def _not_a_number(_: str) -> NoReturn:
    raise Rejected("not_a_json_number", "NaN and Infinity are not JSON")


def _integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS + 1:
        raise Rejected("number_too_long", f"an integer has {len(digits)} digits")
    return int(digits)


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise Rejected("number_too_large", "a number exceeds what a double can hold")
    return number


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique_members, parse_constant=_not_a_number, parse_int=_integer, parse_float=_float
)
