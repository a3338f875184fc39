"""Prices are asked for while somebody uses them, as seldom as a lookup key that moves allows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.stripe.control import Control
from sandbox.stripe.server import StripeServer
from tests.integration.stripe_api.conftest import NewGateway
from worker.domain.deadline import Deadline
from worker.settings.sections import PlanSettings
from worker.stripe_api.catalogue import Catalogue, UnusablePlan
from worker.stripe_api.gateway import StripeGateway

PLANS = {name: PlanSettings(name=name.title(), lookup_key=name) for name in ("pending", "plus", "pro")}


class Clock:
    at = 0.0

    def __call__(self) -> float:
        return self.at


class Site:
    def __init__(self, server: StripeServer, gateway: StripeGateway) -> None:
        self.control = Control(server.url)
        self.gateway = gateway
        self.clock = Clock()
        self.catalogue = Catalogue(gateway, PLANS, "test", self.clock)
        for plan in PLANS:
            self.catalogue.ensure(plan)
        self._before = self._count()

    def reads(self) -> int:
        """How often prices were asked for."""
        return self._count() - self._before

    def _count(self) -> int:
        asked = [each for each in self.control.requests() if (each["method"], each["path"]) == ("GET", "/v1/prices")]
        return len(asked)


@pytest.fixture
def site(new_gateway: NewGateway) -> Iterator[Site]:
    with StripeServer(seed="catalogue") as server:
        yield Site(server, new_gateway(server.url, secret_key=lambda: server.secret_key))


def test_the_prices_of_all_plans_are_one_request(site: Site) -> None:
    assert len({site.catalogue.price_id(plan) for plan in PLANS}) == len(PLANS)
    assert site.reads() == 1


def test_a_price_in_use_is_asked_for_in_the_background_and_one_that_is_not_never(site: Site) -> None:
    for minute in range(3):
        site.clock.at = minute * 45.0
        site.catalogue.look_again()
        site.catalogue.price_id("pending")
    assert site.reads() == 2
    for minute in range(3, 9):
        site.clock.at = minute * 45.0
        site.catalogue.look_again()
    assert site.reads() == 3, "once more after its last use"


def test_who_comes_after_a_quiet_time_gets_the_price_that_has_the_key_now(site: Site) -> None:
    before = site.catalogue.price_id("pending")
    (price,) = (each for each in site.gateway.prices(["pending"], deadline=Deadline.after(5)).values())
    moved = site.gateway.products.create_price(
        {
            "product": price.product_id,
            "currency": "usd",
            "unit_amount": 0,
            "recurring": {"interval": "month"},
            "lookup_key": "pending",
            "transfer_lookup_key": True,
        },
        key="moved",
        deadline=Deadline.after(5),
    )
    site.clock.at = 59.0
    assert site.catalogue.price_id("pending") == before
    site.clock.at = 60.0
    assert site.catalogue.price_id("pending") == moved.id


def test_what_was_known_stays_while_stripe_cannot_tell(site: Site) -> None:
    before = site.catalogue.price_id("pending")
    site.control.fault("status", status=503)
    site.clock.at = 3600.0
    assert site.catalogue.price_id("pending") == before


def test_a_price_that_cannot_be_used_is_asked_for_every_five_seconds_and_after_ten_minutes_once_each(
    site: Site,
) -> None:
    catalogue = Catalogue(site.gateway, {"none": PlanSettings(name="None", lookup_key="none")}, "test", site.clock)
    for second in range(780):
        site.clock.at = float(second)
        with pytest.raises(UnusablePlan):
            catalogue.price_id("none")
        with pytest.raises(UnusablePlan):
            catalogue.refresh("none") if second > 600 else catalogue.price_id("none")
    assert site.reads() == 600 / 5 + 3, "as somebody waits for it all the time"
    site.clock.at += 60.0
    catalogue.look_again()
    assert site.reads() == 600 / 5 + 4, "whether anybody waits or not, so that its end is noticed"
