"""Who is in the portal, and what an act of theirs is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from sandbox.stripe.call import Answer, Context
from sandbox.stripe.forms import Form, text_at
from sandbox.stripe.objects import Obj
from sandbox.stripe.portal import configurations

Question: TypeAlias = tuple[str, dict[str, str]]
"""What a bank asks, and what its answer brings back."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Who is in the portal: its session, the customer, the overview's path, and what was sent."""

    ctx: Context
    session: Obj
    customer: Obj
    home: str
    form: Form

    @property
    def features(self) -> Obj:
        features: Obj = self.ctx.ledger.tables[configurations.KIND].rows[self.session["configuration"]]["features"]
        return features

    @property
    def back(self) -> tuple[str, str] | None:
        return None if self.session["return_url"] is None else (self.session["return_url"], "Back to the website")

    def cards(self) -> list[Obj]:
        """The customer's, oldest first."""
        return self.ctx.ledger.tables["payment_method"].by("customer", self.customer["id"])

    def sent(self, name: str) -> str:
        return text_at(self.form, name) or ""


@dataclass(frozen=True, slots=True)
class Act:
    """`find`: what it is about, of this customer's; `do`: does it, or returns what a bank asks first; `page`: asks the
    customer, with the problem that the last attempt met."""

    name: str
    find: Callable[[Visit, str], Obj]
    do: Callable[[Visit, Obj], Question | None]
    page: Callable[[Visit, Obj, str | None], Answer] | None = None

    def path(self, identifier: str) -> str:
        kind, _, verb = self.name.partition("/")
        return f"{kind}/{identifier}/{verb}"
