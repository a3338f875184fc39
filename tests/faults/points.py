"""Every point at which Subkeeper changes something, or asks Stripe: the one list of them.

`found_in_the_code` reads the code for what there is; a new side effect that is in none of these sets fails the suite
(`test_points`), and so does one that no kill of `scenarios` passes.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.faults.seams import WORKER, owner

POINTS = frozenset(
    {
        "commit:AccountWork._prune",
        "commit:ApiStripe.count_reads",
        "commit:Asking.insert",
        "commit:Budget._leave",
        "commit:Budget.renew",
        "commit:CardComparison._told",
        "commit:Cards.of",
        "commit:Cards.reorder",
        "commit:ChargeLeases.answered",
        "commit:ChargeLeases.begin",
        "commit:ChargeLeases.lease_due",
        "commit:ChargeLeases.leave",
        "commit:ChargeLeases.postpone",
        "commit:ChargeLeases.renew",
        "commit:ChangeLeases.advance",
        "commit:ChangeLeases.begin",
        "commit:PageRows.heard",
        "commit:PageRows.is_taken_in",
        "commit:ChangeLeases.lease_due",
        "commit:ChangeLeases.postpone",
        "commit:ChangeLeases.refuse",
        "commit:ChangeLeases.remove",
        "commit:ErasureRows.claim",
        "commit:ErasureRows.erase",
        "commit:ErasureRows.forget_messages",
        "commit:ErasureRows.forget_pages",
        "commit:ErasureRows.settle",
        "commit:EventInbox._commit",
        "commit:EventInbox._set_message_aside",
        "commit:EventInbox.maintain",
        "commit:Leadership.take",
        "commit:Leadership.write",
        "commit:Leases.complete",
        "commit:Leases.freeze_subscription_request",
        "commit:Leases.keep",
        "commit:Leases.lease_due",
        "commit:Leases.lease_refused",
        "commit:Leases.lease_untried",
        "commit:Leases.next_generation",
        "commit:Leases.postpone",
        "commit:Leases.quarantine",
        "commit:Leases.record_customer",
        "commit:Leases.refuse",
        "commit:Leases.release_refused",
        "commit:Ownership.claim",
        "commit:ProfileInbox._commit",
        "commit:Pruner._step",
        "commit:Quarantine.drop_messages",
        "commit:Quarantine.drop_profiles",
        "commit:Quarantine.retry_messages",
        "commit:Quarantine.retry_profiles",
        "commit:Quarantine.fail_unopenable",
        "commit:Quarantine.set_aside_unopenable",
        "commit:ReadMeter.foresee",
        "commit:ReadMeter.give_back",
        "commit:ReadMeter.spend",
        "commit:Refresher._lease",
        "commit:Refresher._postpone",
        "commit:Refresher._write",
        "commit:Refresher.mark",
        "commit:Relay.publish_waiting",
        "commit:Sharing.set",
        "commit:Replay._forget",
        "commit:Vanished.denied",
        "commit:Verifier._heal_gap",
        "commit:Verifier._spool_unseen",
        "commit:Watch._count_reads",
        "commit:Watch._fold_counts",
        "commit:Watch._forget_expired",
        "commit:counting.recount",
        "commit:publishing.take_census",
        "commit:restored.look_first",
        "commit:setup._schema",
        "file:ProgressFile.save",
        "file:SecretFile.write",
        "file:Walk._append",
        "nsq:CLS",
        "nsq:FIN",
        "nsq:POST /channel/create",
        "nsq:POST /topic/create",
        "nsq:REQ",
        "nsq:SUB",
        "publish:Outlet.publish",
        "publish:Outlet.send",
        "publish:Quarantine.retry_messages",
        "publish:Relay._publish",
        "publish:StripeWebhook.take",
        "publish:publish.publish",
        "publish:replaying.replay",
        "stripe:account.retrieve",
        "stripe:billing_portal.configurations.create",
        "stripe:billing_portal.configurations.list",
        "stripe:billing_portal.configurations.update",
        "stripe:billing_portal.sessions.create",
        "stripe:checkout.sessions.create",
        "stripe:checkout.sessions.expire",
        "stripe:checkout.sessions.retrieve",
        "stripe:customers.create",
        "stripe:customers.delete",
        "stripe:customers.list",
        "stripe:customers.retrieve",
        "stripe:customers.search",
        "stripe:customers.update",
        "stripe:events.list",
        "stripe:events.retrieve",
        "stripe:invoices.pay",
        "stripe:invoices.retrieve",
        "stripe:payment_methods.attach",
        "stripe:payment_methods.detach",
        "stripe:payment_methods.list",
        "stripe:payment_methods.retrieve",
        "stripe:prices.create",
        "stripe:prices.list",
        "stripe:products.create",
        "stripe:products.list",
        "stripe:products.update",
        "stripe:subscriptions.cancel",
        "stripe:subscriptions.create",
        "stripe:subscriptions.list",
        "stripe:subscriptions.resume",
        "stripe:subscriptions.retrieve",
        "stripe:subscriptions.update",
        "stripe:tax_ids.create",
        "stripe:tax_ids.delete",
        "stripe:tax_ids.list",
        "stripe:test_clocks.retrieve",
        "stripe:webhook_endpoints.create",
        "stripe:webhook_endpoints.delete",
        "stripe:webhook_endpoints.list",
        "stripe:webhook_endpoints.update",
    }
)

READS = frozenset(
    {
        "AccountWork._preflight",
        "ApiSide._look_at_postgres",
        "CardComparison._missed",
        "Cards._known",
        "ErasureRows.of",
        "Leases.refusals",
        "ProfileInbox._require_tables",
        "Ownership.is_recorded",
        "Ownership.sign",
        "PostgresCheck._facts",
        "PostgresCheck._find_owner",
        "PostgresCheck._schema",
        "PostgresCheck._tables",
        "Resources.require_schema",
        "Quarantine.count_unopenable",
        "Quarantine.find",
        "Quarantine.messages",
        "Quarantine.profiles",
        "Watch._watch_outbox",
        "Watch._watch_polls",
        "Watch._watch_queues",
        "ClockWatch.ask_postgres",
        "Comparison._differing",
        "Comparison._missing_here",
        "Comparison._missing_there",
        "Comparison._row",
        "Comparison.suspects",
        "Replay._judged",
        "Verifier._customers",
        "Verifier._profiles",
        "Verifier.everything",
        "Verifier.of",
        "verifying._cost",
        "publishing.begin",
        "operations.open_database",
        "provisioning.list_",
        "replaying.heard",
        "replaying.show",
        "provisioning.show",
        "quarantine.list_",
        "actions.reveal_request",
        "explaining.story",
        "restored.count_unfinished",
        "setup._webhook",
        "setup.schema_differences",
    }
)
"""Whose transactions only read: one of them that writes passes as `commit:…`, which fails every recording."""

NOT_ASKED_YET: dict[str, str] = {}
"""Operations of the gateway, and its methods, that nobody calls."""


@cache
def found_in_the_code() -> Counter[str]:
    """All transactions (as `commit:…`, whether they write or not), publications, operations of Stripe, words to nsqd,
    and files that stay; how often each is written down."""
    return Counter(point for file in sorted(WORKER.rglob("*.py")) if not _is_apart(file) for point in _points_of(file))


def methods_called(on: str) -> set[str]:
    """The names of the methods that are called on attributes or variables whose name ends in `on`."""
    return {
        node.func.attr
        for file in WORKER.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _name(node.func.value).endswith(on)
    }


def _is_apart(file: Path) -> bool:
    return file.relative_to(WORKER).parts[0] == "store"


def _points_of(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_text())
    for function, call in _calls(tree, ""):
        match call.func:
            case ast.Attribute(attr="transaction" | "connection", value=holder) if _name(holder).endswith("database"):
                yield f"commit:{owner(function, file.stem)}"
            case ast.Name(id="Call") if call.args and isinstance(call.args[0], ast.Constant):
                yield f"stripe:{call.args[0].value!s}"
            case ast.Attribute(attr="post" | "sub" | "fin" | "req" | "touch" | "cls") if file.parent.name == "broker":
                yield from _to_nsqd(call.func, call)
            case ast.Attribute(attr="publish", value=holder) if _name(holder).endswith("publisher"):
                yield f"publish:{owner(function, file.stem)}"
            case ast.Attribute(attr="replace", value=holder) if _name(holder) == "_new":
                yield f"file:{function}"
            case ast.Attribute(attr="write", value=holder) if file.stem == "walk" and _name(holder) == "_file":
                yield f"file:{function}"
            case ast.Attribute(attr="open") if "O_EXCL" in ast.dump(call):
                yield f"file:{function}"


def _to_nsqd(said: ast.Attribute, call: ast.Call) -> Iterator[str]:
    """A word of nsq-py's `Connection` that isn't `SILENT`, or a request to nsqd's HTTP interface."""
    if said.attr == "post":
        if isinstance(call.args[0], ast.Constant):
            yield f"nsq:POST {call.args[0].value!s}"
    elif _name(said.value) in {"connection", "self"}:
        yield f"nsq:{said.attr.upper()}"


def _calls(node: ast.AST, inside: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call below `node`, with the qualified name of the function that it is in, as a frame has it."""
    for child in ast.iter_child_nodes(node):
        name = inside
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            above = inside if not inside or isinstance(node, ast.ClassDef) else f"{inside}.<locals>"
            name = f"{above}.{child.name}" if above else child.name
        if isinstance(child, ast.Call):
            yield inside, child
        yield from _calls(child, name)


def _name(node: ast.expr) -> str:
    """The last name of `a.b.c`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
