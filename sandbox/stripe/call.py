"""One request on its way through the sandbox, and the answer it gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sandbox.stripe.errors import ApiError
from sandbox.stripe.forms import Form
from sandbox.stripe.ledger import Ledger, Transaction
from sandbox.stripe.params import Params, merged


@dataclass(slots=True)
class Call:
    """A request as read: `params` is the decoded form, `key` the idempotency key of a POST."""

    method: str
    path: str
    params: Form
    request_id: str
    authorization: str
    version: str
    key: str | None
    user_id: str | None
    malformed: ApiError | None = None
    fingerprint: str = ""
    holds_key: bool = False


@dataclass(slots=True)
class Answer:
    """A response: JSON `body`, Stripe's `headers`, and what the request log wants to know."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    replayed: bool = False


@dataclass(slots=True)
class Context:
    """What an endpoint works with: the ledger to read, a transaction to write, its parameters, its path's id."""

    ledger: Ledger
    tx: Transaction
    params: Params
    identifier: str
    account: str

    @property
    def now(self) -> int:
        return self.tx.now

    def fields(self, *names: str) -> dict[str, Any]:
        """Those of the named parameters that were sent."""
        return {name: self.params[name] for name in names if name in self.params}

    def metadata(self, known: dict[str, str]) -> dict[str, Any]:
        """The metadata after this request, under its name, if it was sent; `known` is what there was."""
        return {"metadata": merged(known, self.params["metadata"])} if "metadata" in self.params else {}
