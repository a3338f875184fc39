"""API keys: which are known, revoked, or restricted to some permissions.

A restricted key's permissions are `<resource>_read` and `<resource>_write` (which includes reading) for account,
customer, product, plan (prices), subscription, invoice, payment_method, payment_intent, setup_intent, checkout_session,
customer_portal, test_clock, event and webhook (endpoints).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

from sandbox.stripe.errors import ApiError, unauthorized


@dataclass(slots=True)
class Key:
    """`permissions` of None: everything (a secret key). `account`: whose it is, where that isn't this account; what it
    reads and writes is this one's all the same."""

    permissions: frozenset[str] | None = None
    revoked: bool = False
    account: str | None = None


class Keys:
    """The account's keys."""

    def __init__(self, secret_key: str, account: str) -> None:
        self._account = account
        self._keys = {secret_key: Key()}

    def put(self, secret: str, permissions: Iterable[str] | None, *, revoked: bool, account: str | None = None) -> None:
        """Adds a key or changes one."""
        self._keys[secret] = Key(None if permissions is None else frozenset(permissions), revoked, account)

    def account(self, authorization: str) -> str:
        """Whose key that is."""
        key = self._keys.get(_secret(authorization))
        return (key and key.account) or self._account

    def check(self, authorization: str, permission: str) -> None:
        """401 for a key that is missing, unknown or revoked; 403 for one that may not."""
        secret = _secret(authorization)
        if not secret:
            message = (
                "You did not provide an API key. You need to provide your API key in the Authorization header, using"
                " Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
            )
            raise unauthorized(message)
        key = self._keys.get(secret)
        if key is None:
            raise unauthorized(f"Invalid API Key provided: {_masked(secret)}")
        if key.revoked:
            raise unauthorized(f"Expired API Key provided: {_masked(secret)}", code="api_key_expired")
        if not _may(key, permission):
            raise self._forbidden(secret, key.account or self._account, permission)

    def _forbidden(self, secret: str, account: str, permission: str) -> ApiError:
        message = (
            f"The provided key '{_masked(secret)}' does not have the required permissions for this endpoint on account"
            f" '{account}'. Having the 'rak_{permission}' permission would allow this request to continue."
        )
        return ApiError(403, message)


def _may(key: Key, permission: str) -> bool:
    if key.permissions is None:
        return True
    return permission in key.permissions or permission.replace("_read", "_write") in key.permissions


def _secret(authorization: str) -> str:
    """The key in a Bearer or Basic header ("" for none)."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _masked(secret: str) -> str:
    return f"{secret[:8]}{'*' * 12}{secret[-4:]}" if len(secret) > 16 else "*" * len(secret)
