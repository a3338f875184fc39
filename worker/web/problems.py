"""Errors as problem details (RFC 9457), the same wherever they are met."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus

from worker.domain.accounts import ApiError

PROBLEM = "application/problem+json"


def problem_body(
    status: HTTPStatus, detail: str = "", code: str = "", errors: Sequence[ApiError] = (), applied: Sequence[str] = ()
) -> bytes:
    """`detail` is for people and never repeats what was sent; `code` is a constant for programs; `errors` say where in
    the request, `applied` what of it holds."""
    members: dict[str, object] = {"type": "about:blank", "title": status.phrase, "status": status.value}
    members |= {"detail": detail, "code": code, "errors": [error._asdict() for error in errors]}
    members |= {"applied": list(applied)}
    return json.dumps({name: value for name, value in members.items() if value}).encode()


def problem_bytes(status: HTTPStatus, detail: str) -> bytes:
    """A whole answer for a request that no application sees; the connection ends with it."""
    body = problem_body(status, detail)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {PROBLEM}\r\ncontent-length: {len(body)}\r\n"
        "cache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
