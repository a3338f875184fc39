"""Secrets: from the environment, else from a file that is read again at each use, so that keys can be rotated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from pydantic import SecretStr

from worker.errors import Misconfigured

MIN_SECRET_KEY = 32
"""Characters that one SUBKEEPER_SECRET_KEY must have at least."""

MIN_JWT_SECRET = 32
"""Bytes that HS256 needs (RFC 7518, 3.2)."""

_STRIPE_KEY = re.compile(r"(?:sk|rk)_(?P<mode>live|test)_[A-Za-z0-9_]+")
_WEBHOOK_NAME = re.compile(r"[a-z0-9_-]{1,32}")
_WEBHOOK_SECRET = re.compile(r"whsec_[A-Za-z0-9+/=_-]{16,}")
_MASK = "********"
_PASSWORDS = (
    re.compile(r"(^(?:[\w+]*:)?//[^:/]*?(?::|%3[Aa]))([^@]+)(?=@)"),
    re.compile(r"([?&;#]\s*(?!passfile)[^=&;]*(?:pass|pwd|secret|scram_\w+_key)[^=&;]*=)([^&]*)", re.IGNORECASE),
)
"""In a database's URL, as SQLAlchemy reads it: one may hold a slash, a space or a #; and libpq has more than one."""


class Secret(NamedTuple):
    """Where one comes from: the environment's `value`, else the `file`; `name` is the key that gave it."""

    name: str
    value: SecretStr | None
    file: Path | None

    @property
    def is_to_come(self) -> bool:
        """Whether the file is named and not there, so that somebody may be about to write it. A relative name may be
        the secret itself."""
        return self.value is None and self.file is not None and self.file.is_absolute() and not _exists(self.file)

    def read(self) -> str | None:
        """Its text, or None where there is none. Raises `Misconfigured` for a file that can't be read or is empty."""
        if self.value is not None:
            return self.value.get_secret_value().strip() or None
        if self.file is None:
            return None
        if not self.file.is_absolute() and not self.file.exists():  # may be the secret, given in the wrong place
            fix = "Name the file that holds the secret; the secret itself goes where it is named without _FILE"
            raise Misconfigured(self.name, "names no file that is there", fix)
        text = read_text(self.name, self.file, "file").strip()
        if not text:
            raise Misconfigured(self.name, f"{self.file} is empty", "Write the secret into it")
        return text

    def __str__(self) -> str:
        """Whether it is set, and by what."""
        if self.value is not None:
            return f"{_MASK} (set by {self.name})"
        return f"{_MASK} (read from {self.file}, set by {self.name})" if self.file else "not set"


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # it can't be told: reading it says why
        return True


def read_text(name: str, file: Path, kind: str) -> str:
    """What the file says that `name` gives. Raises `Misconfigured`."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        not_text = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else "no file has such a name"
        reason = error.strerror if isinstance(error, OSError) else not_text
        fix = f"Name a {kind} that this process may read"
        raise Misconfigured(name, f"cannot read {file}: {reason}", fix) from None


def masked_url(url: str) -> str:
    """A database's URL with its passwords, if it has any, masked."""
    for pattern in _PASSWORDS:
        url = pattern.sub(rf"\1{_MASK}", url)
    return url


def passwords_of(url: str) -> list[str]:
    """Those in a database's URL, as they stand there and decoded."""
    found = [each[2] for pattern in _PASSWORDS for each in pattern.finditer(url)]
    return [*found, *map(unquote, found), *map(unquote_plus, found)]


def check_stripe_key(name: str, key: str, livemode_name: str, *, livemode: bool) -> None:
    """Refuse what is not a secret key of Stripe, and a key whose mode is not the configured one.

    Raises `Misconfigured`, which never repeats the key.
    """
    match = _STRIPE_KEY.fullmatch(key)
    if match is None:
        raise Misconfigured(name, "is not a secret key of Stripe", "Give one that begins with sk_ or rk_")
    if (match["mode"] == "live") != livemode:
        said = str(livemode).lower()
        fix = f"Give a {'live' if livemode else 'test'} key, or set {livemode_name} = {str(not livemode).lower()}"
        raise Misconfigured(name, f"is a {match['mode']} key beside {livemode_name} = {said}", fix)


def split_secret_keys(name: str, text: str) -> list[str]:
    """One or several keys separated by commas, newest first. Raises `Misconfigured` for one that is too short."""
    keys = [key.strip() for key in text.split(",") if key.strip()]
    if any("\n" in key for key in keys):
        raise Misconfigured(name, "holds a key of several lines", "Separate keys by commas")
    if not keys or any(len(key) < MIN_SECRET_KEY for key in keys):
        fix = f"Give at least {MIN_SECRET_KEY} random characters each: openssl rand -base64 48"
        raise Misconfigured(name, "is empty or has a key that is too short", fix)
    return keys


def split_webhook_secrets(name: str, text: str) -> dict[str, str]:
    """`name=whsec_…`, several separated by commas or lines. Raises `Misconfigured`, which never repeats one."""
    found: dict[str, str] = {}
    fix = "Write name=whsec_…, several separated by commas; a name has 1 to 32 of the characters a-z 0-9 _ -"
    for number, entry in enumerate(re.split(r"[,\s]+", text.strip(", \t\r\n")), 1):
        label, _, secret = entry.partition("=")
        if not _WEBHOOK_NAME.fullmatch(label) or not _WEBHOOK_SECRET.fullmatch(secret):
            raise Misconfigured(name, f"entry {number} of it is not a name and a signing secret of Stripe", fix)
        if label in found or secret in found.values():
            raise Misconfigured(
                name,
                f"entry {number} of it has a name or a secret of before",
                "Give each secret once, under its own name",
            )
        found[label] = secret
    return found
