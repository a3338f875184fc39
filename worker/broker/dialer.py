"""Connections for who publishes: to the next nsqd that can be had; one that can't is told of once."""

from __future__ import annotations

import random
from dataclasses import replace

import structlog

from worker.broker.config import FIRST_RECONNECT, publisher_config
from worker.broker.connection import NsqConnection
from worker.broker.handshake import open_connection
from worker.broker.lookup import Targets
from worker.broker.protocol import Broken
from worker.domain.address import Address
from worker.domain.backoff import backoff
from worker.errors import Unavailable
from worker.settings.sections import NsqSettings

LONGEST_RECONNECT = 1.0
"""Seconds between two attempts at most, as somebody waits."""


class Dialer:
    """Tries the nsqds in turn. One thread's at a time; what asks a broker blocks."""

    def __init__(self, settings: NsqSettings, rng: random.Random) -> None:
        self._config = publisher_config(settings)
        self._retry_max = min(LONGEST_RECONNECT, settings.reconnect_max)
        self._rng = rng
        self._targets = Targets(settings, rng)
        self._tried: Address | None = None
        self._refused: dict[Address, str] = {}
        self.finds = bool(settings.lookupd_http_addresses)
        """Whether nsqlookupd tells where to publish, and may tell to leave an nsqd."""

    def dial(self, topic: str, timeout: float) -> NsqConnection:
        """A connection to the next nsqd for `topic`, within so many seconds. Raises `Broken`."""
        self._tried = None
        address = self._tried = self._targets.next(topic)
        patience = min(self._config.connect_timeout, timeout)
        try:
            connection = open_connection(address, replace(self._config, connect_timeout=patience))
        except Broken as broken:
            self._tell_refused(address, broken)
            raise
        self._refused.pop(address, None)
        _log(address).info("nsqd.connected")
        return connection

    def is_to_be_left(self, connection: NsqConnection, topic: str) -> bool:
        """Whether nsqlookupd says that nothing more of `topic` is to be published there."""
        return self._targets.is_tombstoned(connection.address, topic)

    def pause(self, attempt: int) -> float:
        """Seconds before the next attempt, after so many."""
        return backoff(attempt, FIRST_RECONNECT, self._retry_max, self._rng)

    def unavailable(self, broken: Broken) -> Unavailable:
        """What is told of the last attempt."""
        return Unavailable("nsqd", f"{self._tried}: {broken}" if self._tried else str(broken))

    def tell_lost(self, connection: NsqConnection, broken: Broken) -> None:
        """It has ended by itself."""
        _log(connection.address).warning("nsqd.disconnected", reason=broken.reason, detail=broken.detail)

    def close(self) -> None:
        self._targets.close()

    def _tell_refused(self, address: Address, broken: Broken) -> None:
        """Once for each reason, until it is connected to: whoever publishes all the time tries all the time."""
        if self._refused.get(address) != broken.reason:
            self._refused[address] = broken.reason
            _log(address).warning("nsqd.refused", reason=broken.reason, detail=broken.detail)


def _log(address: Address) -> structlog.typing.FilteringBoundLogger:
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(address=str(address), topic="")
    return log
