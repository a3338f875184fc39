"""What is generated from the API's own document is never answered with a 5xx, or outside of it."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from typing import Any

import hypothesis
import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from stripe import StripeClient

from sandbox.nsq import Nsqd
from sandbox.postgres import PostgresServer
from sandbox.stripe.server import StripeServer
from tests.integration.web.callers import ask, subscribe
from tests.integration.web.conftest import Endpoint, serving
from tests.support.waiting import wait_until
from worker.accounts.tokens import new_token

ADMIN = new_token()
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
EXAMPLES = 20


@pytest.fixture(scope="module")
def api(postgres_server: PostgresServer, migrated_template: str, nsqd: Nsqd) -> Iterator[Endpoint]:
    name = f"test_api_{secrets.token_hex(6)}"
    url = postgres_server.create_database(name, template=migrated_template)
    subscribe(url, "0")
    with StripeServer(seed="schemathesis") as stripe:
        made = StripeClient(stripe.secret_key, base_addresses={"api": stripe.url}).v1.customers.create()
        with psycopg.connect(url) as tx:
            tx.execute("UPDATE billing_customers SET stripe_customer_id = %s", [made.id])
        environ = {
            "SUBKEEPER_DATABASE__URL": url,
            "SUBKEEPER_API__ADMIN_TOKENS": ADMIN.digest,
            "SUBKEEPER_STRIPE__API_BASE": stripe.url,
            "SUBKEEPER_STRIPE__REQUESTS_PER_SECOND": "1000",
            "STRIPE_SECRET_KEY": stripe.secret_key,
        }
        with serving(nsqd, f"api.{secrets.token_hex(4)}", random.Random(1), environ) as endpoint:
            wait_until(endpoint.is_ready)
            yield endpoint
    postgres_server.drop_database(name)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: str(mode.value))
def test_whatever_is_asked_is_answered_as_the_document_says(api: Endpoint, mode: GenerationMode, seed: int) -> None:
    schema = schemathesis.openapi.from_dict(ask(api, "/openapi.json").body)
    tried = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not list(operation.iter_parameters()):
            continue

        @hypothesis.seed(seed)
        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def answered(case: Any) -> None:
            nonlocal tried
            tried += 1
            url, headers = f"http://127.0.0.1:{api.web_port}", {"Authorization": f"Bearer {ADMIN.token}"}
            case.validate_response(case.call(base_url=url, headers=headers))

        answered()
    assert tried > EXAMPLES
