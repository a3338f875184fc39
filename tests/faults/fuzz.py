"""A byte-level fuzzer of what decodes and seals messages: `python -m tests.faults.fuzz --inputs 1000000 --seed 1`.

Each input is a message of the auth service, or a known trap, after a few mutations (bytes flipped, cut, doubled,
spliced with another, words of JSON put in). Whatever the bytes, there is a profile that Postgres can hold, or a
`Rejected` whose words hold nothing of them, sealed bytes that open again, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from worker.domain.profile import MAX_EMAIL, MAX_NAME, MAX_USER_ID, MessageShape, ProfileCreated
from worker.domain.provisioning import customer_request
from worker.errors import Rejected
from worker.sealing import Sealer

SHAPE = MessageShape(user_id="/id", email="/email", name="/name", created_at="/created_at")
PLANTED = "planted@person.example"
_PROFILE = {"id": "user-1", "email": PLANTED, "name": "Ada Lövelace", "created_at": "2026-11-20T12:00:00Z"}

TRAPS: dict[str, bytes] = {
    "nul": b'{"id": "a\\u0000b"}',
    "raw nul": b'{"id": "a\x00b"}',
    "lone surrogate": b'{"id": "x", "name": "\\ud800"}',
    "lone surrogate in an id": b'{"id": "\\udfff"}',
    "surrogate in utf-8": b'{"id": "x", "name": "\xed\xa0\x80"}',
    "utf-16": json.dumps(_PROFILE).encode("utf-16"),
    "utf-16 without a mark": json.dumps(_PROFILE).encode("utf-16-le"),
    "utf-8 with a mark": b"\xef\xbb\xbf" + json.dumps(_PROFILE).encode(),
    "bad utf-8": b'{"id": "\xff\xfe"}',
    "5,000 digits": b'{"id": "x", "n": ' + b"7" * 5000 + b"}",
    "5,000 digits as the id": b'{"id": ' + b"7" * 5000 + b"}",
    "2^63 as the id": b'{"id": 9223372036854775808}',
    "nan": b'{"id": "x", "n": NaN}',
    "infinity": b'{"id": "x", "n": -Infinity}',
    "1e999": b'{"id": "x", "n": 1e999}',
    "deep list": b'{"id": "x", "d": ' + b"[" * 100_000,
    "deep object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "duplicate key": b'{"id": "x", "id": "y"}',
    "duplicate key below": b'{"id": "x", "d": {"a": 1, "a": 2}}',
    "no such day": b'{"id": "x", "created_at": "2026-02-30T00:00:00Z"}',
    "no such month": b'{"id": "x", "created_at": "2026-13-01T00:00:00Z"}',
    "year 0": b'{"id": "x", "created_at": "0000-01-01T00:00:00Z"}',
    "time without offset": b'{"id": "x", "created_at": "2026-11-20T12:00:00"}',
    "time before time": b'{"id": "x", "created_at": "0001-01-01T00:00:00+23:59"}',
    "time as a number": b'{"id": "x", "created_at": 1795176000}',
    "list": b'[{"id": "x"}]',
    "text": b'"x"',
    "null": b"null",
    "blank": b" \n",
    "id of 256": b'{"id": "' + b"x" * 256 + b'"}',
    "no id": b'{"email": "' + PLANTED.encode() + b'"}',
    "id null": b'{"id": null}',
    "id empty": b'{"id": ""}',
    "id an object": b'{"id": {"id": "x"}}',
    "envelope of another version": b'{"specversion": "0.3", "data": {"id": "x"}}',
    "envelope without data": b'{"specversion": "1.0", "data_base64": "e30="}',
    "1 MiB of one name": b'{"id": "x", "name": "'.ljust(2**20 - 2, b"n") + b'"}',
    "1 MiB of noise": random.Random(1).randbytes(2**20),
}
"""Messages that can never work, by what is wrong with them."""

_GOOD = [
    json.dumps(_PROFILE).encode(),
    json.dumps(_PROFILE, ensure_ascii=False).encode(),
    json.dumps({"specversion": "1.0", "type": "profile.created", "data": _PROFILE}).encode(),
    b'{"id":"u","created_at":"2016-12-31T23:59:60.123456789+05:45","more":[1,-2.5e-3,true,null,{"a":{}}]}',
]
_WORDS = [
    *[bytes([byte]) for byte in b'{}[]:,"\\-+.eE0'],
    b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"\\u0000", b"\\ud800", b"\\udc00", b"\x00", b"\xff",
    b"\xed\xa0\x80", b"9223372036854775808", b"9" * 25, b"[" * 2000, b'{"a":' * 2000, b'"id"',
    b'"specversion":"1.0",', b'"data":',
    b"2026-02-30T25:61:61Z", b"9999-12-31T23:59:60-23:59", b"0001-01-01T00:00:00+23:59", b"\xef\xbb\xbf",
]  # fmt: skip


def inputs(rng: random.Random, count: int) -> Iterator[bytes]:
    """So many messages, the traps as they are among them."""
    seeds = [*_GOOD, *(body for body in TRAPS.values() if len(body) < 6000)]
    yield from list(TRAPS.values())[:count]
    for _ in range(count - min(count, len(TRAPS))):
        if rng.random() < 0.02:
            yield rng.randbytes(rng.randrange(200))
            continue
        body = bytearray(rng.choice(_GOOD) if rng.random() < 0.8 else rng.choice(seeds))
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            _mutate(body, rng, seeds)
        yield bytes(body)


def _mutate(body: bytearray, rng: random.Random, seeds: list[bytes]) -> None:
    start = rng.randint(0, len(body))
    end = min(len(body), start + rng.randint(0, 12))
    match rng.randrange(7):
        case 0:
            body[start : start + 1] = bytes([rng.randrange(256)])
        case 1 if start < len(body):
            body[start] ^= 1 << rng.randrange(8)
        case 2:
            del body[start:end]
        case 3:
            body[start:start] = body[start:end] * rng.randint(1, 3)
        case 4:
            body[start:start] = rng.choice(_WORDS)
        case 5:
            body[start:end] = rng.choice(_WORDS)
        case _:
            other = rng.choice(seeds)
            body[start:] = other[rng.randint(0, len(other)) :]


def check(body: bytes, sealer: Sealer) -> str:
    """What `body` comes to: `profile`, or the reason of its refusal. Raises whatever nobody foresaw."""
    try:
        profile = SHAPE.decode(body)
    except Rejected as refusal:
        _check_refusal(refusal)
        assert sealer.open(sealer.seal(body, b"topic"), b"topic") == body
        assert len(sealer.fingerprint(body)) == 32
        return refusal.reason
    _check_profile(profile)
    request = customer_request("namespace", profile.user_id, profile.email, profile.name)
    sealed = sealer.seal(json.dumps(request).encode(), profile.user_id.encode())
    assert json.loads(sealer.open(sealed, profile.user_id.encode())) == request
    return "profile"


def _check_refusal(refusal: Rejected) -> None:
    assert PLANTED not in f"{refusal!r} {refusal}", "a refusal repeats what it refuses"
    assert refusal.__cause__ is None, "a refusal's cause would be logged with it"


def _check_profile(profile: ProfileCreated) -> None:
    assert 1 <= len(profile.user_id) <= MAX_USER_ID
    assert profile.email is None or 1 <= len(profile.email) <= MAX_EMAIL
    assert profile.name is None or 1 <= len(profile.name) <= MAX_NAME
    for text in (profile.user_id, profile.email or "", profile.name or ""):
        assert b"\x00" not in text.encode(), "Postgres's text takes no NUL, and no lone surrogate encodes"
    assert profile.created_at is None or profile.created_at.utcoffset() is not None


def run(bodies: Iterable[bytes]) -> Counter[str]:
    """Counts what they came to. An input that gets through `check` is named in the error's notes."""
    sealer = Sealer([secrets.token_hex(32)])
    outcomes: Counter[str] = Counter()
    for number, body in enumerate(bodies):
        try:
            outcomes[check(body, sealer)] += 1
        except BaseException as error:
            error.add_note(f"input {number}: {body[:500]!r} ({len(body)} bytes)")
            raise
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=None, help="a new one if not given")
    given = parser.parse_args()
    seed = secrets.randbelow(2**32) if given.seed is None else given.seed
    began = time.monotonic()
    outcomes = run(inputs(random.Random(seed), given.inputs))
    report = {
        "inputs": outcomes.total(),
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "uncaught": 0,
        "outcomes": dict(outcomes.most_common()),
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
