"""What people do with the quarantine: find, reveal, retry, drop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from worker.broker.publisher import Publisher
from worker.errors import Rejected, SubkeeperError
from worker.sealing import CannotOpen, Sealer
from worker.store import quarantine, quarantine_list, unopenable_changes
from worker.store.engine.database import Database
from worker.store.provisioning import quarantined, unopenable, views
from worker.store.provisioning.views import LedgerRow
from worker.store.quarantine import KeptMessage
from worker.store.quarantine_list import Kind

BATCH = 500
"""Rows that are chosen, and ledger rows that are changed, at once."""

PUBLISH_SECONDS = 5.0
"""For nsqd's OK: within the time that Postgres leaves a transaction idle (`database.statement_timeout`)."""

KEY_LOST: Mapping[str, object] = {
    "code": "key_lost",
    "detail": "the key that the email was sealed under is lost: ask for it again, under another Idempotency-Key",
    "errors": [],
}
"""What is told to who asked for a change that nobody can open."""

EXPIRED = "its sealed profile has expired: publish the profile again; retry it if it stays in quarantine"
"""It stays there if the user's customer was deleted at Stripe: publishing then only brings the profile."""


class NotInQuarantine(SubkeeperError):
    """There is nothing of that name, or more than one thing."""


@dataclass(slots=True)
class Outcome:
    """How many messages and profiles it was done to; for others (by id) why not."""

    messages: int = 0
    profiles: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Everything in quarantine of one kind and for one reason; of any where None."""

    kind: Kind | None
    reason: str | None


class Quarantine:
    """Messages that were refused, by their number, and profiles that can't be settled, by their user."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, name: str, kind: Kind | None) -> KeptMessage | LedgerRow:
        """The message of that number or the profile of that user. Raises `NotInQuarantine`."""
        with self._database.transaction() as tx:
            row = views.find(tx, name) if kind is not Kind.MESSAGE else None
            message = quarantine.find(tx, int(name)) if kind is not Kind.PROFILE and _is_number(name) else None
        profile = row if row is not None and row.state == "quarantined" else None
        if message is not None and profile is not None:
            raise NotInQuarantine(f"{name} is both a message and a user: say which with --kind")
        if message is None and profile is None:
            raise NotInQuarantine(f"{name!r} is neither a message nor a user in quarantine")
        found = message or profile
        assert found is not None, "one of them is"
        return found

    def revealed(self, found: KeptMessage | LedgerRow, sealer: Sealer) -> bytes | None:
        """The sealed body of a message, or the sealed request of a profile (None once it has expired).

        Personal data. Raises `CannotOpen`.
        """
        if isinstance(found, KeptMessage):
            return sealer.open(found.sealed_body, found.topic.encode())
        return reveal_request(self._database, found.user_id, sealer)

    def retry_messages(self, ids: Sequence[int], publisher: Publisher, sealer: Sealer, outcome: Outcome) -> None:
        """Publishes each on its topic again, and deletes it once nsqd has it. Raises `Unavailable`.

        Deleting comes first and is committed last: a worker that refuses the message again meanwhile waits for the
        commit, and then keeps it anew. The other way round it would find it there, and our deletion would lose it.
        """
        for number in ids:
            try:
                with self._database.transaction() as tx:
                    for message in quarantine.take(tx, [number]):
                        body = sealer.open(message.sealed_body, message.topic.encode())
                        publisher.publish(message.topic, [body], PUBLISH_SECONDS)
                        outcome.messages += 1
            except (CannotOpen, Rejected) as refusal:
                outcome.failed[str(number)] = str(refusal)

    def retry_profiles(self, user_ids: Sequence[str], outcome: Outcome) -> None:
        """Makes the users' rows due again, in a new generation that looks before it creates."""
        with self._database.transaction() as tx:
            done = set(quarantined.retry(tx, user_ids))
        outcome.profiles += len(done)
        left = [user_id for user_id in user_ids if user_id not in done]
        outcome.failed |= dict.fromkeys(left, EXPIRED)

    def drop_messages(self, ids: Sequence[int], outcome: Outcome) -> None:
        """Deletes messages for good."""
        with self._database.transaction() as tx:
            outcome.messages += len(quarantine.take(tx, ids))

    def drop_profiles(self, user_ids: Sequence[str], outcome: Outcome) -> None:
        """Forgets users who never had a customer at Stripe; the next message of theirs begins anew."""
        with self._database.transaction() as tx:
            done = set(quarantined.drop(tx, user_ids))
        outcome.profiles += len(done)
        left = [user_id for user_id in user_ids if user_id not in done]
        outcome.failed |= dict.fromkeys(left, "stays, for it has had a customer at Stripe: retry it")

    def count_unopenable(self, sealer: Sealer) -> tuple[int, int]:
        """How many unsettled profiles, and how many changes that haven't ended, the sealer's keys don't open."""
        with self._database.transaction() as tx:
            return unopenable.count(tx, sealer.headers), unopenable_changes.count(tx, sealer.headers)

    def set_aside_unopenable(self, sealer: Sealer) -> int:
        """Puts such profiles into quarantine, except those that some worker has just leased. Returns how many."""
        error, done = "profile_sealed: its key is lost; publish the profile again", 0
        while True:
            with self._database.transaction() as tx:
                batch = unopenable.set_aside(tx, sealer.headers, error=error, limit=BATCH)
            done += batch
            if batch < BATCH:
                return done

    def fail_unopenable(self, sealer: Sealer) -> int:
        """Ends such changes, which hold up their users' later ones, as failed: who asked is told why. Returns how
        many."""
        done = 0
        while True:
            with self._database.transaction() as tx:
                batch = unopenable_changes.fail(tx, sealer.headers, error=KEY_LOST, limit=BATCH)
            done += batch
            if batch < BATCH:
                return done

    def messages(self, chosen: Chosen) -> Iterator[list[int]]:
        """The numbers of the chosen messages that are there now, in batches; what comes back meanwhile is left."""
        with self._database.transaction() as tx:
            last = quarantine.newest(tx)
        after = 0
        while chosen.kind is not Kind.PROFILE:
            with self._database.transaction() as tx:
                ids = quarantine.ids_between(tx, after, last, chosen.reason, BATCH)
            if not ids:
                return
            yield ids
            after = ids[-1]

    def profiles(self, chosen: Chosen) -> Iterator[list[str]]:
        """The chosen profiles' users, in batches, each once."""
        after = ""
        while chosen.kind is not Kind.MESSAGE:
            with self._database.transaction() as tx:
                users = quarantine_list.users_after(tx, after, chosen.reason, BATCH)
            if not users:
                return
            yield users
            after = users[-1]


def reveal_request(database: Database, user_id: str, sealer: Sealer) -> bytes | None:
    """What the customer's request holds (JSON), or None once it is erased. Personal data. Raises `CannotOpen`."""
    with database.transaction() as tx:
        sealed = views.sealed_request(tx, user_id)
    return sealer.open(sealed, user_id.encode()) if sealed is not None else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
