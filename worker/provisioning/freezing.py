"""What is frozen of a profile at first sight: everything that will be sent to Stripe for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from worker.domain.lanes import Lane
from worker.domain.profile import ProfileCreated
from worker.domain.provisioning import KEY_TRUSTED_BY_CREATION, customer_request
from worker.domain.trial import TrialPolicy, trial_end
from worker.sealing import Sealer
from worker.store.provisioning.insert import NewProvisioning

_compact = json.JSONEncoder(separators=(",", ":")).encode
"""`json.dumps` with separators builds an encoder each time, which takes longer than encoding a profile."""


@dataclass(frozen=True, slots=True)
class Freezing:
    """`test_clock`: where customers are to live."""

    sealer: Sealer
    namespace: str
    trial: TrialPolicy
    test_clock: str | None = None

    def row(self, profile: ProfileCreated, plan: str, lane: Lane, now: datetime) -> NewProvisioning:
        """The ledger's row of a profile that is seen for the first time at `now` (UTC)."""
        request = customer_request(self.namespace, profile.user_id, profile.email, profile.name, self.test_clock)
        since = profile.known_since(now)
        return NewProvisioning(
            user_id=profile.user_id,
            customer_request=self.sealer.seal(_compact(request).encode(), profile.user_id.encode()),
            plan=plan,
            trial_end=trial_end(profile, now, self.trial),
            lane=lane,
            # A profile that old may have been provisioned by a database that is no more, under a key that is forgotten.
            look_first=since is None or now - since > KEY_TRUSTED_BY_CREATION,
            key_possible_since=since,
        )
