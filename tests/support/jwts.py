"""JWTs as an identity provider signs them, and its keys as a JWKS tells them."""

from __future__ import annotations

import json
import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://login.example.com", "subkeeper"
SECRET = "a-shared-secret-of-more-than-32-characters"


@cache
def rsa_key(_number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(_number: int = 0) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def claims(user_id: str = "u-1", scope: object = None, **changed: Any) -> dict[str, Any]:
    """Of a token that is good for a day; what is changed to None isn't there."""
    now = int(time.time())
    all_of_it = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user_id,
        "iat": now,
        "exp": now + 86_400,
        "scope": scope,
    } | changed
    return {name: value for name, value in all_of_it.items() if value is not None}


def signed(content: dict[str, Any], key: Any = None, algorithm: str = "ES256", kid: str | None = "main") -> str:
    return jwt.encode(content, key or ec_key(), algorithm, headers={"kid": kid} if kid is not None else {})


def jwk(key: Any, kid: str | None = "main", **more: Any) -> dict[str, Any]:
    kind = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    member: dict[str, Any] = kind.to_jwk(key.public_key(), as_dict=True)
    return {**member, **({"kid": kid} if kid is not None else {}), **more}


def jwks(*members: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(members)}).encode()
