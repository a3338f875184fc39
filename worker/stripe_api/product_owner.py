"""Which database a namespace's users are kept in, as the plans' products at Stripe say.

Two databases with one account and one namespace (development and staging, both with the defaults) would take each
other's customers for their own. So `setup` writes the database's id into the products, and every process reads it. A
copy of a database has the id of the original: it isn't told apart.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping

import structlog

from worker.domain.deadline import Deadline
from worker.errors import Misconfigured
from worker.settings.sections import PlanSettings
from worker.stripe_api.catalogue import CALL_SECONDS
from worker.stripe_api.errors import Unauthorized
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.parsing import ProductFact


class ProductOwner:
    """The products of `plans`, which other namespaces may share: each has a word of its own in their metadata."""

    def __init__(self, gateway: StripeGateway, plans: Mapping[str, PlanSettings], namespace: str) -> None:
        self._gateway = gateway
        self._plans = plans
        self._namespace = namespace
        # Stripe allows 40 characters, and fewer kinds of them than a namespace may have.
        self._word = "subkeeper_database_" + hashlib.sha256(namespace.encode()).hexdigest()[:16]
        self._told: set[str] = set()
        self._log = structlog.get_logger(__name__)

    def require(self, database_id: str) -> None:
        """Raises `Misconfigured` where a product names another database. One that names none, or that this key may not
        read, is told once and accepted."""
        for plan in self._plans:
            try:
                product = self._product(plan)
            except Unauthorized as refusal:
                if refusal.failure.status != 403 or refusal.failure.operation != "products.list":
                    raise
                if self._is_news(plan):
                    self._log.warning("product.refused", plan=plan)
                continue
            if product is not None and self._is_ours(product, database_id) is None and self._is_news(plan):
                self._log.warning("product.unclaimed", plan=plan)

    def write(self, plan: str, database_id: str, *, take_over: bool) -> str:
        """Makes the plan's product name this database, and reads that back. Returns what was done or found.

        Raises `Misconfigured` where it names another one, unless that is to be taken over.
        """
        product = self._product(plan)
        if product is None:
            return f"product of plan {plan}: not there, so it names no database"
        if not take_over and self._is_ours(product, database_id):
            return f"product {product.id}: names this database"
        # A key of its own for each time: Stripe would answer from memory where two databases took over from each other.
        key = f"subkeeper-setup-{secrets.token_hex(16)}"
        deadline = Deadline.after(CALL_SECONDS)
        self._gateway.products.update(product.id, {self._word: database_id}, key=key, deadline=deadline)
        product = self._product(plan)
        if product is not None:
            self._is_ours(product, database_id)
        return f"product of plan {plan}: names this database now"

    def _product(self, plan: str) -> ProductFact | None:
        deadline = Deadline.after(CALL_SECONDS)
        key = self._plans[plan].lookup_key
        price = self._gateway.prices([key], deadline=deadline).get(key)
        return None if price is None else self._gateway.products.find(price.product_id, deadline=deadline)

    def _is_ours(self, product: ProductFact, database_id: str) -> bool | None:
        """None where the product names no database yet."""
        named = product.metadata.get(self._word)
        if named in {None, database_id}:
            return None if named is None else True
        raise Misconfigured(
            "database.url",
            f"at Stripe, the product {product.id} says that the users of namespace {self._namespace!r} are kept in"
            f" another database ({named}; this one is {database_id})",
            "Use that database, or another namespace or account. Only if that database is lost or out of use for good:"
            " `subkeeper setup --take-over`",
        )

    def _is_news(self, plan: str) -> bool:
        known = plan in self._told
        self._told.add(plan)
        return not known
