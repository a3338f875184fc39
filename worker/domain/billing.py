"""What a user is shown of cards and bills. It is personal, and read at Stripe each time: nothing of it is kept, or told
by `repr`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.errors import SubkeeperError


@dataclass(frozen=True, slots=True)
class ShownMethod:
    """A payment method. What only cards have is None for others."""

    id: str
    type: str
    brand: str | None = field(default=None, repr=False)
    last4: str | None = field(default=None, repr=False)
    exp_month: int | None = field(default=None, repr=False)
    exp_year: int | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ShownAddress:
    city: str | None = field(repr=False)
    country: str | None = field(repr=False)
    line1: str | None = field(repr=False)
    line2: str | None = field(repr=False)
    postal_code: str | None = field(repr=False)
    state: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ShownTaxId:
    """`type` is Stripe's (`eu_vat`)."""

    type: str = field(repr=False)
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ShownCustomer:
    id: str
    name: str | None = field(repr=False)
    address: ShownAddress | None = field(repr=False)
    tax_ids: list[ShownTaxId] = field(repr=False)


class NoCustomer(SubkeeperError):
    """The user has none (yet), or Stripe has none any more."""


class NoStripe(SubkeeperError):
    """There is no key to ask Stripe with."""


class WrongOrder(SubkeeperError):
    """An order that lacks one that is present, or has another: `present` are in their order."""

    def __init__(self, present: Sequence[str]) -> None:
        super().__init__("not exactly the payment methods that are there")
        self.present = tuple(present)


class Card(NamedTuple):
    """A payment method in its place. `shown`: what Stripe says of it; None: it isn't asked, or was too early."""

    id: str
    is_default: bool
    shown: ShownMethod | None
