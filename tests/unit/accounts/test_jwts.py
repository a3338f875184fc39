"""Whose a JWT is, and which are nobody's: no forgery is taken."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.jwts import AUDIENCE, ISSUER, SECRET, claims, ec_key, jwk, jwks, rsa_key, signed
from worker.accounts.callers import LEEWAY, Callers, Issuer
from worker.accounts.keys import JwksKeys, SharedSecret
from worker.domain.callers import Caller, TokenRefused


def found(token: str, *, keys: Any) -> Caller | None:
    return Callers([], Issuer(keys, issuer=ISSUER, audience=AUDIENCE)).find(f"Bearer {token}")


def published() -> JwksKeys:
    return JwksKeys(lambda: jwks(jwk(ec_key()), jwk(rsa_key(), "rsa")), time.monotonic)


def unsigned(header: dict[str, Any], content: dict[str, Any], signature: bytes = b"") -> str:
    """A JWT by hand, as a library wouldn't make it."""
    parts = [json.dumps(header).encode(), json.dumps(content).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def hmac_by(secret: bytes, header: dict[str, Any]) -> str:
    text = unsigned(header, claims())
    signature = hmac.digest(secret, text.rpartition(".")[0].encode(), "sha256")
    return unsigned(header, claims(), signature)


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def test_a_token_is_its_subjects_with_its_scopes() -> None:
    caller = found(signed(claims("u-7", "openid subscriptions:read")), keys=published())
    assert caller == Caller("u-7", frozenset({"openid", "subscriptions:read"}), "user u-7")
    assert found(signed(claims("u-7"), rsa_key(), "RS256", "rsa"), keys=published()) is not None
    assert found(signed(claims(aud=["other", AUDIENCE])), keys=published()) is not None


def test_a_shared_secret_takes_tokens_under_it_whatever_kid_they_name() -> None:
    keys = SharedSecret(lambda: SECRET)
    assert found(signed(claims(), SECRET, "HS256", None), keys=keys) is not None
    assert found(signed(claims(), SECRET, "HS256", "any"), keys=keys) is not None


NOW = int(time.time())
FORGERIES = {
    "another issuer's": (signed(claims(iss="https://evil.example.com")), "issuer_wrong"),
    "an issuer that begins like ours": (signed(claims(iss=f"{ISSUER}.evil")), "issuer_wrong"),
    "no issuer": (signed(claims(iss=None)), "claim_missing"),
    "for another audience": (signed(claims(aud="other")), "audience_wrong"),
    "for no audience": (signed(claims(aud=None)), "claim_missing"),
    "expired": (signed(claims(exp=NOW - LEEWAY - 5)), "expired"),
    "for ever": (signed(claims(exp=None)), "claim_missing"),
    "not yet": (signed(claims(nbf=NOW + 43_200)), "not_yet_valid"),
    "issued tomorrow": (signed(claims(iat=NOW + 86_400)), "not_yet_valid"),
    "nobody's": (signed(claims(sub=None)), "claim_missing"),
    "an empty subject's": (signed(claims("")), "malformed"),
    "a subject's that is too long": (signed(claims("x" * 256)), "malformed"),
    "a subject's that no table can hold": (signed(claims("u\0")), "malformed"),
    "half a character as a subject": (signed(claims("\ud800")), "malformed"),
    "scopes as a list": (signed(claims(scope=["subscriptions:admin"])), "malformed"),
    "signed by another key of that name": (signed(claims(), ec_key(1)), "signature_wrong"),
    "a key that nobody knows": (signed(claims(), ec_key(1), kid="new"), "key_unknown"),
    "no kid beside several keys": (signed(claims(), kid=None), "key_unknown"),
    "alg none": (unsigned({"alg": "none", "kid": "main"}, claims()), "algorithm_wrong"),
    "alg None": (unsigned({"alg": "None", "kid": "main"}, claims()), "algorithm_wrong"),
    "no alg": (unsigned({"kid": "main"}, claims()), "algorithm_wrong"),
    "an RSA key's PEM as an HMAC secret": (
        hmac_by(public_pem(rsa_key()), {"alg": "HS256", "kid": "rsa"}), "algorithm_wrong",
    ),
    "its JWK as an HMAC secret": (
        hmac_by(json.dumps(jwk(rsa_key())).encode(), {"alg": "HS256", "kid": "rsa"}), "algorithm_wrong",
    ),
    "an algorithm of another key": (signed(claims(), ec_key(), "ES256", "rsa"), "algorithm_wrong"),
    "another algorithm of that key": (signed(claims(), rsa_key(), "PS256", "rsa"), "algorithm_wrong"),
    "a key that it brings along": (
        unsigned({"alg": "ES256", "jwk": jwk(ec_key(1))}, claims()), "key_unknown",
    ),
    "a header that must be understood": (
        unsigned({"alg": "ES256", "kid": "main", "crit": ["x"], "x": 1}, claims()), "malformed",
    ),
    "not three parts": ("a.b", "malformed"),
    "no base64": ("ä.ä.ä", "malformed"),
    "no JSON": ("YQ.YQ.YQ", "malformed"),
}  # fmt: skip


@pytest.mark.parametrize(("token", "reason"), FORGERIES.values(), ids=list(FORGERIES))
def test_a_forgery_is_nobodys(token: str, reason: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        found(token, keys=published())
    assert refused.value.reason == reason


def test_every_altered_character_is_noticed() -> None:
    token, keys = signed(claims()), published()
    for place in range(0, len(token) - 1, 7):  # the last one holds bits that aren't used
        altered = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(TokenRefused):
            found(altered, keys=keys)


def test_under_a_shared_secret_nothing_else_is_taken() -> None:
    keys = SharedSecret(lambda: SECRET)
    for token in (
        signed(claims()),
        signed(claims(), f"{SECRET}x", "HS256"),
        signed(claims(), SECRET * 2, "HS512"),
        unsigned({"alg": "none"}, claims()),
        hmac_by(b"", {"alg": "HS256"}),
    ):
        with pytest.raises(TokenRefused):
            found(token, keys=keys)
