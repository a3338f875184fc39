"""Whatever is asked, the answer is one of Stripe's, and the state stays whole."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.stripe.routes import ROUTES
from sandbox.stripe.service import Service

_PLAUSIBLE = ["", "true", "0", "1", "now", "-1", "1800000000", "9" * 18, "usd", "month", "a@b.co", "all", "x" * 300]
_PLAUSIBLE += ["card", "tok_visa", "pm_card_visa", "pm_card_chargeDeclined", "4242424242424242", "12", "2030"]
_NESTED = [
    "",
    "[]",
    "[0]",
    "[price]",
    "[0][price]",
    "[0][id]",
    "[gte]",
    "[interval]",
    "[type]",
    "[name]",
    "[end_behavior]",
    "[token]",
    "[number]",
    "[exp_month]",
    "[default_payment_method]",
]


def _service() -> Service:
    service = Service(secret_key="sk", seed="s", state_file=None, now=lambda: 1.79e9, monotonic=lambda: 0.0)
    _ask(service, "POST", "/v1/products", {"id": "prod_1", "name": "P"})
    price = {"product": "prod_1", "currency": "usd", "unit_amount": "0", "recurring[interval]": "month"}
    made = json.loads(_ask(service, "POST", "/v1/prices", price)[1])
    customer = json.loads(_ask(service, "POST", "/v1/customers", {})[1])
    order = {"customer": customer["id"], "items[0][price]": made["id"], "trial_period_days": "5"}
    assert _ask(service, "POST", "/v1/subscriptions", order)[0] == 200
    assert _ask(service, "POST", "/v1/payment_methods/pm_card_visa/attach", {"customer": customer["id"]})[0] == 200
    assert _ask(service, "POST", "/v1/setup_intents", {"customer": customer["id"], "usage": "on_session"})[0] == 200
    clock = json.loads(_ask(service, "POST", "/v1/test_helpers/test_clocks", {"frozen_time": "1800000000"})[1])
    assert _ask(service, "POST", "/v1/customers", {"test_clock": clock["id"]})[0] == 200
    return service


def _ask(service: Service, method: str, path: str, params: dict[str, str]) -> tuple[int, bytes]:
    headers = {"Authorization": "Bearer sk", "Idempotency-Key": urlencode(params)[:255]}
    call = service.open(method, path, urlencode(params).encode(), headers)
    answer = service.begin(call, None) or service.execute(call, None)
    return answer.status, answer.body


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_parameters_upset_an_endpoint(data: st.DataObject) -> None:
    service = _service()
    known = [row["id"] for table in service.ledger.tables.values() for row in table.all()]
    for _ in range(5):
        method, pattern = data.draw(st.sampled_from(sorted(ROUTES)))
        names = st.sampled_from(sorted(ROUTES[method, pattern].spec.fields) or ["x"])
        fields = st.builds(str.__add__, names, st.sampled_from(_NESTED))
        values = st.one_of(st.sampled_from([*known, *_PLAUSIBLE]), st.text(max_size=8))
        params = data.draw(st.dictionaries(fields, values.filter(lambda text: text.isprintable()), max_size=4))
        path = pattern.replace("*", data.draw(st.sampled_from(known)))
        status, body = _ask(service, method, path, params)
        assert status in (200, 400, 402, 404, 429)
        assert ("error" in json.loads(body)) is (status != 200)
