"""The control endpoint's part for events and their deliveries.

GET deliveries?since=N; POST listen, webhooks, mishaps, resend, roll, events, version; DELETE mishaps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from sandbox.stripe.events.mishaps import parse_mishap
from sandbox.stripe.service import Service

_Json: TypeAlias = dict[str, Any]


def _deliveries(service: Service, given: _Json) -> _Json:
    return {"deliveries": service.webhooks.log.since(int(given.get("since", 0)))}


def _listen(service: Service, given: _Json) -> _Json:
    """An endpoint at `url` for `enabled_events` (all), which signs with `secret`, if one is given."""
    return service.webhooks.listen(str(given["url"]), given.get("enabled_events", ["*"]), given.get("secret"))


def _webhooks(service: Service, given: _Json) -> _Json:
    """Any of `schedule` (test, live), `timeout` (seconds), `at_once` (attempts an endpoint), `skew` (seconds)."""
    if given.keys() - {"schedule", "timeout", "at_once", "skew"}:
        raise ValueError("the settings are schedule, timeout, at_once and skew")
    webhooks = service.webhooks
    if "schedule" in given:
        webhooks.set_schedule(str(given["schedule"]))
    webhooks.timeout = float(given.get("timeout", webhooks.timeout))
    webhooks.at_once = max(1, int(given.get("at_once", webhooks.at_once)))
    webhooks.skew = float(given.get("skew", webhooks.skew))
    return {}


def _mishaps(service: Service, given: _Json) -> _Json:
    """One rule, or `{"rules": […]}`; they are added to those there are."""
    rules = service.webhooks.mishaps.rules
    rules.extend([parse_mishap(rule) for rule in given.get("rules", [given])])
    return {"rules": len(rules)}


def _clear_mishaps(service: Service, _: _Json) -> _Json:
    service.webhooks.mishaps.clear()
    return {}


def _resend(service: Service, given: _Json) -> _Json:
    return {"sent": service.webhooks.resend(str(given["event"]), given.get("endpoint"))}


def _roll(service: Service, given: _Json) -> _Json:
    """A new secret for `endpoint`; the old ones sign beside it for `keep_seconds`."""
    return {"secret": service.webhooks.roll(str(given["endpoint"]), float(given.get("keep_seconds", 0)))}


def _events(service: Service, given: _Json) -> _Json:
    """How late a list may show an event: each by its own time, up to `lag_seconds`."""
    service.ledger.event_lag = float(given["lag_seconds"])
    return {}


def _version(service: Service, given: _Json) -> _Json:
    """The account's API version."""
    service.webhooks.set_api_version(str(given["api_version"]))
    return {}


EVENT_ACTIONS: dict[tuple[str, str], Callable[[Service, _Json], _Json]] = {
    ("GET", "deliveries"): _deliveries,
    ("POST", "listen"): _listen,
    ("POST", "webhooks"): _webhooks,
    ("POST", "mishaps"): _mishaps,
    ("DELETE", "mishaps"): _clear_mishaps,
    ("POST", "resend"): _resend,
    ("POST", "roll"): _roll,
    ("POST", "events"): _events,
    ("POST", "version"): _version,
}
