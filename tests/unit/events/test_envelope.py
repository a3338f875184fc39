"""An event keeps what is listed, and only what we signed is an event."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.domain.event import TYPES, Event
from worker.errors import Rejected
from worker.events.envelope import Envelopes, UnknownKey
from worker.events.kept import KEPT
from worker.events.reading import heard, pruned
from worker.sealing import Sealer

OLD, NEW = "o" * 32, "n" * 32
CANARY = "ada@example.org"
PERSONAL = (
    "account_name", "billing_details", "card", "client_reference_id", "customer_address", "customer_details",
    "customer_email", "customer_name", "description", "email", "hosted_invoice_url", "name", "phone", "receipt_email",
    "shipping", "url", "us_bank_account",
)  # fmt: skip

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


def event(**changed: Any) -> dict[str, Any]:
    return {
        "id": "evt_1",
        "type": "customer.subscription.updated",
        "created": 1_800_000_000,
        "api_version": "2026-10-28.endive",
        "livemode": False,
        "data": {"object": {"id": "sub_1", "status": "active"}, "previous_attributes": {"status": "trialing"}},
        **changed,
    }


def about(kind: str, **fields: Any) -> dict[str, Any]:
    return event(type=kind, data={"object": {"id": "obj_1", **fields}})


def test_there_are_no_more_types_than_stripe_lists_at_once() -> None:
    assert len(TYPES) == len(set(TYPES)) <= 20


@pytest.mark.parametrize("kind", TYPES)
def test_nothing_personal_is_kept_of_any_type(kind: str) -> None:
    personal = dict.fromkeys(PERSONAL, CANARY)
    item = {"id": "si_1", "metadata": {"note": CANARY}, "price": {"id": "price_1", "nickname": CANARY}}
    nested = {
        "metadata": {"note": CANARY, "user_id": "u1"},
        "items": {"data": [item]},
        "invoice_settings": {"default_payment_method": "pm_1", "footer": CANARY},
        "lines": {"data": [{"description": CANARY}]},
    }
    found = pruned(about(kind, **personal, **nested), "webhook")
    assert CANARY not in repr(found)
    assert found.object["metadata"] == {"user_id": "u1"}


def test_the_accounts_find_what_they_need_of_checkout_and_cards() -> None:
    session = pruned(
        about(
            "checkout.session.completed",
            mode="setup",
            status="complete",
            setup_intent="seti_1",
            customer="cus_1",
            metadata={"subkeeper": "d"},
        ),
        "poll",
    )
    assert session.object == {
        "id": "obj_1",
        "customer": "cus_1",
        "status": "complete",
        "metadata": {"subkeeper": "d"},
        "mode": "setup",
        "setup_intent": "seti_1",
    }
    detached = event(
        type="payment_method.detached",
        data={"object": {"id": "pm_1", "customer": None}, "previous_attributes": {"customer": "cus_1"}},
    )
    assert pruned(detached, "poll").previous == {"customer": "cus_1"}


def test_of_an_expanded_object_its_id_is_kept() -> None:
    found = pruned(about("invoice.paid", customer={"id": "cus_1", "email": CANARY}), "poll")
    assert found.object["customer"] == "cus_1"


@pytest.mark.parametrize("kept", ["x" * 500, "\U0001f600" * 500, 2**63 - 1, -(2**63), True, None])
def test_a_plain_value_is_kept_as_far_as_postgres_and_stripe_go(kept: object) -> None:
    assert {read(kept) for read in (_by_json, _by_dict)} == {kept}


@pytest.mark.parametrize(
    "odd",
    ["x" * 501, "\U0001f600" * 501, 2**63, -(2**63) - 1, 1.5, 1.0, "a\x00b", "\ud800", [], ["x"], {}, {"name": CANARY}],
)
def test_what_is_no_plain_value_is_not_kept(odd: object) -> None:
    assert {read(odd) for read in (_by_json, _by_dict)} == {None}


def _by_json(value: object) -> object:
    found = heard(json.dumps(about("invoice.paid", status=value)).encode(), "webhook").event
    assert isinstance(found, Event)
    return found.object["status"]


def _by_dict(value: object) -> object:
    return pruned(about("invoice.paid", status=value), "webhook").object["status"]


@pytest.mark.parametrize(
    "broken",
    [
        event(id=None),
        event(type=7),
        event(created="soon"),
        event(created=True),
        event(created=10**30),
        event(livemode=None),
        event(data=None),
        event(data={"object": {"status": "active"}}),
        event(data={"object": []}),
    ],
)
def test_an_event_that_lacks_what_it_must_have_is_rejected(broken: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as refused:
        pruned(broken, "webhook")
    assert refused.value.reason == "event_malformed"


def test_a_type_that_was_not_asked_for_is_told_apart() -> None:
    with pytest.raises(Rejected) as refused:
        pruned(event(type="charge.succeeded"), "webhook")
    assert refused.value.reason == "event_type_unknown"


@given(data=JSON, previous=JSON)
def test_whatever_an_object_holds_it_is_kept_or_rejected(data: object, previous: object) -> None:
    try:
        found = pruned(event(data={"object": data, "previous_attributes": previous}), "poll")
    except Rejected:
        return
    assert ENVELOPES.open(ENVELOPES.seal(found)) == found


def formed(shape: Any) -> st.SearchStrategy[Any]:
    """As Stripe's objects of that shape are: with what nobody keeps, and with something odd now and then."""
    if isinstance(shape, list):
        usual: st.SearchStrategy[Any] = st.lists(formed(shape[0]), max_size=2)
    elif shape is None:
        usual = st.sampled_from(["x", "\u00e4", 7, -(2**63), True, None])
    else:
        fields = {name: formed(inner) for name, inner in shape.items()}
        usual = st.fixed_dictionaries({}, optional=fields | {"email": st.just(CANARY), "id": st.just("obj_1")})
    odd = JSON | st.sampled_from(["long" * 200, 2**63, "nul\x00", "\ud800", {"id": "obj_2"}])
    return st.integers(0, 99).flatmap(lambda chance: odd if chance == 57 else usual)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_what_has_the_form_of_stripes_objects_is_read_as_what_was_decoded(drawn: st.DataObject) -> None:
    kind = drawn.draw(st.sampled_from(TYPES))
    shape = formed(KEPT[kind.rpartition(".")[0]])
    data = {"object": drawn.draw(shape), "previous_attributes": drawn.draw(shape)}
    made = event(type=kind, created=drawn.draw(st.sampled_from([*range(9), 10**12, 1.0])), data=data)
    body = json.dumps(made, ensure_ascii=drawn.draw(st.booleans())).encode(errors="replace")
    assert _reason(heard(body, "webhook").event) == _reason(_pruned(json.loads(body)))


