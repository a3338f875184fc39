"""The last line of defence: patterns and registered secrets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.lanes import Lane
from worker.telemetry.scrub import MASK, Scrubber


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("to ada@example.com, now", f"to {MASK}, now"),
        ("<jürgen+x@bücher.example>", f"<{MASK}>"),
        ("q=ada%40example.com&x", f"q={MASK}"),
        ("a@b@c@d.example x", f"{MASK} x"),
        ("key sk_test_4eC39HqLyjWDarjtT1zdp7dc!", f"key {MASK}!"),
        ("rk_live_x whsec_y", f"{MASK} {MASK}"),
        ("postgresql://u:p@h:5432/db", f"postgresql://{MASK}h:5432/db"),
        ("postgresql://u:p@ss@h/db", f"postgresql://{MASK}h/db"),
        ("host=h password=pw dbname=d", f"host=h {MASK} dbname=d"),
        ("Authorization: Bearer abcdefghijk", f"Authorization: {MASK}"),
        ("cus_123 sub_456 127.0.0.1:4150 price/monthly", "cus_123 sub_456 127.0.0.1:4150 price/monthly"),
    ],
)
def test_texts(text: str, scrubbed: str) -> None:
    assert Scrubber().text(text) == scrubbed


def test_a_secret_is_masked_from_when_it_is_registered() -> None:
    scrubber = Scrubber(["first-secret"])
    scrubber.register("second-secret")
    assert scrubber.text("a first-secret and a second-secret") == f"a {MASK} and a {MASK}"


@given(before=st.text(), after=st.text())
def test_a_stripe_key_and_a_secret_never_pass(before: str, after: str) -> None:
    text = Scrubber(["hunter2hunter2"]).text(f"{before} sk_live_abcdef hunter2hunter2 {after}")
    assert "sk_live_abcdef" not in text
    assert "hunter2hunter2" not in text


@pytest.mark.timeout(5)
def test_a_long_text_takes_no_longer_than_its_length() -> None:
    text = "a%4" * 300_000 + "://" * 1000 + "password" * 1000
    assert Scrubber().text(text) == text


def test_plain_values_stay_and_others_are_named_by_type() -> None:
    values = {"n": 1, "f": 0.5, "b": True, "none": None, "lane": Lane.LIVE, "bytes": b"Ada", "error": ValueError("Ada")}
    scrubbed = Scrubber().value(values)
    assert scrubbed == {**values, "lane": "live", "bytes": "<bytes>", "error": "<ValueError>"}
