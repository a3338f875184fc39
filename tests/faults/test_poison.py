"""Messages that can never work: among good ones over the wire, and a million mutations of them through decoding."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import PartFailed
from tests.faults import fuzz
from tests.faults.tally import EXACT, tally
from tests.support.stack import Stack, profile, users
from tests.support.waiting import wait_until
from worker.sealing import Sealer

INPUTS = int(os.environ.get("SUBKEEPER_FUZZ", "100000"))


def test_poison_among_good_messages_is_set_aside_and_nobody_else_is_touched(stack: Stack, rng: random.Random) -> None:
    """Every trap twice, in one stream with good profiles, on two processes."""
    names = users(60)
    poison = [body for body in fuzz.TRAPS.values() for _ in range(2)]
    stream: list[dict[str, Any] | bytes] = [*poison, *[profile(name) for name in names]]
    rng.shuffle(stream)
    workers = [stack.start_worker(SUBKEEPER_ABSORB__BATCH="20") for _ in range(2)]
    stack.publish(*stream)
    stack.await_completed(*names, timeout=30)
    wait_until(stack.is_drained)
    assert tally(stack, dict.fromkeys(names, "completed")) == EXACT
    kept = stack.rows("SELECT topic, sealed_body FROM quarantined_messages")
    sealer = Sealer(stack.settings().secret_keys())
    opened = [sealer.open(bytes(row["sealed_body"]), row["topic"].encode()) for row in kept]
    assert sorted(opened) == sorted(set(poison)), "each is kept once, as it came"
    wait_until(lambda: all(worker.is_ready() for worker in workers))


def test_nsqd_itself_refuses_an_empty_message(stack: Stack) -> None:
    with pytest.raises(PartFailed, match="MSG_EMPTY"):
        stack.publish(b"")


@pytest.mark.timeout(max(120, INPUTS // 1000))
def test_no_mutation_of_a_message_gets_past_decoding_but_as_a_profile_or_refused(rng: random.Random) -> None:
    outcomes = fuzz.run(fuzz.inputs(rng, INPUTS))
    assert outcomes.total() == INPUTS
    assert outcomes["profile"] > INPUTS / 20, "the mutations are not so wild that none gets through"
    assert len(outcomes) >= 15, outcomes


@given(st.binary(max_size=300) | st.sampled_from(sorted(fuzz.TRAPS.values(), key=len)[:30]).flatmap(
    lambda body: st.builds(lambda head, tail: body[:head] + tail, st.integers(0, len(body)), st.binary(max_size=40))
))  # fmt: skip
def test_any_bytes_are_a_profile_or_refused_and_sealed_as_they_came(body: bytes) -> None:
    assert fuzz.check(body, Sealer(["a-secret-key-of-at-least-thirty-two-characters"]))