def test_an_empty_text_is_a_text_however_it_comes() -> None:
    made = event(id="", data={"object": {"id": "", "customer": ""}, "previous_attributes": None})
    assert heard(json.dumps(made).encode(), "webhook").event == pruned(made, "webhook")


@given(data=JSON, previous=JSON, account=JSON, livemode=JSON)
def test_what_comes_as_json_is_read_as_what_was_decoded(
    data: object, previous: object, account: object, livemode: object
) -> None:
    made = event(data={"object": data, "previous_attributes": previous}, account=account, livemode=livemode)
    found = heard(json.dumps(made).encode(), "webhook")
    assert (found.account, found.livemode) == (account, livemode)
    assert _reason(found.event) == _reason(_pruned(made))


def _pruned(made: dict[str, Any]) -> Event | Rejected:
    try:
        return pruned(made, "webhook")
    except Rejected as rejected:
        return rejected


def _reason(found: Event | Rejected) -> Event | str:
    return found.reason if isinstance(found, Rejected) else found


ENVELOPES = Envelopes(Sealer([NEW]))
SEALED = ENVELOPES.seal(pruned(event(), "webhook"))


def test_what_was_signed_opens_as_it_was() -> None:
    assert ENVELOPES.open(SEALED) == pruned(event(), "webhook")


@given(place=st.integers(0, len(SEALED) - 1), bit=st.integers(0, 7))
def test_one_bit_that_differs_is_a_forgery_or_names_another_key(place: int, bit: int) -> None:
    altered = bytearray(SEALED)
    altered[place] ^= 1 << bit
    with pytest.raises(Rejected) as refused:
        ENVELOPES.open(bytes(altered))
    assert refused.value.reason in ({"envelope_forged", "envelope_key_unknown"} if place < 8 else {"envelope_forged"})


@given(body=st.binary(max_size=200))
def test_what_nobody_signed_is_a_forgery(body: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        ENVELOPES.open(body)
    assert refused.value.reason == "envelope_forged"


def test_while_keys_are_rotated_both_are_taken() -> None:
    both, old = Envelopes(Sealer([NEW, OLD])), Envelopes(Sealer([OLD]))
    assert both.open(old.seal(pruned(event(), "poll"))).source == "poll"
    with pytest.raises(UnknownKey):
        old.open(SEALED)


def test_a_wrong_signature_under_a_key_that_we_have_is_a_forgery() -> None:
    with pytest.raises(Rejected) as refused:
        ENVELOPES.open(SEALED[:9] + b"0" * 64 + SEALED[73:])
    assert refused.value.reason == "envelope_forged"


@pytest.mark.parametrize("content", ["[]", "7", "{}", '{"created": 1}', "not json", json.dumps({"created": "x"})])
def test_what_another_release_signed_and_this_one_cannot_read_is_no_forgery(content: str) -> None:
    signed = Sealer([NEW]).sign(content.encode()) + b"." + content.encode()
    with pytest.raises(Rejected) as refused:
        ENVELOPES.open(signed)
    assert refused.value.reason == "envelope_malformed"
