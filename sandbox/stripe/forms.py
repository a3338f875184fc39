"""Stripe's parameters: form-encoded, nested by brackets (`items[0][price]=…`, `expand[]=…`).

Decoded into a tree of dicts and strings. A list is a dict whose keys are its indices; whether a dict is meant as a list
only the parameter's specification knows (`metadata[0]` is no list), so `params.py` decides.
"""

from __future__ import annotations

import hashlib
import json
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from sandbox.stripe.errors import ApiError, invalid

Tree: TypeAlias = "str | dict[str, Tree]"
Form: TypeAlias = "dict[str, Tree]"

_MAX_DEPTH = 8


def decode(raw: bytes) -> Form:
    """The tree of a form body or query string (400 for bytes that are not UTF-8 and for malformed names)."""
    form: Form = {}
    for pair in raw.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            _put(form, _unquote(name), _unquote(value))
    return form


def _unquote(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError as error:
        raise invalid("Invalid request: parameters must be UTF-8.") from error


def _put(form: Form, name: str, value: str) -> None:
    node = form
    *parents, leaf = _segments(name)
    for segment in parents:
        child = node.setdefault(_key(node, segment), {})
        if isinstance(child, str):
            raise _malformed(name)
        node = child
    key = _key(node, leaf)
    if isinstance(node.get(key), dict):
        raise _malformed(name)
    node[key] = value


def _segments(name: str) -> list[str]:
    """`items[0][price]` → `["items", "0", "price"]`."""
    if "[" not in name:
        return [name]
    head, _, rest = name.partition("[")
    if not head or not rest.endswith("]"):
        raise _malformed(name)
    segments = [head, *rest[:-1].split("][")]
    if len(segments) > _MAX_DEPTH or any("[" in segment or "]" in segment for segment in segments):
        raise _malformed(name)
    return segments


def _key(node: Form, segment: str) -> str:
    return segment or str(len(node))


def _malformed(name: str) -> ApiError:
    return invalid(f"Invalid request: malformed parameter name '{name[:100]}'.", param=name[:100])


def fingerprint(method: str, path: str, form: Form) -> str:
    """What an idempotency key is bound to: endpoint and parameters, whatever their order."""
    canonical = json.dumps([method, path, form], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def text_at(form: Form, *path: str) -> str | None:
    """The string at `path`, or None."""
    node: Tree | None = form
    for segment in path:
        node = node.get(segment) if isinstance(node, dict) else None
    return node if isinstance(node, str) else None
