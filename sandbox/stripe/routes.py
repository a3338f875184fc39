"""Which endpoint a method and path mean, what it takes, and which permission a restricted key needs for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from sandbox.stripe import changes, customers, hosted, paying, prices, products, reading, subscriptions, tax_ids
from sandbox.stripe.call import Context
from sandbox.stripe.errors import ApiError
from sandbox.stripe.events import endpoints
from sandbox.stripe.events import reading as events
from sandbox.stripe.lists import EXPAND, SEARCH
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Spec

Endpoint: TypeAlias = Callable[[Context], Obj]

_READ = Spec({"expand": EXPAND})
_NONE = Spec({})
_GROUPED = ("/v1/test_helpers/", "/v1/checkout/", "/v1/billing_portal/")
"""Where an object's id comes after two names."""


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint; `name` is what rate limits count by, `permission` is `<resource>_read` or `<resource>_write`."""

    name: str
    permission: str
    spec: Spec
    endpoint: Endpoint


def _routes() -> dict[tuple[str, str], Route]:
    table: list[tuple[str, str, str, Spec, Endpoint]] = [
        *paying.ROUTES,
        *hosted.ROUTES,
        ("GET", "/v1/account", "account", _READ, reading.account),
        ("POST", "/v1/customers", "customer", customers.CREATE, customers.create),
        ("GET", "/v1/customers", "customer", customers.LIST, customers.list_all),
        ("GET", "/v1/customers/search", "customer", SEARCH, customers.search),
        ("GET", "/v1/customers/*", "customer", _READ, customers.retrieve),
        ("POST", "/v1/customers/*", "customer", customers.UPDATE, customers.update),
        ("DELETE", "/v1/customers/*", "customer", _NONE, customers.delete),
        ("POST", "/v1/customers/*/tax_ids", "customer", tax_ids.CREATE, tax_ids.create),
        ("GET", "/v1/customers/*/tax_ids", "customer", tax_ids.LIST, tax_ids.list_all),
        ("DELETE", "/v1/customers/*/tax_ids/*", "customer", _NONE, tax_ids.delete),
        ("POST", "/v1/products", "product", products.CREATE, products.create),
        ("GET", "/v1/products", "product", products.LIST, products.list_all),
        ("GET", "/v1/products/search", "product", SEARCH, products.search),
        ("GET", "/v1/products/*", "product", _READ, products.retrieve),
        ("POST", "/v1/products/*", "product", products.UPDATE, products.update),
        ("DELETE", "/v1/products/*", "product", _NONE, products.delete),
        ("POST", "/v1/prices", "plan", prices.CREATE, prices.create),
        ("GET", "/v1/prices", "plan", prices.LIST, prices.list_all),
        ("GET", "/v1/prices/search", "plan", SEARCH, prices.search),
        ("GET", "/v1/prices/*", "plan", _READ, prices.retrieve),
        ("POST", "/v1/prices/*", "plan", prices.UPDATE, prices.update),
        ("POST", "/v1/subscriptions", "subscription", subscriptions.CREATE, subscriptions.create),
        ("GET", "/v1/subscriptions", "subscription", subscriptions.LIST, subscriptions.list_all),
        ("GET", "/v1/subscriptions/search", "subscription", SEARCH, subscriptions.search),
        ("GET", "/v1/subscriptions/*", "subscription", _READ, subscriptions.retrieve),
        ("POST", "/v1/subscriptions/*", "subscription", changes.UPDATE, changes.update),
        ("DELETE", "/v1/subscriptions/*", "subscription", subscriptions.CANCEL, subscriptions.cancel),
        ("POST", "/v1/subscriptions/*/resume", "subscription", changes.RESUME, changes.resume),
        ("GET", "/v1/events", "event", events.LIST, events.list_all),
        ("GET", "/v1/events/*", "event", _READ, events.retrieve),
        ("POST", "/v1/webhook_endpoints", "webhook", endpoints.CREATE, endpoints.create),
        ("GET", "/v1/webhook_endpoints", "webhook", endpoints.LIST, endpoints.list_all),
        ("GET", "/v1/webhook_endpoints/*", "webhook", _READ, endpoints.retrieve),
        ("POST", "/v1/webhook_endpoints/*", "webhook", endpoints.UPDATE, endpoints.update),
        ("DELETE", "/v1/webhook_endpoints/*", "webhook", _NONE, endpoints.delete),
    ]
    return {
        (method, path): Route(
            f"{method} {path}", f"{resource}_{'read' if method == 'GET' else 'write'}", spec, endpoint
        )
        for method, path, resource, spec, endpoint in table
    }


ROUTES = _routes()


def route(method: str, path: str) -> tuple[Route, str]:
    """The endpoint and the id in its path ("" without one, both where one is below the other's, with a slash between);
    404 as Stripe's for anything else."""
    exact = ROUTES.get((method, path))
    if exact is not None:
        return exact, ""
    segments = path.split("/")
    place = 4 if path.startswith(_GROUPED) else 3
    if len(segments) > place:
        pattern = "/".join((*segments[:place], "*", *segments[place + 1 :]))
        found = ROUTES.get((method, pattern))
        if found is not None and segments[place]:
            return found, segments[place]
        below = ROUTES.get((method, "/".join((*segments[:place], "*", *segments[place + 1 : -1], "*"))))
        if below is not None and segments[place] and segments[-1]:
            return below, f"{segments[place]}/{segments[-1]}"
    message = f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs."
    raise ApiError(404, message)
