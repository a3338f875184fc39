"""Who owns a customer of Stripe's, and whose a subscription on it is (docs/design.md, *Whose a subscription is*).

The user whom it was made for owns a customer as its payer. Others may be given a role on it, and that one may lose it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class OwnerKind(StrEnum):
    USER = "user"
    PROJECT = "project"


class Role(StrEnum):
    PAYER = "payer"
    """May pay: Checkout, cards and defaults are theirs, too."""
    MEMBER = "member"
    """May have subscriptions there."""


class Owner(NamedTuple):
    """`id`: the user's, or the project's."""

    kind: OwnerKind
    id: str


class Share(NamedTuple):
    """An owner of a customer, and as what."""

    owner: Owner
    role: Role


def user(user_id: str) -> Owner:
    return Owner(OwnerKind.USER, user_id)
