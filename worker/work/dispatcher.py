"""The threads that do leased work: what was just inserted at once, retries and dead processes' leases by sweeping."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Generic

from worker.domain.deadline import Clock, boot_time
from worker.domain.lanes import Lane, LaneSchedule, Reservation
from worker.errors import Misconfigured, SubkeeperError, TryLater, Unavailable
from worker.telemetry import Watchdog
from worker.telemetry.tally import Tally
from worker.work.halting import Halting
from worker.work.owner import Ended, LeaseT, Owner
from worker.work.turns import Turns

LEAST_LEASE = 2.0
"""Seconds of its lease that a row must have left when a thread takes it up; less, and it is given back."""


class Dispatcher(Generic[LeaseT]):
    """Does `owner`'s work on `threads` threads, shared among the lanes by `schedule`; halted, what `halting` tries.

    `observe` hears of each lease: its lane, its outcome and the seconds it took.
    """

    def __init__(
        self,
        owner: Owner[LeaseT],
        halting: Halting[LeaseT],
        schedule: LaneSchedule,
        *,
        observe: Callable[[Lane, str, float], None],
        threads: int,
        sweep_interval: float,
        watchdog: Watchdog,
        clock: Clock = boot_time,
        name: str = "settler",
    ) -> None:
        self._owner = owner
        self._schedule = schedule
        self._observe = observe
        self._threads = threads
        self._sweep_interval = sweep_interval
        self._halting = halting
        self._watchdog = watchdog
        self._clock = clock
        self._name = name
        self._tally = Tally()
        # Two conditions on one lock, so that a row that comes wakes the one thread that takes it, and one that is done
        # the sweeper alone, if it has a reason: 500 context switches a second at 20 profiles/s, 1,500 if all are woken.
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._leased = threading.Condition(lock)
        # All of the following under the condition's lock.
        self._queues: dict[Lane, deque[LeaseT]] = {lane: deque() for lane in Lane}
        self._running: Counter[Lane] = Counter()
        self._reserved: Counter[Lane] = Counter()
        self._backlog = set(Lane)
        self._stopping = False

    def start(self, spawn: Callable[[str, Callable[[], None]], None]) -> None:
        spawn("sweeper" if self._name == "settler" else f"{self._name}-sweeper", self._sweep_for_ever)
        for number in range(self._threads):
            spawn(f"{self._name}-{number}", self._settle_for_ever)

    def stop(self) -> None:
        """Takes no more work: rows under way are finished, waiting ones given back. The threads then end."""
        with self._changed:
            self._stopping = True
            self._leased.notify_all()
            self._changed.notify_all()

    # For rows that are leased in the transaction that inserts them

    @contextmanager
    def reserve(self, wanted: Mapping[Lane, int]) -> Iterator[Reservation[LeaseT]]:
        """Room for up to `wanted` rows, held until the block ends."""
        with self._changed:
            granted = Counter({lane: min(count, self._room(lane)) for lane, count in wanted.items()})
            self._reserved += granted
        reservation: Reservation[LeaseT] = Reservation(granted)
        try:
            yield reservation
        finally:
            with self._changed:
                self._reserved -= granted
                for lease in reservation.leases:
                    self._queues[lease.lane].append(lease)
                self._backlog |= {lane for lane, count in wanted.items() if granted[lane] < count}
                ended = self._stopping or self._halting.halted
                self._leased.notify(len(reservation.leases))
                self._wake_sweeper()
            if ended:  # meanwhile: nobody else gives them back
                self._give_back_waiting()

    def more_is_due(self, lane: Lane) -> None:
        """Rows of `lane` have been committed that are due: they needn't wait for the next sweep."""
        with self._changed:
            self._backlog.add(lane)
            self._wake_sweeper()

    def _room(self, lane: Lane) -> int:
        if self._halting.halted or self._stopping:
            return 0
        held = self._running[lane] + len(self._queues[lane]) + self._reserved[lane]
        return max(0, self._schedule.most_held(lane) - held)

    # The working threads

    def _settle_for_ever(self) -> None:
        while self.settle_next(wait=True):
            pass

    def settle_next(self, *, wait: bool) -> bool:
        """Does the next lease's work. False: stopped meanwhile; or there is none, and it shall not `wait` for one."""
        if (lease := self._next_lease(wait=wait)) is None:
            return False
        try:
            with self._watchdog.work():
                self._settle(lease)
        finally:
            with self._changed:
                self._running[lease.lane] -= 1
                self._wake_sweeper()
        return True

    def _next_lease(self, *, wait: bool) -> LeaseT | None:
        with self._changed:
            while True:
                if self._stopping:
                    return None
                waiting = [lane for lane, queue in self._queues.items() if queue]
                lane = self._schedule.next(waiting, self._running) if waiting else None
                if lane is not None:
                    self._running[lane] += 1
                    return self._queues[lane].popleft()
                if not wait:
                    return None
                self._leased.wait()

    def _settle(self, lease: LeaseT) -> None:
        if lease.deadline.remaining() < LEAST_LEASE:
            self._give_back(lease)
            self._observe(lease.lane, "given_back", 0.0)
            return
        was_halted, began = self._halting.halted, self._clock()
        try:
            ended = self._run_and_count(lease)
            with suppress(SubkeeperError):  # Postgres: the sweeper will hear of it
                self._halting.heard(ended, began)
        except Misconfigured as stop:
            self._halting.bar(stop)
        except (Unavailable, TryLater):
            pass  # Postgres: nothing can be written, so the lease runs out
        if self._halting.halted:
            self._give_back_waiting()
        elif was_halted:
            self._go_on()

    def _run_and_count(self, lease: LeaseT) -> Ended:
        """What came of it. Raises what keeps every row from settling; a bug must not, so it is loud and waits."""
        lane, started, ended = lease.lane, time.monotonic(), Ended("unrecorded")
        try:
            ended = self._owner.run(lease)
        except Misconfigured:
            ended = Ended("halted")
            raise
        except (Unavailable, TryLater):
            raise
        except Exception as error:  # noqa: BLE001 - see above
            self._owner.crashed(lease, error)
            ended = Ended("crashed")
        finally:
            self._observe(lane, ended.outcome, time.monotonic() - started)
            self._tally.add(ended.outcome)
        return ended

    # Sweeping

    def _sweep_for_ever(self) -> None:
        turns = Turns(self.take_turn, self._watchdog)
        while not self._stopping:
            turns.take()
            self._tally.tell_each_minute()
            with self._changed:
                pause = self._halting.until_look() if self._halting.halted else self._sweep_interval
                self._changed.wait_for(self._has_reason_to_sweep, timeout=pause)
        self._give_back_waiting()
        self._tally.tell()

    def take_turn(self) -> None:
        """Leases what is due and there is room for; halted, tries whether it can go on. Raises `Unavailable`,
        `TryLater`."""
        was_halted = self._halting.halted
        if not was_halted:
            self._halting.watch()
        elif self._halting.pause() <= 0:
            self._halting.probe(self._settle)
        if self._halting.halted:
            return
        if was_halted:
            self._go_on()
        self._sweep()

    def _go_on(self) -> None:
        """After halting: there may be work in every lane."""
        with self._changed:
            self._backlog = set(Lane)
            self._wake_sweeper()

    def _has_reason_to_sweep(self) -> bool:
        """A lane has more to lease, and room for all that it may hold ahead."""
        return self._stopping or any(self._room(lane) >= self._schedule.most_ahead(lane) for lane in self._backlog)

    def _wake_sweeper(self) -> None:
        if self._has_reason_to_sweep():
            self._changed.notify()

    def _sweep(self) -> None:
        """Leases what there is room for, and notes which lanes may hold more than that."""
        with self._changed:
            wanted = {lane: room for lane in Lane if (room := self._room(lane))}
            self._backlog -= wanted.keys()  # what is absorbed from here on puts them back
        if not wanted:
            return
        leases = self._owner.lease_due(wanted)
        with self._changed:
            for lease in leases:
                self._queues[lease.lane].append(lease)
            found = Counter(lease.lane for lease in leases)
            self._backlog |= {lane for lane, limit in wanted.items() if found[lane] == limit}
            self._leased.notify(len(leases))

    def _give_back_waiting(self) -> None:
        with self._changed:
            waiting = [queue.popleft() for queue in self._queues.values() for _ in range(len(queue))]
        for lease in waiting:
            self._give_back(lease)

    def _give_back(self, lease: LeaseT) -> None:
        with suppress(SubkeeperError):  # lost, or Postgres is away: the lease runs out by itself
            self._owner.give_back(lease)
