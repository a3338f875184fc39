"""Whose a bearer token is: an admin token's, or a JWT's of the issuer that is configured (RFC 7519, RFC 8725)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jwt

from worker.accounts.keys import Key, Keys
from worker.accounts.tokens import PREFIX, matching
from worker.domain.callers import ADMIN, Caller, TokenRefused
from worker.domain.profile import is_user_id

MAX_TOKEN = 8192
"""Characters: an identity provider's token has some thousand."""

LEEWAY = 10.0
"""Seconds by which the issuer's clock may differ from ours."""

_REQUIRED = ["exp", "iss", "aud", "sub"]

_REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "expired"),
    (jwt.ImmatureSignatureError, "not_yet_valid"),
    (jwt.InvalidAudienceError, "audience_wrong"),
    (jwt.InvalidIssuerError, "issuer_wrong"),
    (jwt.MissingRequiredClaimError, "claim_missing"),
    (jwt.InvalidAlgorithmError, "algorithm_wrong"),
    (jwt.InvalidSignatureError, "signature_wrong"),
)
"""What PyJWT finds, in our words; anything else is malformed."""


class Issuer:
    """Verifies the JWTs of one issuer for one audience."""

    def __init__(self, keys: Keys, *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    def caller(self, token: str, *, may_wait: bool = True) -> Caller:
        """Raises `TokenRefused`, and what `Keys.find` raises."""
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = self._keys.find(kid, may_wait=may_wait)
            claims = self._claims(token, key) if key is not None else None
        except jwt.PyJWTError as error:
            raise TokenRefused(_reason(error)) from None
        if claims is None:
            raise TokenRefused("key_unknown")
        return _caller(claims)

    def _claims(self, token: str, key: Key) -> dict[str, Any]:
        return jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            issuer=self._issuer,
            audience=self._audience,
            leeway=LEEWAY,
            options={"require": _REQUIRED, "enforce_minimum_key_length": True},
        )


class Callers:
    """`digests`: of the admin tokens. `issuer`: None where no JWT is taken."""

    def __init__(self, digests: Sequence[str], issuer: Issuer | None) -> None:
        self._digests = tuple(digests)
        self._issuer = issuer

    def find(self, authorization: str | None, *, may_wait: bool = True) -> Caller | None:
        """Who sends this `Authorization`; None where there is none. Raises what `Issuer.caller` raises."""
        if authorization is None:
            return None
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN or not token.isascii():
            raise TokenRefused("malformed")
        if token.startswith(PREFIX):
            return self._admin(token)
        if self._issuer is None:
            raise TokenRefused("unknown")
        return self._issuer.caller(token, may_wait=may_wait)

    def _admin(self, token: str) -> Caller:
        found = matching(token, self._digests)
        if found is None:
            raise TokenRefused("unknown")
        return Caller(None, frozenset({ADMIN.id}), f"admin {found[7:15]}")


def _caller(claims: dict[str, Any]) -> Caller:
    subject, scope = claims["sub"], claims.get("scope", "")
    if not isinstance(subject, str) or not is_user_id(subject):
        raise TokenRefused("malformed")
    if not isinstance(scope, str):
        raise TokenRefused("malformed")
    return Caller(subject, frozenset(scope.split()), f"user {subject}")


def _reason(error: jwt.PyJWTError) -> str:
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "malformed")
