"""The endpoints behind the pages that Stripe hosts (Checkout, the portal), in the form of the table in `routes.py`."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.stripe.call import Context
from sandbox.stripe.checkout import confirming
from sandbox.stripe.checkout import sessions as checkout
from sandbox.stripe.lists import EXPAND
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Spec
from sandbox.stripe.portal import configurations
from sandbox.stripe.portal import sessions as portal

_READ = Spec({"expand": EXPAND})
_CHECKOUT = checkout.PATH
_CONFIGURATIONS = configurations.PATH

ROUTES: list[tuple[str, str, str, Spec, Callable[[Context], Obj]]] = [
    ("POST", _CHECKOUT, "checkout_session", checkout.CREATE, checkout.create),
    ("GET", _CHECKOUT, "checkout_session", checkout.LIST, checkout.list_all),
    ("GET", f"{_CHECKOUT}/*", "checkout_session", _READ, checkout.retrieve),
    ("POST", f"{_CHECKOUT}/*", "checkout_session", checkout.UPDATE, checkout.update),
    ("POST", f"{_CHECKOUT}/*/expire", "checkout_session", checkout.EXPIRE, checkout.expire),
    ("GET", f"{_CHECKOUT}/*/line_items", "checkout_session", checkout.LINE_ITEMS, checkout.list_line_items),
    ("POST", "/v1/payment_pages/*/confirm", "checkout_session", confirming.CONFIRM, confirming.confirm),
    ("POST", _CONFIGURATIONS, "customer_portal", configurations.CREATE, configurations.create),
    ("GET", _CONFIGURATIONS, "customer_portal", configurations.LIST, configurations.list_all),
    ("GET", f"{_CONFIGURATIONS}/*", "customer_portal", _READ, configurations.retrieve),
    ("POST", f"{_CONFIGURATIONS}/*", "customer_portal", configurations.UPDATE, configurations.update),
    ("POST", "/v1/billing_portal/sessions", "customer_portal", portal.CREATE, portal.create),
]
