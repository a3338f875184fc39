"""Stripe's pages, put together: what opens them, and what is done once one is complete."""

from __future__ import annotations

from base64 import b64decode
from uuid import UUID

from worker.accounts.completing import Completing
from worker.accounts.leases import ChangeLeases
from worker.accounts.opening import Opening
from worker.domain.account_changes import ChangeRefused
from worker.domain.checkouts import Terms
from worker.domain.deadline import Deadline
from worker.sealing import CannotOpen, Sealer
from worker.settings.model import Settings
from worker.stripe_api.catalogue import Catalogue
from worker.stripe_api.gateway import StripeGateway


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
        configuration=_no_portal,
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


def _no_portal(_: Deadline) -> str:
    raise ChangeRefused("portal_not_set_up", "the portal isn't set up: `subkeeper setup` does that")
