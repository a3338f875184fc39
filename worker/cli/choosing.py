"""Which of those in quarantine a command is about: those named on the command line, or all of a kind and reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from worker.quarantine.actions import Chosen, Quarantine
from worker.store.quarantine import KeptMessage
from worker.store.quarantine_list import Kind


def choose(names: Sequence[str], kind: str | None, reason: str | None, *, everything: bool) -> Chosen:
    if sum((bool(names), reason is not None, everything)) != 1:
        raise click.UsageError("Say which: either name them, or give --reason, or --all.")
    return Chosen(Kind(kind) if kind else None, reason)


def apply(
    quarantined: Quarantine,
    names: Sequence[str],
    chosen: Chosen,
    to_messages: Callable[[Sequence[int]], None],
    to_profiles: Callable[[Sequence[str]], None],
) -> None:
    """Does it to those named, all of which must be there; else to all that are chosen."""
    if not names:
        for ids in quarantined.messages(chosen):
            to_messages(ids)
        for users in quarantined.profiles(chosen):
            to_profiles(users)
        return
    found = [quarantined.find(name, chosen.kind) for name in dict.fromkeys(names)]
    if numbers := [each.id for each in found if isinstance(each, KeptMessage)]:
        to_messages(numbers)
    if profiles := [each.user_id for each in found if not isinstance(each, KeptMessage)]:
        to_profiles(profiles)


def count(quarantined: Quarantine, names: Sequence[str], chosen: Chosen) -> dict[str, int]:
    """How many of each kind it is about. Raises `NotInQuarantine` for a name that isn't there."""
    if not names:
        messages, profiles = quarantined.messages(chosen), quarantined.profiles(chosen)
        return {"message": sum(map(len, messages)), "profile": sum(map(len, profiles))}
    found = [quarantined.find(name, chosen.kind) for name in dict.fromkeys(names)]
    messages_named = sum(isinstance(each, KeptMessage) for each in found)
    return {"message": messages_named, "profile": len(found) - messages_named}
