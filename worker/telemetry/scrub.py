"""Masks what must not be read in a log: emails, Stripe's keys, passwords in URLs, and every secret it was told of.

It is the last line of defence, behind the list of events and fields, and works on any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

MASK = "[masked]"

_BETWEEN = r"\s<>\"'(),:;=\[\]{}\\"
"""What separates an email from its surroundings (inside a character class)."""

_PATTERNS = (
    # user:password@ in a URL; before emails, which would take the password for the local part
    re.compile(r"(?<=://)[^/\s@]*:[^/\s]*@"),
    re.compile(r"\b(?:sk|rk|pk|whsec)_[A-Za-z0-9_]+"),
    re.compile(r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}"),
    re.compile(r"(?i)\bpassword=[^&\s]+"),
    # from the start of a word only: a long text without an @ must not take quadratic time
    re.compile(rf"(?<![^{_BETWEEN}@])[^{_BETWEEN}@]+(?:@|%40)[^{_BETWEEN}]+"),
)
_HARMLESS = re.compile(r"[^\s@%=_]*(?:(?<![kc])_[^\s@%=_]*)*")
"""None of the patterns has a match in such a text: each needs a space, one of these signs, or `sk_` and the like."""

_PLAIN = (bool, int, float, type(None))
_PRINTABLE = (date, timedelta, UUID, PurePath)
_MIN_SECRET = 6
"""Characters from which a secret is masked by value: a shorter one would mask half of every line."""


class Scrubber:
    """Masks texts and values. Secrets can be added while it is in use (adding replaces a tuple: no lock)."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: tuple[str, ...] = ()
        for secret in secrets:
            self.register(secret)

    def register(self, secret: str) -> None:
        """Mask `secret` from now on, wherever it appears."""
        if len(secret) >= _MIN_SECRET and secret not in self._secrets:
            self._secrets = tuple(sorted((*self._secrets, secret), key=len, reverse=True))

    def text(self, text: str) -> str:
        """`text` with everything masked that must not be read."""
        if len(text) >= _MIN_SECRET:
            for secret in self._secrets:
                text = text.replace(secret, MASK)
        if _HARMLESS.fullmatch(text):
            return text
        for pattern in _PATTERNS:
            text = pattern.sub(MASK, text)
        return text

    def value(self, value: Any) -> Any:
        """A field's value as JSON knows it; of any other object only the type, for its repr may hold anything."""
        kind = type(value)
        if kind is str:
            return self.text(value)
        if kind in _PLAIN:
            return value
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(inner) for inner in value]
        return self._rare(value)

    def _rare(self, value: Any) -> Any:
        if isinstance(value, Enum):
            return value.name.lower()
        if isinstance(value, _PLAIN):
            return value
        return self.text(str(value)) if isinstance(value, (str, *_PRINTABLE)) else f"<{type(value).__name__}>"
