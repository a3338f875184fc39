"""Opening a connection to an nsqd: IDENTIFY, TLS, AUTH, SUB."""

from __future__ import annotations

import json
import ssl
import sys
import time
from typing import Any

from worker.broker.address import Address
from worker.broker.config import ConnectionConfig
from worker.broker.connection import NsqConnection
from worker.broker.faults import Broken, broken_by


def open_connection(address: Address, config: ConnectionConfig) -> NsqConnection:
    """Connected, identified, encrypted and authenticated: SUB or PUB may be sent. Raises `Broken`.

    All of it takes `connect_timeout` at most, but that connecting alone may take as long.
    """
    deadline = time.monotonic() + config.connect_timeout
    connection = NsqConnection(address, config)
    try:
        connection.dial()
        _introduce(connection, config, deadline)
    except Broken:
        connection.close()
        raise
    except OSError as exc:
        connection.close()
        raise broken_by(exc) from exc
    return connection


def subscribe(connection: NsqConnection, topic: str, channel: str, timeout: float) -> None:
    """SUB and wait for nsqd's OK: from here the channel exists. Nothing arrives before the first RDY."""
    connection.sub(topic.encode(), channel.encode())
    _expect_ok(connection, time.monotonic() + timeout)


def _introduce(connection: NsqConnection, config: ConnectionConfig, deadline: float) -> None:
    connection.identify(dict(config.identify))
    connection.features = features = _features(connection.await_answer(deadline))
    connection.max_rdy_count = features.get("max_rdy_count", sys.maxsize)
    tls = config.credentials.tls()
    if tls is not None:
        _encrypt(connection, tls, deadline)
    if features.get("auth_required"):
        _authenticate(connection, config, deadline)


def _features(answer: bytes) -> dict[str, Any]:
    try:
        features = json.loads(answer)
    except ValueError:
        features = None
    if not isinstance(features, dict):
        raise Broken("refused", "nsqd did not negotiate features")
    return features


def _encrypt(connection: NsqConnection, tls: ssl.SSLContext, deadline: float) -> None:
    """Never falls back to plain text."""
    if not connection.features.get("tls_v1"):
        raise Broken("refused", "nsqd offers no TLS")
    connection.encrypt(tls, deadline)
    _expect_ok(connection, deadline)


def _authenticate(connection: NsqConnection, config: ConnectionConfig, deadline: float) -> None:
    secret = config.credentials.auth_secret()
    if secret is None:
        raise Broken("refused", "nsqd wants nsq.auth_secret")
    connection.auth(secret)
    connection.await_answer(deadline)


def _expect_ok(connection: NsqConnection, deadline: float) -> None:
    if connection.await_answer(deadline) != b"OK":
        raise Broken("bad_frame", "nsqd's answer was not OK")
