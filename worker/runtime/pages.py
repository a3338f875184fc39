"""Stripe's pages, put together: what opens them, and what is done once one is complete."""

from __future__ import annotations

import time
from base64 import b64decode
from uuid import UUID

from worker.accounts.completing import Completing
from worker.accounts.leases import ChangeLeases
from worker.accounts.opening import Opening
from worker.domain.account_changes import ChangeRefused
from worker.domain.checkouts import Terms
from worker.domain.deadline import Deadline
from worker.errors import Misconfigured, SubkeeperError
from worker.sealing import CannotOpen, Sealer
from worker.settings.model import Settings
from worker.stripe_api.catalogue import CALL_SECONDS, Catalogue
from worker.stripe_api.errors import SharedRefusal, Unauthorized
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.own_portal import OwnPortal
from worker.telemetry import Health

PORTAL = "portal"
"""A part of the process's health."""

LOOK_SECONDS, RECHECK_SECONDS = 3600.0, 60.0
"""Between two looks at the portal's configuration: where it is as it should be, and where a person is at it."""


def opening(
    settings: Settings, held: ChangeLeases, gateway: StripeGateway, catalogue: Catalogue, sealer: Sealer
) -> Opening:
    currency = settings.plans[settings.pending_plan].currency  # which is that of all plans
    return Opening(
        held,
        gateway.checkouts,
        sealer,
        Terms(settings.namespace, settings.stripe.billing_mode, currency),
        subscriptions_of=gateway.subscriptions_of,
        price_id=catalogue.price_id,
        configuration=_Portal(own_portal(settings, gateway)).configuration,
    )


def completing(settings: Settings, held: ChangeLeases, gateway: StripeGateway) -> Completing:
    return Completing(
        held,
        gateway.checkouts,
        gateway.accounts,
        namespace=settings.namespace,
        subscriptions_of=gateway.subscriptions_of,
    )


def opened(sealer: Sealer, change_id: UUID, sealed: str) -> str | None:
    """The address of a page; None: it was sealed under a key that is gone."""
    try:
        return sealer.open(b64decode(sealed), change_id.bytes).decode()
    except CannotOpen:
        return None


def own_portal(settings: Settings, gateway: StripeGateway) -> OwnPortal:
    return OwnPortal(gateway, settings.plans, settings.namespace, settings.api.proration_behavior)


class PortalWatch:
    """Whether users can be sent to the portal, as the part `portal` of the health: at the start, then each hour."""

    def __init__(self, settings: Settings, gateway: StripeGateway, health: Health) -> None:
        self._own = own_portal(settings, gateway) if settings.api.opens_pages else None
        self._health = health
        self._look_at = 0.0

    def look(self) -> None:
        """Called every few seconds."""
        if self._own is None or time.monotonic() < self._look_at:
            return
        try:
            self._own.require(Deadline.after(CALL_SECONDS))
        except Misconfigured as unusable:
            self._health.set(PORTAL, ok=False, detail=str(unusable), kind=type(unusable).__name__)
        except SubkeeperError:  # Stripe is away: it is asked again
            return
        else:
            self._health.set(PORTAL, ok=True)
        self._look_at = time.monotonic() + (LOOK_SECONDS if self._health.parts()[PORTAL].ok else RECHECK_SECONDS)


class _Portal:
    def __init__(self, own: OwnPortal) -> None:
        self._own = own

    def configuration(self, deadline: Deadline) -> str:
        try:
            return self._own.require(deadline)
        except (Unauthorized, SharedRefusal):
            raise
        except Misconfigured as unusable:  # which keeps nobody else's change waiting
            raise ChangeRefused("portal_not_set_up", "the portal isn't set up: `subkeeper setup` does it") from unusable
