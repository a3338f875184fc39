"""Whether a webhook is Stripe's is judged as Stripe's own library does, and within both bounds of time."""

from __future__ import annotations

from random import Random

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.webhook import MAX_SIGNATURES, WebhookRefused, signed_by

NOW, TOLERANCE = 1_800_000_000, 300
OLD, NEW = "whsec_old4567890abcdef", "whsec_new4567890abcdef"
SECRETS = {"old": OLD.encode(), "new": NEW.encode()}
BODY = '{"id": "evt_1", "name": "Ädä \\u2028 💳"}'

BODIES = st.text(st.characters(codec="utf-8"), max_size=200)


def header(body: str = BODY, secret: str = NEW, at: int = NOW) -> bytes:
    """As Stripe's own library signs."""
    signature = stripe.WebhookSignature._compute_signature(f"{at}.{body}", secret)
    return f"t={at},v1={signature},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39".encode()


def judged(signature: bytes | None, body: bytes = BODY.encode(), now: float = NOW) -> str:
    """The secret's name, or the reason of the refusal."""
    try:
        return signed_by(signature, body, SECRETS, now=now, tolerance=TOLERANCE)
    except WebhookRefused as refused:
        return refused.reason


@given(BODIES, st.sampled_from(sorted(SECRETS)))
def test_what_stripes_library_signs_under_any_of_the_secrets_is_stripes(body: str, name: str) -> None:
    assert judged(header(body, SECRETS[name].decode()), body.encode()) == name


@given(st.binary(max_size=50), st.integers(0, 100), st.booleans())
def test_what_differs_in_a_byte_is_not(noise: bytes, place: int, is_cut: bool) -> None:
    body = BODY.encode()
    altered = body[: place % len(body)] if is_cut else body[:place] + noise + body[place:]
    assert judged(header(), altered) == ("new" if altered == body else "signature_wrong")


@given(st.integers(0, 63), st.sampled_from("0123456789abcdef"))
def test_a_signature_that_differs_in_a_digit_is_wrong(place: int, digit: str) -> None:
    begin, signature = f"t={NOW},v1=", header().decode().partition("v1=")[2][:64]
    changed = signature[:place] + digit + signature[place + 1 :]
    assert judged(f"{begin}{changed}".encode()) == ("new" if changed == signature else "signature_wrong")


@given(st.integers(-10_000, 10_000))
def test_its_age_is_bounded_both_ways(age: int) -> None:
    expected = "signature_too_old" if age > TOLERANCE else "signature_too_new" if age < -TOLERANCE else "new"
    assert judged(header(at=NOW - age)) == expected


def test_another_time_than_the_signed_one_is_a_wrong_signature() -> None:
    assert judged(header(at=NOW).replace(b"t=1800000000", b"t=1800000001")) == "signature_wrong"


@given(st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), max_size=MAX_SIGNATURES - 1), st.randoms())
def test_one_good_signature_among_others_is_enough(others: list[str], random: Random) -> None:
    good = header().decode().partition("v1=")[2][:64]
    entries = [*others, good]
    random.shuffle(entries)
    assert judged(",".join([f"t={NOW}", *(f"v1={each}" for each in entries)]).encode()) == "new"


def test_the_scheme_v0_counts_for_nothing() -> None:
    assert judged(header().replace(b"v1=", b"v0=", 1)) == "signature_malformed"


@given(
    st.binary(max_size=300)
    | st.from_regex(rb"t=[0-9]{0,30},v1=[0-9a-f]{0,70}", fullmatch=True)
    | st.lists(st.sampled_from([b"t=1800000000", b"t=", b"v1=", b"v1=ab", b"=", b"", b" t=1"]), max_size=30).map(
        b",".join
    )
)
def test_nothing_else_in_the_header_is_taken_or_makes_an_error_of_another_kind(signature: bytes) -> None:
    assert judged(signature).startswith("signature_")


def test_a_header_that_is_not_there_or_too_long_is_refused() -> None:
    assert judged(None) == "signature_missing"
    many = b",".join([header().partition(b",v0")[0], *[b"v1=" + b"0" * 64] * MAX_SIGNATURES])
    assert judged(many) == "signature_malformed"
    assert judged(header() + b"," + b"x" * 4000) == "signature_malformed"


@pytest.mark.parametrize("signature", [b"PLANTED", b"t=1800000000,v1=PLANTED", b"t=1,v1=PLANTED"])
def test_no_refusal_repeats_what_was_sent(signature: bytes) -> None:
    with pytest.raises(WebhookRefused) as caught:
        signed_by(signature, b"PLANTED", SECRETS, now=NOW, tolerance=TOLERANCE)
    assert "PLANTED" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
