"""Secrets: from the environment, else from a file that is read again at each use, so that keys can be rotated."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import SecretStr

from worker.errors import Misconfigured

MIN_SECRET_KEY = 32
"""Characters that one SUBKEEPER_SECRET_KEY must have at least."""

_STRIPE_KEY = re.compile(r"(?:sk|rk)_(?P<mode>live|test)_\w+")


def read_secret(name: str, value: SecretStr | None, file: Path | None) -> str | None:
    """The secret's text, or None where neither `value` nor `file` is given. `name` is the file's key, for errors.

    Raises `Misconfigured` for a file that cannot be read or is empty.
    """
    if value is not None:
        return value.get_secret_value().strip() or None
    if file is None:
        return None
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        fix = "Name a file that this process may read"
        raise Misconfigured(name, f"cannot read {file}: {reason}", fix) from None
    if not text:
        raise Misconfigured(name, f"{file} is empty", "Write the secret into it")
    return text


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
    if not keys or any(len(key) < MIN_SECRET_KEY for key in keys):
        fix = f"Give at least {MIN_SECRET_KEY} random characters each: openssl rand -base64 48"
        raise Misconfigured(name, "is empty or has a key that is too short", fix)
    return keys
