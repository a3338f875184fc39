"""Keys that JWTs are verified by: those that a JWKS URL tells (RFC 7517), or one shared secret.

A key has its algorithm with it, and verifies by no other one: what a token's header says is never believed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple, Protocol

import jwt

from worker.domain.callers import MustWait
from worker.errors import Unavailable

ASYMMETRIC = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})

REFETCH_SECONDS = 60.0
"""Between two questions because of a `kid` that isn't known: anybody can invent one."""

FRESH_SECONDS = 300.0
"""After that the keys are asked for anew, so that one that was withdrawn ends."""


class Key(NamedTuple):
    """What PyJWT verifies by, and the one algorithm for it."""

    key: jwt.PyJWK | str
    algorithm: str


class Keys(Protocol):
    @property
    def are_known(self) -> bool:
        """Whether there is any to verify by."""

    def find(self, kid: str | None, *, may_wait: bool = True) -> Key | None:
        """The key of that id; None where there is none. It may ask for keys, for which the thread must be one that
        `may_wait`. Raises `Unavailable` while no keys are known at all, and `MustWait`."""

    def follow(self) -> bool:
        """Called every second or so: keeps the keys fresh; True where they were just had. Raises `Unavailable` or
        `Misconfigured` where that fails: keys that were had before stay in force."""


class SharedSecret:
    """HS256 under one secret, whatever `kid` a token names."""

    def __init__(self, read: Callable[[], str]) -> None:
        """`read` tells it as it is now. Raises what `read` raises."""
        self._read = read
        self._key = Key(read(), "HS256")

    @property
    def are_known(self) -> bool:
        return True

    def find(self, kid: str | None, *, may_wait: bool = True) -> Key:  # noqa: ARG002 - as `Keys` has it
        return self._key

    def follow(self) -> bool:
        self._key = Key(self._read(), "HS256")
        return True


class JwksKeys:
    """The keys at a URL. `fetch` gets the document's bytes; `clock` is monotonic, in seconds.

    Those that are known verify without waiting; while others can't be had they stay in force.
    """

    def __init__(self, fetch: Callable[[], bytes], clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._fetching = threading.Lock()
        self._keys: Mapping[str, Key] | None = None
        self._asked = -REFETCH_SECONDS
        self._answered = -FRESH_SECONDS

    @property
    def are_known(self) -> bool:
        return self._keys is not None

    def find(self, kid: str | None, *, may_wait: bool = True) -> Key | None:
        found = self._known(kid)
        if found is None and not may_wait:
            raise MustWait
        if found is None:
            with self._fetching:  # whoever waited here looks again first
                found = self._known(kid)
                if found is None and self._may_ask():
                    with suppress(Unavailable):  # `follow` tells of it
                        self._ask()
                    found = self._known(kid)
        if found is None and not self.are_known:
            raise Unavailable("jwks", "the keys have not been had yet")
        return found

    def follow(self) -> bool:
        if self._clock() - self._answered < FRESH_SECONDS:
            return True
        with self._fetching:
            if not self._may_ask():
                return False
            self._ask()
            return True

    def _known(self, kid: str | None) -> Key | None:
        """A token that names no key is verified by the only one that there is."""
        keys = self._keys or {}
        if kid is None and len(keys) == 1:
            return next(iter(keys.values()))
        return keys.get(kid) if kid is not None else None

    def _may_ask(self) -> bool:
        """Until there are keys, more often: the server may not be up yet."""
        pause = REFETCH_SECONDS if self._keys is not None else REFETCH_SECONDS / 12
        return self._clock() - self._asked >= pause

    def _ask(self) -> None:
        self._asked = self._clock()
        self._keys = parsed(self._fetch())
        self._answered = self._clock()


def parsed(document: bytes) -> Mapping[str, Key]:
    """The keys for signatures in a JWKS, by `kid`; others are left out. Raises `Unavailable` where there is none."""
    try:
        listed = json.loads(document)["keys"]
        found = [key for each in listed if isinstance(each, dict) and (key := _key(each)) is not None]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unavailable("jwks", "the answer is no JWKS") from None
    if not found:
        raise Unavailable("jwks", "the answer has no key for signatures that can be used")
    return dict(found)


def _key(member: Mapping[str, object]) -> tuple[str, Key] | None:
    """Symmetric ones are never taken from there: whoever may read the document could sign."""
    kid = member.get("kid", "")
    if member.get("kty") == "oct" or member.get("use", "sig") != "sig" or not isinstance(kid, str):
        return None
    try:
        key = jwt.PyJWK(dict(member))
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return (kid, Key(key, key.algorithm_name)) if key.algorithm_name in ASYMMETRIC else None
