"""Authenticated encryption of what we keep of a profile until it is settled, under `SUBKEEPER_SECRET_KEY`.

A sealed value is `version (1 byte) | key id (4) | nonce (12) | AES-256-GCM ciphertext and tag (16)`. The key and its id
are derived from the secret by HKDF-SHA256, each under a label of its own, so that other uses of the same secret never
share key bytes. The context (which row, which column) is authenticated with it: a sealed value that is moved to another
row does not open. Random nonces of 96 bits bound one key to about 2^32 seals (NIST SP 800-38D).
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from worker.domain.macs import mac
from worker.errors import Misconfigured, SubkeeperError

MIN_KEY_CHARACTERS = 32

_VERSION = b"\x01"
_FINGERPRINT_LABEL = b"subkeeper/fingerprint/v1/key"
_SIGNATURE_LABEL = b"subkeeper/signature/v1/key"
_KEY_LABEL = b"subkeeper/sealing/v1/key"
_ID_LABEL = b"subkeeper/sealing/v1/id"
_ID_BYTES = 4
_NONCE_BYTES = 12
_TAG_BYTES = 16
HEADER_BYTES = len(_VERSION) + _ID_BYTES
"""How many bytes a sealed value begins with that tell under which key it was sealed."""

_SIGNATURE = re.compile(rb"[0-9a-f]{8}\.[0-9a-f]{64}")
SIGNATURE_BYTES = 73

UNKNOWN = "unknown_key"


class CannotOpen(SubkeeperError):
    """A sealed value does not open; `reason` is `malformed`, `unknown_key` or `tampered` (or the wrong context)."""

    def __init__(self, reason: str) -> None:
        fix = ". List its key in SUBKEEPER_SECRET_KEY, after the first" if reason == UNKNOWN else ""
        super().__init__(f"a sealed value does not open: {reason}{fix}")
        self.reason = reason


class Sealer:
    """Seals with the first of its keys, opens what any of them sealed. Safe from any thread.

    `random_bytes(n)` gives nonces; it must never repeat under one key. Raises `Misconfigured` without a key, or for one
    of fewer than `MIN_KEY_CHARACTERS` characters.
    """

    def __init__(self, keys: Sequence[str], random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._random_bytes = random_bytes
        self._keyring = _Keyring(keys)

    def use(self, keys: Sequence[str]) -> None:
        """These keys from now on, in place of those before. Raises `Misconfigured` as the constructor does."""
        if tuple(keys) != self._keyring.keys:
            self._keyring = _Keyring(keys)

    @property
    def headers(self) -> list[bytes]:
        """What the values begin with that can be opened: `HEADER_BYTES` for each key."""
        return list(self._keyring.ciphers)

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """`plaintext`, encrypted and bound to `context`; 33 bytes longer."""
        header, cipher = self._keyring.first
        nonce = self._random_bytes(_NONCE_BYTES)
        return header + nonce + cipher.encrypt(nonce, plaintext, header + context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """What was sealed with this `context`. Raises `CannotOpen`."""
        if len(sealed) < HEADER_BYTES + _NONCE_BYTES + _TAG_BYTES or sealed[:1] != _VERSION:
            raise CannotOpen("malformed")
        header, nonce = sealed[:HEADER_BYTES], sealed[HEADER_BYTES : HEADER_BYTES + _NONCE_BYTES]
        cipher = self._keyring.ciphers.get(header)
        if cipher is None:
            raise CannotOpen(UNKNOWN)
        try:
            return cipher.decrypt(nonce, sealed[HEADER_BYTES + _NONCE_BYTES :], header + context)
        except InvalidTag:
            raise CannotOpen("tampered") from None

    def fingerprint(self, content: bytes) -> bytes:
        """32 bytes that tell equal contents (under the first key), and nothing else of them: keyed, so that what it
        stands for cannot be guessed and tried."""
        return hmac.digest(self._keyring.fingerprint_keys[0], content, "sha256")

    def is_fingerprint(self, content: bytes, fingerprint: bytes) -> bool:
        """Whether this is `content`'s under any of the keys."""
        keys = self._keyring.fingerprint_keys
        return any(hmac.compare_digest(hmac.digest(key, content, "sha256"), fingerprint) for key in keys)

    def sign(self, content: bytes) -> bytes:
        """`SIGNATURE_BYTES` that only a holder of the first key can make for this content: the key's id, which is that
        of sealed values, a dot, and an HMAC-SHA256, both in hexadecimal."""
        key_id, key = self._keyring.signing
        return key_id + b"." + mac(key, content)

    def is_signed(self, content: bytes, signature: bytes) -> bool:
        """Whether this is `content`'s signature under the key that it names; compares in constant time. Raises
        `CannotOpen` (`unknown_key`) where that is none of ours."""
        if not _SIGNATURE.fullmatch(signature):
            return False
        key = self._keyring.signature_keys.get(signature[: 2 * _ID_BYTES])
        if key is None:
            raise CannotOpen(UNKNOWN)
        return hmac.compare_digest(mac(key, content), signature[2 * _ID_BYTES + 1 :])


class _Keyring:
    """What is derived from the keys; the first one seals."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys or any(len(key) < MIN_KEY_CHARACTERS for key in keys):
            fix = f"Give at least {MIN_KEY_CHARACTERS} random characters each: openssl rand -base64 48"
            raise Misconfigured("SUBKEEPER_SECRET_KEY", "is missing or has a key that is too short", fix)
        ciphers = [
            (_VERSION + _derive(key, _ID_LABEL, _ID_BYTES), AESGCM(_derive(key, _KEY_LABEL, 32))) for key in keys
        ]
        self.keys = tuple(keys)
        self.first = ciphers[0]
        self.ciphers = dict(reversed(ciphers))
        signing = [
            (_derive(key, _ID_LABEL, _ID_BYTES).hex().encode(), _derive(key, _SIGNATURE_LABEL, 32)) for key in keys
        ]
        self.signing = signing[0]
        self.signature_keys = dict(reversed(signing))
        self.fingerprint_keys = [_derive(key, _FINGERPRINT_LABEL, 32) for key in keys]


def _derive(key: str, label: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=label).derive(key.encode())
