"""The rules of the webhook fire in the states that they are for."""

from __future__ import annotations

from tests.alerts.monitor import Monitor
from tests.conftest import NewNsqd
from tests.integration.web.conftest import NewEndpoint, body_of, signed
from tests.support.waiting import wait_until


def test_deliveries_that_are_refused_are_told_and_a_few_forgeries_are_not(new_endpoint: NewEndpoint) -> None:
    endpoint = new_endpoint()
    monitor = Monitor({"a": endpoint})
    endpoint.post(body_of())
    monitor.scrape(minutes=20)
    for _ in range(10):
        endpoint.post(body_of(), "t=1,v1=0")
    monitor.scrape(minutes=20)
    assert monitor.firing() == set()
    endpoint.post(body_of(livemode=True))
    monitor.scrape()
    assert [labels["outcome"] for labels in monitor.labels("SubkeeperWebhookRefused")] == ["wrong_mode"]
    for _ in range(30):  # minutes
        for _ in range(2):
            endpoint.post(body_of(), signed(b"another"))
        monitor.scrape()
    assert "SubkeeperWebhookUnsigned" in monitor.firing()


def test_an_nsqd_that_takes_nothing_pages_and_a_lost_delivery_is_told(
    new_endpoint: NewEndpoint, new_nsqd: NewNsqd
) -> None:
    nsqd = new_nsqd()
    endpoint = new_endpoint(nsqd=nsqd, SUBKEEPER_WEB__PUBLISH_TIMEOUT="0.5")
    monitor = Monitor({"a": endpoint})
    monitor.scrape(minutes=20)
    nsqd.stop()
    wait_until(lambda: not endpoint.is_ready())
    assert endpoint.post(body_of())[0] == 503
    monitor.scrape(minutes=6)
    assert monitor.firing() == {"SubkeeperPartDown", "SubkeeperWebhookUnavailable"}
    assert [labels["part"] for labels in monitor.labels("SubkeeperPartDown")] == ["webhook"]
