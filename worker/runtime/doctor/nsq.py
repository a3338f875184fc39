"""NSQ: each nsqlookupd and nsqd, our topics and channels on each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from worker.broker.admin import introduce, registered
from worker.broker.http import ChannelState, NsqdApi, http_beside
from worker.broker.lookup import Node
from worker.domain.address import Address, parse_address
from worker.errors import Misconfigured, Unavailable
from worker.runtime.doctor.findings import Bounded, Finding, Findings, ok, problem, refused, skipped, warning
from worker.settings.sections import NsqSettings

LOOKUPD, NSQD, CHANNELS, LIMITS = "nsqlookupd", "nsqd", "nsqd.channels", "nsqd.limits"

PATIENCE = 12.0
"""Seconds for all nsqlookupds together, and then for all nsqds: they are asked side by side."""


class NsqCheck:
    """Asks each part by itself, so that one that is away hides none of the others."""

    def __init__(self, settings: NsqSettings) -> None:
        self._settings = settings
        self._http: dict[Address, str | None] = {}

    def findings(self) -> Findings:
        settings = self._settings
        yield from _side_by_side(
            [
                *((LOOKUPD, partial(self._lookupd, each), each) for each in settings.lookupd_http_addresses),
                *((NSQD, partial(self._known_by_http, each), each) for each in settings.nsqd_http_addresses),
            ]
        )
        for address in map(parse_address, settings.nsqd_tcp_addresses):
            self._http.setdefault(address, None)
        if not self._http:
            yield problem(NSQD, "no nsqd is known", "Start one that registers with nsqlookupd, then `subkeeper setup`")
        nsqds = sorted(self._http.items())
        yield from _side_by_side([(NSQD, partial(self._nsqd, *nsqd), str(nsqd[0])) for nsqd in nsqds])

    def _lookupd(self, lookupd: str) -> Findings:
        try:
            nodes = registered(self._settings, lookupd)
        except Unavailable as away:
            yield refused(LOOKUPD, away, "Check nsq.lookupd_http_addresses (the HTTP port, 4161), and that it runs")
            return
        self._learn(nodes)
        yield ok(LOOKUPD, f"{lookupd} knows {len(nodes)} nsqd{'' if len(nodes) == 1 else 's'}")

    def _learn(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            self._http[node.tcp] = str(node.http)

    def _known_by_http(self, http: str) -> Findings:
        try:
            host = parse_address(http).host
            self._http[Address(host, self._api(http).identity().tcp_port)] = http
        except Unavailable as away:
            yield refused(NSQD, away, "Check nsq.nsqd_http_addresses (the HTTP port, 4151), and that it runs")

    def _nsqd(self, address: Address, http: str | None) -> Findings:
        http = http or http_beside(address, self._settings.lookupd_timeout)
        if http is None:
            detail = f"{address}: its HTTP interface isn't known, so its channels can't be looked at"
            yield warning(CHANNELS, detail, "Set nsq.nsqd_http_addresses")
        states = self._channel_states(http) if http else {}
        if isinstance(states, Unavailable):
            yield refused(CHANNELS, states, "Check that address, and that it runs")
            states = {}
        present = [topic for topic, state in states.items() if state.exists]
        try:
            features = introduce(self._settings, address, [(each, self._settings.channel) for each in present])
        except (Unavailable, Misconfigured) as error:
            yield refused(
                NSQD, error, "Start it, or check its address, nsq.tls, nsq.auth_secret_file and nsq.msg_timeout"
            )
        else:
            how = "takes our subscription" if present else "takes our IDENTIFY"
            yield ok(NSQD, f"{address} {how} (nsqd {features.get('version', 'of an unknown version')})")
        if states:
            yield check_channels(address, self._settings.channel, states)
        if http and states:
            yield from self._limits(address, http)

    def _api(self, http: str) -> NsqdApi:
        return NsqdApi(http, self._settings.lookupd_timeout)

    def _channel_states(self, http: str) -> dict[str, ChannelState] | Unavailable:
        settings = self._settings
        topics = (settings.profile_topic, settings.backfill_topic, settings.events_topic)
        try:
            return {topic: self._api(http).channel_state(topic, settings.channel) for topic in topics}
        except Unavailable as away:
            return away

    def _limits(self, address: Address, http: str) -> Findings:
        names = ("max_msg_size", "mem_queue_size", "sync_every")
        try:
            options = {name: self._api(http).option(name) for name in names}
        except Unavailable as away:
            yield refused(LIMITS, away, "Check that address, and that it runs")
            return
        yield check_limits(address, options, self._settings.max_message_bytes)


def check_channels(address: Address, channel: str, states: Mapping[str, ChannelState]) -> Finding:
    missing = [f"{topic}/{channel}" for topic, state in states.items() if not state.exists]
    paused = [f"{topic}/{channel}" for topic, state in states.items() if state.paused]
    if missing:
        detail = f"{address} has no {' and no '.join(missing)}: what is published before they exist is not kept for us"
        return problem(CHANNELS, detail, "Run `subkeeper setup`")
    if paused:
        fix = "Unpause topic and channel: nsqadmin, or POST /topic/unpause and /channel/unpause"
        return problem(CHANNELS, f"{address} has paused {' and '.join(paused)}: nothing comes", fix)
    return ok(CHANNELS, f"{address} has {' and '.join(f'{topic}/{channel}' for topic in states)}")


def check_limits(address: Address, options: Mapping[str, int | None], max_message_bytes: int) -> Finding:
    size = options["max_msg_size"]
    if size is None:
        detail = f"{address} doesn't tell its settings, so what it keeps in memory is not known"
        return skipped(LIMITS, detail)
    if size > max_message_bytes:
        detail = f"{address} takes messages of {size} bytes; those over {max_message_bytes} are cut and quarantined"
        return warning(LIMITS, detail, f"Raise nsq.max_message_bytes to {size}")
    if options["mem_queue_size"] or options["sync_every"] != 1:
        detail = f"{address} keeps messages in memory: killed, it loses them"
        return warning(LIMITS, detail, "Start nsqd with --mem-queue-size=0 --sync-every=1 (docs/operations.md, nsqd)")
    return ok(LIMITS, f"{address} takes messages of {size} bytes and keeps them on disk")


def _side_by_side(checks: Sequence[tuple[str, Callable[[], Findings], str]]) -> Findings:
    until = time.monotonic() + PATIENCE
    for each in [Bounded(*check) for check in checks]:
        yield from each.results(until)
