"""What Stripe remembers of a POST with an `Idempotency-Key` (https://docs.stripe.com/api/idempotent_requests).

The first answer given once execution began is kept, whatever it was, for 24 hours of the sandbox's clock. Until then
the key is in use. A request that never got to execution leaves no trace.
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.stripe.errors import ApiError, invalid

KEPT_SECONDS = 24 * 3600
MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Saved:
    """An answer kept under a key: what was asked (`fingerprint`, `path`), when, and the whole answer."""

    key: str
    fingerprint: str
    path: str
    at: float
    status: int
    body: str
    request_id: str


@dataclass(frozen=True, slots=True)
class _InUse:
    fingerprint: str
    path: str
    request_id: str


class IdempotencyStore:
    """Keys of one account."""

    def __init__(self) -> None:
        self._saved: dict[str, Saved] = {}
        self._in_use: dict[str, _InUse] = {}

    def begin(self, key: str, fingerprint: str, path: str, request_id: str, now: float) -> Saved | None:
        """Takes the key (None), or returns the answer to replay; raises for other parameters (400) and in use (409)."""
        if len(key) > MAX_KEY:
            raise invalid(f"Idempotency keys can have up to {MAX_KEY} characters; this one has {len(key)}.")
        self._prune(key, now)
        known = self._in_use.get(key) or self._saved.get(key)
        if known is None:
            self._in_use[key] = _InUse(fingerprint, path, request_id)
            return None
        _compare(key, known, fingerprint, path)
        if isinstance(known, Saved):
            return known
        raise key_in_use(key, known.request_id)

    def _prune(self, key: str, now: float) -> None:
        saved = self._saved.get(key)
        if saved is not None and now - saved.at >= KEPT_SECONDS:
            del self._saved[key]

    def release(self, key: str) -> None:
        """Nothing was executed: the key is as new. (No effect once an answer is kept.)"""
        self._in_use.pop(key, None)

    def keep(self, saved: Saved) -> None:
        """Execution is over; from now on the key answers from memory."""
        self._in_use.pop(saved.key, None)
        self._saved.pop(saved.key, None)
        self._saved[saved.key] = saved
        while saved.at - (oldest := next(iter(self._saved.values()))).at >= KEPT_SECONDS:
            del self._saved[oldest.key]

    def prune_all(self, now: float) -> int:
        """Drops every key whose time is up; how many are left."""
        for key in list(self._saved):
            self._prune(key, now)
        return len(self._saved)


def _compare(key: str, known: Saved | _InUse, fingerprint: str, path: str) -> None:
    if known.fingerprint == fingerprint:
        return
    what = "with the same parameters they were first used with"
    if known.path != path:
        what = f"for the same endpoint they were first used for ('{path}' vs '{known.path}')"
    message = (
        f"Keys for idempotent requests can only be used {what}. Try using a key other than '{key}' if you meant to"
        " execute a different request."
    )
    headers = {"Original-Request": known.request_id}
    raise ApiError(400, message, kind="idempotency_error", headers=headers)


def key_in_use(key: str, request_id: str | None = None) -> ApiError:
    """409: the request that has this key (`request_id`, if known) is still under way."""
    message = (
        f"There is currently another in-progress request using this Idempotent Key ({key}) (that probably means you"
        " submitted twice, and the other request is still going through). Please try again later."
    )
    headers = {"Original-Request": request_id} if request_id else {}
    return ApiError(409, message, code="idempotency_key_in_use", headers=headers)
