"""Products and prices of our plans, as `subkeeper setup` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import PriceFact
from worker.stripe_api.parsing import Fields, ProductFact, price_fact, product_fact
from worker.stripe_api.requestor import Call, Requestor


class Products:
    """Asks with `requestor`; errors as the gateway's."""

    def __init__(self, requestor: Requestor) -> None:
        self._requestor = requestor

    def find(self, product_id: str, *, deadline: Deadline) -> ProductFact | None:
        """The product, or None where there is none with this id (it may be chosen when creating one)."""
        params = {"ids": [product_id], "limit": 1}
        reply = self._requestor.send(Call("products.list", "get", "/v1/products", params, Lane.LIVE, deadline))
        return next(map(product_fact, Fields("list", reply.data).get("data", list)), None)

    def create(self, params: Mapping[str, object], *, key: str, deadline: Deadline) -> ProductFact:
        call = Call("products.create", "post", "/v1/products", params, Lane.LIVE, deadline, key)
        return product_fact(self._requestor.send(call).data)

    def update(self, product_id: str, metadata: Mapping[str, str], *, key: str, deadline: Deadline) -> ProductFact:
        """Sets these keys of the product's metadata, and leaves the others."""
        path = f"/v1/products/{quote(product_id, safe='')}"
        call = Call("products.update", "post", path, {"metadata": metadata}, Lane.LIVE, deadline, key)
        return product_fact(self._requestor.send(call).data)

    def create_price(self, params: Mapping[str, object], *, key: str, deadline: Deadline) -> PriceFact:
        call = Call("prices.create", "post", "/v1/prices", params, Lane.LIVE, deadline, key)
        return price_fact(self._requestor.send(call).data)
