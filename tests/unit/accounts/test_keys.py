"""The keys at a JWKS URL: had once, followed, and asked for no oftener than they may be."""

from __future__ import annotations

import pytest

from tests.support.jwts import ec_key, jwk, jwks, rsa_key
from worker.accounts.keys import FRESH_SECONDS, REFETCH_SECONDS, JwksKeys, parsed
from worker.errors import Unavailable

OLD, NEW = jwk(ec_key(), "old"), jwk(ec_key(1), "new")


class Url:
    """What an identity provider would answer; None: it is away."""

    def __init__(self, document: bytes | None) -> None:
        self.document = document
        self.asked = 0

    def __call__(self) -> bytes:
        self.asked += 1
        if self.document is None:
            raise Unavailable("jwks", "away")
        return self.document


class Watched:
    """Keys at a URL, and a clock that the test turns."""

    def __init__(self, document: bytes | None) -> None:
        self.url = Url(document)
        self.now = 1000.0
        self.keys = JwksKeys(self.url, lambda: self.now)

    def knows(self, kid: str | None) -> bool:
        return self.keys.find(kid) is not None


def test_keys_are_asked_for_once_and_verify_from_then_on() -> None:
    watched = Watched(jwks(OLD))
    assert watched.keys.follow()
    assert [watched.knows("old") for _ in range(3)] == [True] * 3
    assert watched.keys.follow()
    assert watched.url.asked == 1


def test_a_new_key_is_had_by_the_first_token_that_names_it_once_a_minute_has_passed() -> None:
    watched = Watched(jwks(OLD))
    assert watched.knows("old")
    watched.url.document = jwks(OLD, NEW)
    assert [watched.knows("new") for _ in range(100)] == [False] * 100
    assert watched.url.asked == 1, "whoever invents names makes nobody ask"
    watched.now += REFETCH_SECONDS
    assert watched.knows("new")
    assert [watched.knows(f"invented {number}") for number in range(100)] == [False] * 100
    assert (watched.knows("old"), watched.url.asked) == (True, 2)


def test_a_key_that_was_withdrawn_ends() -> None:
    watched = Watched(jwks(OLD, NEW))
    assert watched.knows("old")
    watched.url.document = jwks(NEW)
    watched.now += FRESH_SECONDS
    assert watched.keys.follow()
    assert (watched.knows("old"), watched.knows("new")) == (False, True)


@pytest.mark.parametrize("document", [None, b"no JSON", b"[]", b"{}", b'{"keys": 1}', b'{"keys": []}', b"[" * 100_000])
def test_while_keys_cannot_be_had_those_of_before_stay_in_force(document: bytes | None) -> None:
    watched = Watched(jwks(OLD))
    assert watched.keys.follow()
    watched.url.document = document
    watched.now += FRESH_SECONDS
    with pytest.raises(Unavailable):
        watched.keys.follow()
    assert not watched.keys.follow(), "it isn't asked again at once"
    assert (watched.knows("old"), watched.knows("new")) == (True, False)


def test_before_any_were_had_nobody_is_told_that_a_token_is_wrong() -> None:
    watched = Watched(None)
    for _ in range(3):
        with pytest.raises(Unavailable):
            watched.keys.find("old")
    assert watched.url.asked == 1
    watched.url.document = jwks(OLD)
    watched.now += REFETCH_SECONDS / 12
    assert watched.knows("old"), "until then it is asked more often"


def test_one_key_alone_verifies_tokens_that_name_none() -> None:
    assert Watched(jwks(jwk(ec_key(), None))).knows(None)
    assert Watched(jwks(OLD)).knows(None)
    assert not Watched(jwks(OLD, NEW)).knows(None)


def test_keys_that_are_not_for_verifying_signatures_are_left_out() -> None:
    secret = {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "secret"}
    strange = [{"kty": "XYZ", "kid": "a"}, {"kid": "b"}, {"kty": "EC", "crv": "P-256", "kid": "c"}, 7]
    found = parsed(
        jwks(OLD, jwk(ec_key(), "seals", use="enc"), jwk(rsa_key(), "hmac", alg="HS256"), secret, *strange)  # type: ignore[arg-type]  # 7
    )
    assert list(found) == ["old"]
    assert found["old"].algorithm == "ES256"
    with pytest.raises(Unavailable, match="no key for signatures"):
        parsed(jwks(secret))
