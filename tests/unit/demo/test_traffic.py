"""The demo's messages: one a profile, or on a bad day several, late and edited; the same again by its seed."""

from __future__ import annotations

import json
import random
from collections import Counter

from sandbox.demo.traffic import Traffic


def played(*, chaos: bool, seed: int = 1, count: int = 200) -> tuple[Traffic, list[dict[str, str]]]:
    traffic = Traffic(count, 1_000_000, chaos=chaos, rng=random.Random(seed))
    bodies: list[bytes] = []
    traffic.publish(bodies.append, lambda _seconds: None)
    return traffic, [json.loads(body) for body in bodies]


def test_each_profile_is_published_once_and_in_order() -> None:
    traffic, messages = played(chaos=False)
    assert [message["id"] for message in messages] == traffic.users == list(traffic.sent)


def test_chaos_repeats_reorders_and_edits_but_leaves_nobody_out() -> None:
    traffic, messages = played(chaos=True)
    ids = [message["id"] for message in messages]
    assert set(ids) == set(traffic.users) == set(traffic.sent)
    assert max(Counter(ids).values()) > 1
    assert ids != sorted(ids)
    assert any("edited" in message["name"] for message in messages)


def test_a_profile_s_creation_is_the_same_in_all_its_messages() -> None:
    traffic, messages = played(chaos=True)
    assert all(message["created_at"] == traffic.sent[message["id"]].created_at.isoformat() for message in messages)


def test_a_seed_repeats_the_order() -> None:
    first, again, other = (played(chaos=True, seed=seed)[1] for seed in (5, 5, 6))
    assert [message["name"] for message in first] == [message["name"] for message in again]
    assert [message["name"] for message in first] != [message["name"] for message in other]
