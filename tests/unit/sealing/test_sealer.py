"""Sealed values open with their key and context alone."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import Misconfigured
from worker.sealing import HEADER_BYTES, CannotOpen, Sealer

OLD, NEW = "o" * 32, "n" * 32
ANYTHING = st.binary(max_size=300)
SEALER = Sealer([NEW])


@given(plaintext=ANYTHING, context=ANYTHING)
def test_what_was_sealed_opens_again(plaintext: bytes, context: bytes) -> None:
    assert SEALER.open(SEALER.seal(plaintext, context), context) == plaintext


@given(plaintext=ANYTHING, context=ANYTHING, other=ANYTHING)
def test_it_opens_in_no_other_context(plaintext: bytes, context: bytes, other: bytes) -> None:
    if other != context:
        with pytest.raises(CannotOpen):
            SEALER.open(SEALER.seal(plaintext, context), other)


@given(plaintext=ANYTHING, data=st.data())
def test_no_changed_bit_goes_unnoticed(plaintext: bytes, data: st.DataObject) -> None:
    sealed = bytearray(SEALER.seal(plaintext, b"row"))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CannotOpen):
        SEALER.open(bytes(sealed), b"row")


@given(plaintext=ANYTHING, data=st.data())
def test_nothing_shorter_opens(plaintext: bytes, data: st.DataObject) -> None:
    sealed = SEALER.seal(plaintext, b"row")
    with pytest.raises(CannotOpen):
        SEALER.open(sealed[: data.draw(st.integers(0, len(sealed) - 1))], b"row")


@given(garbage=ANYTHING)
def test_garbage_does_not_open(garbage: bytes) -> None:
    with pytest.raises(CannotOpen):
        SEALER.open(garbage, b"row")


def test_after_a_rotation_both_keys_open_and_the_newest_seals() -> None:
    before, rotated, after = Sealer([OLD]), Sealer([NEW, OLD]), Sealer([NEW])
    assert rotated.open(before.seal(b"old", b"row"), b"row") == b"old"
    assert after.open(rotated.seal(b"new", b"row"), b"row") == b"new"


def test_keys_are_replaced_in_use() -> None:
    sealer = Sealer([OLD])
    old = sealer.seal(b"old", b"row")
    sealer.use([NEW, OLD])
    new = sealer.seal(b"new", b"row")
    assert (sealer.open(old, b"row"), SEALER.open(new, b"row")) == (b"old", b"new")
    assert {old[:HEADER_BYTES], new[:HEADER_BYTES]} == set(sealer.headers)
    with pytest.raises(Misconfigured):
        sealer.use(["short"])
    assert sealer.open(new, b"row") == b"new", "those before stay"


def test_what_a_retired_key_sealed_is_told_from_what_was_tampered_with() -> None:
    sealed = Sealer([OLD]).seal(b"old", b"row")
    with pytest.raises(CannotOpen) as unknown:
        SEALER.open(sealed, b"row")
    with pytest.raises(CannotOpen) as tampered:
        Sealer([OLD]).open(sealed, b"another row")
    with pytest.raises(CannotOpen) as malformed:
        SEALER.open(b"\x02" + sealed[1:], b"row")
    reasons = [caught.value.reason for caught in (unknown, tampered, malformed)]
    assert reasons == ["unknown_key", "tampered", "malformed"]


def test_equal_values_look_different_sealed() -> None:
    assert SEALER.seal(b"same", b"row") != SEALER.seal(b"same", b"row")


def test_the_format_stays_what_rows_were_written_in() -> None:
    """Version 1, for a row sealed by an earlier release: it must open for as long as that release's rows exist."""
    chance = random.Random(1)
    sealed = Sealer([OLD], chance.randbytes).seal(b"profile", b"row")
    assert sealed.hex() == PINNED
    assert Sealer([NEW, OLD]).open(bytes.fromhex(PINNED), b"row") == b"profile"


PINNED = "01ea4b11e8f5b165224a58b791df6af1d81d964ee71aaa7650d0a1e63a80265ab0116dcd9facebf1"


def test_a_nonce_is_drawn_for_each_seal() -> None:
    counter = itertools.count()
    sealer = Sealer([NEW], lambda length: next(counter).to_bytes(length, "big"))
    assert sealer.seal(b"", b"")[5:17] == bytes(12)
    assert sealer.seal(b"", b"")[5:17] == bytes(11) + b"\x01"


@given(content=ANYTHING, other=ANYTHING)
def test_a_fingerprint_tells_equal_contents_and_only_with_the_key(content: bytes, other: bytes) -> None:
    fingerprint = SEALER.fingerprint(content)
    assert len(fingerprint) == 32
    assert (SEALER.fingerprint(other) == fingerprint) is (other == content)
    assert Sealer([OLD]).fingerprint(content) != fingerprint
    rotating = Sealer([OLD, NEW])
    assert rotating.fingerprint(content) != fingerprint, "the first key's"
    assert rotating.is_fingerprint(content, fingerprint)
    assert rotating.is_fingerprint(other, fingerprint) is (other == content)
    assert not Sealer([OLD]).is_fingerprint(content, fingerprint)


@pytest.mark.parametrize("keys", [[], [""], ["k" * 31], [NEW, "short"]])
def test_a_missing_or_short_key_is_refused(keys: list[str]) -> None:
    with pytest.raises(Misconfigured, match="at least 32") as caught:
        Sealer(keys)
    assert caught.value.key == "SUBKEEPER_SECRET_KEY"
