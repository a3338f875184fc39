"""Identifiers in Stripe's form, drawn from a seed so that a run can be repeated."""

from __future__ import annotations

import random
import secrets

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [first + second for second in _ALPHABET for first in _ALPHABET]
_SHORT = 14  # customers, products, subscription items, requests
_LONG = 24  # everything newer
_SECRET = 32


class Identifiers:
    """Draws identifiers; the same seed gives the same ones in the same order."""

    def __init__(self, seed: str) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - identifiers of a sandbox are no secrets

    def _draw(self, length: int) -> str:
        """Two characters at a time: drawing is a tenth of a request otherwise. `length` is even."""
        number = self._rng.getrandbits(6 * length)
        pairs = []
        for _ in range(length // 2):
            number, digit = divmod(number, len(_PAIRS))
            pairs.append(_PAIRS[digit])
        return "".join(pairs)

    def short(self, prefix: str) -> str:
        """`cus_…`, `prod_…`, `si_…`, `req_…`: 14 characters."""
        return f"{prefix}_{self._draw(_SHORT)}"

    def long(self, prefix: str) -> str:
        """`sub_1…`, `price_1…`, `in_1…`, `evt_1…`: 25 characters."""
        return f"{prefix}_1{self._draw(_LONG)}"

    @staticmethod
    def unguessable(length: int = _LONG) -> str:
        """What lets in whoever has it (the address of a page): from no seed, since seeds are known."""
        return "".join(secrets.choice(_ALPHABET) for _ in range(length))

    def secret(self, prefix: str) -> str:
        """`whsec_…`: 32 characters."""
        return f"{prefix}_{self._draw(_SECRET)}"


def secret_key(seed: str) -> str:
    """The sandbox's default secret key."""
    return Identifiers(f"secret:{seed}").secret("sk_test")


def account_id(seed: str) -> str:
    """The sandbox's account: another seed is another account."""
    return f"acct_1{Identifiers(f'account:{seed}')._draw(16)}"  # noqa: SLF001 - same module
