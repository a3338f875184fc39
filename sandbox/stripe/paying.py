"""The endpoints about cards, payments and their clocks, in the form of the table in `routes.py`."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.stripe import clock_endpoints as clocks
from sandbox.stripe import invoice_endpoints as invoices
from sandbox.stripe import payment_methods, setup_intents
from sandbox.stripe.call import Context
from sandbox.stripe.lists import EXPAND, SEARCH
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Spec

_READ = Spec({"expand": EXPAND})
_CARDS = "/v1/payment_methods"
_SETUPS = "/v1/setup_intents"
_BILLS = "/v1/invoices"
_PAYMENTS = "/v1/invoice_payments"
_CLOCKS = "/v1/test_helpers/test_clocks"

ROUTES: list[tuple[str, str, str, Spec, Callable[[Context], Obj]]] = [
    (
        "GET",
        "/v1/customers/*/payment_methods",
        "payment_method",
        payment_methods.LIST_OF_CUSTOMER,
        payment_methods.list_of_customer,
    ),
    ("POST", _CARDS, "payment_method", payment_methods.CREATE, payment_methods.create),
    ("GET", _CARDS, "payment_method", payment_methods.LIST, payment_methods.list_all),
    ("GET", f"{_CARDS}/*", "payment_method", _READ, payment_methods.retrieve),
    ("POST", f"{_CARDS}/*", "payment_method", payment_methods.UPDATE, payment_methods.update),
    ("POST", f"{_CARDS}/*/attach", "payment_method", payment_methods.ATTACH, payment_methods.attach),
    ("POST", f"{_CARDS}/*/detach", "payment_method", payment_methods.DETACH, payment_methods.detach),
    ("POST", _SETUPS, "setup_intent", setup_intents.CREATE, setup_intents.create),
    ("GET", _SETUPS, "setup_intent", setup_intents.LIST, setup_intents.list_all),
    ("GET", f"{_SETUPS}/*", "setup_intent", _READ, setup_intents.retrieve),
    ("POST", f"{_SETUPS}/*/confirm", "setup_intent", setup_intents.CONFIRM, setup_intents.confirm),
    ("POST", f"{_SETUPS}/*/cancel", "setup_intent", setup_intents.CANCEL, setup_intents.cancel),
    ("GET", _BILLS, "invoice", invoices.LIST, invoices.list_all),
    ("GET", f"{_BILLS}/search", "invoice", SEARCH, invoices.search),
    ("GET", f"{_BILLS}/*", "invoice", _READ, invoices.retrieve),
    ("POST", f"{_BILLS}/*/finalize", "invoice", invoices.FINALIZE, invoices.finalize),
    ("POST", f"{_BILLS}/*/pay", "invoice", invoices.PAY, invoices.pay),
    ("POST", f"{_BILLS}/*/void", "invoice", _READ, invoices.void),
    ("POST", f"{_BILLS}/*/mark_uncollectible", "invoice", _READ, invoices.mark_uncollectible),
    ("GET", _PAYMENTS, "invoice", invoices.PAYMENTS, invoices.list_payments),
    ("GET", f"{_PAYMENTS}/*", "invoice", _READ, invoices.retrieve_payment),
    ("GET", "/v1/invoiceitems", "invoice", invoices.ITEMS, invoices.list_items),
    ("GET", "/v1/invoiceitems/*", "invoice", _READ, invoices.retrieve_item),
    ("GET", "/v1/payment_intents/*", "payment_intent", _READ, invoices.retrieve_intent),
    ("POST", _CLOCKS, "test_clock", clocks.CREATE, clocks.create),
    ("GET", _CLOCKS, "test_clock", clocks.LIST, clocks.list_all),
    ("GET", f"{_CLOCKS}/*", "test_clock", _READ, clocks.retrieve),
    ("POST", f"{_CLOCKS}/*/advance", "test_clock", clocks.ADVANCE, clocks.advance),
    ("DELETE", f"{_CLOCKS}/*", "test_clock", Spec({}), clocks.delete),
]
