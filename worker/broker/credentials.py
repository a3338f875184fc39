"""By what nsqd knows us, and we it: the auth secret and TLS, followed when their files change."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from worker.errors import Misconfigured
from worker.settings import NsqSettings, NsqTlsSettings
from worker.settings.secrets import read_secret

Value = TypeVar("Value")
Stamps = list[tuple[int, ...] | None]


class Credentials:
    """Asked at each attempt to connect, so that a certificate or secret is replaced without a restart. Thread-safe.

    Raises `Misconfigured` at first where a file can't be used.
    """

    def __init__(self, settings: NsqSettings) -> None:
        tls, secret_file = settings.tls, settings.auth_secret_file
        tls_files = [file for file in (tls.ca_file, tls.cert_file, tls.key_file) if file is not None]
        self._tls = _Followed("nsq.tls", tls_files, lambda: tls_context(tls) if tls.enabled else None)
        secret_files = [secret_file] if secret_file is not None else []
        self._auth_secret = _Followed("nsq.auth_secret_file", secret_files, lambda: _auth_secret(settings))

    def tls(self) -> ssl.SSLContext | None:
        return self._tls.value()

    def auth_secret(self) -> bytes | None:
        return self._auth_secret.value()


class _Followed(Generic[Value]):
    """What `load` makes of `files`, made anew once they have changed; a change that it refuses, with `Misconfigured`,
    leaves the value as it was and is said once. It may be half done: a certificate whose key is written next."""

    def __init__(self, name: str, files: Sequence[Path], load: Callable[[], Value]) -> None:
        self._name = name
        self._files = files
        self._load = load
        self._lock = threading.Lock()
        self._refusal = ""
        self._seen = self._stamps()
        self._value = load()

    def value(self) -> Value:
        with self._lock:
            stamps = self._stamps()
            if stamps != self._seen:
                self._follow(stamps)
            return self._value

    def _follow(self, stamps: Stamps) -> None:
        log = structlog.get_logger().bind(setting=self._name)
        try:
            self._value = self._load()
        except Misconfigured as refused:
            if str(refused) != self._refusal:
                log.error("nsq_credentials.refused", reason=str(refused))  # noqa: TRY400 - it says all there is
            self._refusal = str(refused)
            return
        self._seen, self._refusal = stamps, ""
        log.info("nsq_credentials.changed")

    def _stamps(self) -> Stamps:
        return [_stamp(file) for file in self._files]


def _stamp(file: Path) -> tuple[int, ...] | None:
    """Another one for every change of the file, or of what a symbolic link leads to (Kubernetes' secrets)."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _auth_secret(settings: NsqSettings) -> bytes | None:
    secret = read_secret("nsq.auth_secret_file", settings.auth_secret, settings.auth_secret_file)
    return secret.encode() if secret else None


def _words(exc: OSError) -> str:
    """What TLS's library (`KEY_VALUES_MISMATCH`) or the system says."""
    if isinstance(exc, ssl.SSLError):
        return exc.reason or "not PEM"
    return exc.strerror or type(exc).__name__


def tls_context(settings: NsqTlsSettings) -> ssl.SSLContext:
    """A context that verifies nsqd's certificate and name; Misconfigured when a file is wrong.

    nsq-py calls `ssl.wrap_socket` (TLS 1.0, nothing verified, gone in Python 3.12).
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.cert_file is not None:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except (OSError, ssl.SSLError) as exc:
        fix = "Check ca_file, cert_file and key_file: PEM, readable, and belonging together"
        files = ", ".join(str(each) for each in (settings.ca_file, settings.cert_file, settings.key_file) if each)
        raise Misconfigured("nsq.tls", f"{files} cannot be loaded ({_words(exc)})", fix) from exc
    return context
