"""The control endpoint under `/_sandbox/`: JSON in and out, for tests and the demo; serve it on loopback only.

GET health, state, requests?since=N; POST reset, faults, latency, chaos, clock, keys, limits, retries, search, portal;
DELETE faults. What events and their deliveries have beside these: `sandbox.stripe.events.admin`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from sandbox.stripe.call import Answer
from sandbox.stripe.dunning import Retries
from sandbox.stripe.events.admin import EVENT_ACTIONS
from sandbox.stripe.faults import parse_fault, parse_rule
from sandbox.stripe.ledger import Transaction
from sandbox.stripe.portal.configurations import make_default
from sandbox.stripe.service import Service

PREFIX = "/_sandbox/"
_Json: TypeAlias = dict[str, Any]


def answer(service: Service, method: str, path: str, query: str, body: bytes) -> Answer:
    """Does what a control request asks: 404 for an unknown one, 400 (with a sentence) for a bad one."""
    action = _ACTIONS.get((method, path.removeprefix(PREFIX)))
    if action is None:
        return _json(404, {"error": f"no such control endpoint: {method} {path}"})
    try:
        given = json.loads(body) if body else {}
        if method == "GET":
            given = {name: values[-1] for name, values in parse_qs(query).items()}
        return _json(200, action(service, given))
    except (KeyError, TypeError, ValueError) as error:
        return _json(400, {"error": f"{type(error).__name__}: {error}"})


def _json(status: int, body: _Json) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _health(service: Service, _: _Json) -> _Json:
    return {"status": "ok", "account": service.account, "now": service.clock.time(), "requests": service.log.count}


def _state(service: Service, _: _Json) -> _Json:
    tables = service.ledger.tables
    return {
        "counts": {kind: table.count() for kind, table in tables.items()},
        "idempotency_keys": service.ledger.idempotency.prune_all(service.clock.time()),
        "customers": [
            {name: row[name] for name in ("id", "created", "email", "name", "metadata")}
            for row in tables["customer"].all()
        ],
        "subscriptions": [_subscription(row) for row in tables["subscription"].all()],
    }


def _subscription(row: _Json) -> _Json:
    names = ("id", "created", "customer", "status", "trial_start", "trial_end", "metadata")
    prices = [item["price"]["id"] for item in row["items"]["data"]]
    return {**{name: row[name] for name in names}, "prices": prices}


def _requests(service: Service, given: _Json) -> _Json:
    return {"requests": service.log.since(int(given.get("since", 0)))}


def _reset(service: Service, _: _Json) -> _Json:
    service.reset()
    return {}


def _faults(service: Service, given: _Json) -> _Json:
    """One rule, or `{"rules": […]}`; they are added to those there are."""
    service.faults.rules.extend([parse_rule(rule) for rule in given.get("rules", [given])])
    return {"rules": len(service.faults.rules)}


def _clear_faults(service: Service, _: _Json) -> _Json:
    service.faults.clear()
    return {}


def _latency(service: Service, given: _Json) -> _Json:
    """The default latency, as a fault without its kind; an empty object switches it off."""
    service.faults.default_latency = parse_fault({"kind": "latency", **given}) if given else None
    return {}


def _chaos(service: Service, given: _Json) -> _Json:
    latency = given.get("latency")
    service.faults.chaos(
        int(given["seed"]),
        given.get("rates", {}),
        parse_fault({"kind": "latency", **latency}) if latency else None,
    )
    return {}


def _clock(service: Service, given: _Json) -> _Json:
    """`jump` in seconds; `freeze` true stops the clock, false lets it go on."""
    if not given.keys() & {"jump", "freeze"}:
        raise KeyError("jump")
    if "freeze" in given:
        service.clock.freeze(frozen=bool(given["freeze"]))
    if "jump" in given:
        service.jump(float(given["jump"]))
    return {"now": service.clock.time()}


def _keys(service: Service, given: _Json) -> _Json:
    """Adds a key, or changes one: `permissions` null is a secret key's, `revoked` ends it, `account` is whose it is."""
    revoked, account = bool(given.get("revoked", False)), given.get("account")
    service.keys.put(str(given["key"]), given.get("permissions"), revoked=revoked, account=account)
    return {}


def _limits(service: Service, given: _Json) -> _Json:
    service.set_limits(given.get("account_rate"), given.get("endpoint_rate"))
    return {}


def _retries(service: Service, given: _Json) -> _Json:
    """What follows a payment that failed: `days` from each attempt to the next, `then` cancel, past_due or unpaid."""
    known = service.ledger.retries
    service.ledger.remember_retries(
        Retries(tuple(map(int, given.get("days", known.days))), given.get("then", known.then))
    )
    return {}


def _portal(service: Service, given: _Json) -> _Json:
    """The portal's configuration that sessions have unless they name one, as the Dashboard's settings make it."""
    now = service.clock.now()
    tx = Transaction(service.ledger, now, now)
    made = make_default(tx, str(given["configuration"]))
    service.ledger.commit(tx)
    return made


def _search(service: Service, given: _Json) -> _Json:
    service.ledger.search.lag = float(given["lag_seconds"])
    return {}


_ACTIONS: dict[tuple[str, str], Callable[[Service, _Json], _Json]] = {
    ("GET", "health"): _health,
    ("GET", "state"): _state,
    ("GET", "requests"): _requests,
    ("POST", "reset"): _reset,
    ("POST", "faults"): _faults,
    ("DELETE", "faults"): _clear_faults,
    ("POST", "latency"): _latency,
    ("POST", "chaos"): _chaos,
    ("POST", "clock"): _clock,
    ("POST", "keys"): _keys,
    ("POST", "limits"): _limits,
    ("POST", "retries"): _retries,
    ("POST", "search"): _search,
    ("POST", "portal"): _portal,
    **EVENT_ACTIONS,
}
