"""`python -m bench.bare_chain CONFIG`: the least that a profile costs, as one plain script.

Read, insert, commit, FIN; then on one of 16 threads create the customer, commit, create the subscription, commit. With
nsq-py's Reader, psycopg and the `stripe` client as they come; no lease, no sealing, no limiter, no retry: whatever goes
wrong ends it. It writes the tables that a worker writes, so that both are measured alike.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import nsq.reader
import psycopg
import stripe
from nsq.response import Message

from worker.broker.protocol import quiet_nsq
from worker.settings.model import Settings

THREADS = 16
READY = "ready"
"""What it prints once it reads."""


class Chain:
    def __init__(self, settings: Settings) -> None:
        self._plan = settings.plans[settings.pending_plan].lookup_key
        self._trial = timedelta(days=settings.trial.days)
        self._database_url = settings.database.url.get_secret_value()
        key = settings.stripe_secret_key()
        assert key is not None, "the site has one"
        self._stripe = stripe.StripeClient(key, base_addresses={"api": settings.stripe.api_base.rstrip("/")})
        prices = self._stripe.v1.prices.list(params={"lookup_keys": [self._plan]})
        self._price = prices.data[0].id
        self._mine = threading.local()
        self.pool = ThreadPoolExecutor(THREADS)

    @property
    def _connection(self) -> psycopg.Connection[Any]:
        if not hasattr(self._mine, "connection"):
            self._mine.connection = psycopg.connect(self._database_url)
        connection: psycopg.Connection[Any] = self._mine.connection
        return connection

    def take_in(self, body: bytes) -> Future[None]:
        """Inserts the profile's row; the rest of its way begins."""
        profile = json.loads(body)
        trial_end = datetime.fromisoformat(profile["created_at"]) + self._trial
        profile["trial_end"] = trial_end.replace(microsecond=0)
        connection = self._connection
        connection.execute(
            "INSERT INTO provisionings (user_id, customer_request, plan, trial_end, lane, look_first)"
            " VALUES (%s, %s, %s, %s, 0, false) ON CONFLICT DO NOTHING",
            (profile["id"], body, self._plan, profile["trial_end"]),
        )
        connection.commit()
        return self.pool.submit(self._settle, profile)

    def _settle(self, profile: Mapping[str, Any]) -> None:
        user, connection = profile["id"], self._connection
        customer = self._stripe.v1.customers.create(
            params={"email": profile["email"], "name": profile["name"], "metadata": {"user_id": user}},
            options={"idempotency_key": f"bare-customer-{user}"},
        )
        connection.execute(
            "INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES (%s, %s)", (user, customer.id)
        )
        connection.commit()
        subscription = self._stripe.v1.subscriptions.create(
            params={
                "customer": customer.id,
                "items": [{"price": self._price}],
                "trial_end": int(profile["trial_end"].timestamp()),
                "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}},
                "metadata": {"user_id": user},
            },
            options={"idempotency_key": f"bare-subscription-{user}"},
        )
        connection.execute(
            "INSERT INTO billing_subscriptions (billing_customer_id, stripe_subscription_id, plan,"
            " stripe_subscription_status, canceling, trial_end, seen_from, seen_to)"
            " SELECT id, %s, %s, %s, false, %s, now(), now() FROM billing_customers WHERE stripe_customer_id = %s",
            (subscription.id, self._plan, subscription.status, profile["trial_end"], customer.id),
        )
        connection.execute(
            "UPDATE provisionings SET state = 'completed', stripe_customer_id = %s, stripe_subscription_id = %s,"
            " customer_request = NULL, completed_at = clock_timestamp() WHERE user_id = %s",
            (customer.id, subscription.id, user),
        )
        connection.commit()


def run(settings: Settings) -> None:
    """Until it is ended, or anything goes wrong."""
    chain = Chain(settings)
    reader = nsq.reader.Reader(
        settings.nsq.profile_topic.encode(),
        settings.nsq.channel.encode(),
        nsqd_tcp_addresses=list(settings.nsq.nsqd_tcp_addresses),
        max_in_flight=settings.nsq.max_in_flight,
        output_buffer_timeout=25,
    )
    quiet_nsq()
    under_way: list[Future[None]] = []
    reader.read()
    print(READY, flush=True)
    while True:
        for message in reader.read():
            if isinstance(message, Message):
                under_way.append(chain.take_in(message.body))
                message.fin()
        for connection in reader.connections():
            connection.flush()
        for done in [each for each in under_way if each.done()]:
            under_way.remove(done)
            done.result()


if __name__ == "__main__":
    run(Settings.load(Path(sys.argv[1]), {}))
