"""Every log event and the fields it may carry. A field that is not listed here is masked when it is logged.

Names are `noun.verb_past`. `error` (see `worker.telemetry.errors`), `timestamp` (UTC, ISO 8601) and `level` may stand
on any event. No field holds personal data: people are named by `user_id`, never by email or name.
A test compares this list with the calls in the code, in both directions.
"""

from __future__ import annotations

from collections.abc import Mapping

EVENTS: Mapping[str, tuple[str, ...]] = {
    # A library logged a warning or worse; `template` is its unformatted text, `where` the line that logged it.
    "library.logged": ("logger", "where", "template"),
    # An exception reached the top of the process or of a thread.
    "process.crashed": (),
    "thread.crashed": ("thread",),
    # The health endpoint.
    "health.listening": ("host", "port"),
    "health.changed": ("part", "ok", "detail"),
    "health.failed": ("reason",),
    # The broker. `reason` is a constant, `detail` an NSQ error code or the system's words; `topic` is empty when publishing.
    "nsqd.connected": ("address", "topic"),
    "nsqd.refused": ("address", "topic", "reason", "detail"),
    "nsqd.disconnected": ("address", "topic", "reason", "detail"),
    "nsqd.finish_failed": ("address", "topic", "code"),
    "nsqlookupd.failed": ("address", "reason"),
    "nsqlookupd.recovered": ("address",),
}
