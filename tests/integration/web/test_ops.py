"""The ops page over real HTTP, with a real Postgres behind it."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote, urlencode

import psycopg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from sandbox.postgres import PostgresServer
from tests.integration.web.callers import subscribe
from tests.integration.web.conftest import Endpoint, NewEndpoint
from tests.support import canaries
from tests.support.documents import Element, read
from worker.accounts.tokens import new_token
from worker.domain.callers import Access
from worker.runtime.web import Web
from worker.settings.sections import DatabaseSettings
from worker.store.engine.database import Database
from worker.store.engine.migrations import upgrade

ADMIN = new_token()
HOSTILE = "</td><script>alert('1')</script>\"&' \u202eevil"
ELSEWHERE = "sub.example.org"


class Page(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def tree(self) -> Element:
        return read(self.text)


def ask(endpoint: Endpoint, path: str = "/ops", method: str = "GET", body: str | None = None, **headers: str) -> Page:
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.web_port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        named["Content-Type"] = "application/x-www-form-urlencoded"
    try:
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return Page(answer.status, answer.headers, answer.read().decode())
    finally:
        connection.close()


def sign_in(endpoint: Endpoint, token: str, **headers: str) -> Page:
    return ask(endpoint, "/ops/sign-in", "POST", urlencode({"token": token}), Host=ELSEWHERE, **headers)


def cookie_of(page: Page) -> str:
    return str(page.headers["Set-Cookie"]).partition(";")[0]


class NewOps:
    def __init__(self, new_endpoint: NewEndpoint, database_url: str) -> None:
        self._new_endpoint = new_endpoint
        self.database_url = database_url

    def __call__(self, **environ: str) -> Endpoint:
        values = {"SUBKEEPER_DATABASE__URL": self.database_url, "SUBKEEPER_API__ADMIN_TOKENS": ADMIN.digest, **environ}
        return self._new_endpoint(nsqd=None, is_ready=False, **values)


@pytest.fixture
def new_ops(new_endpoint: NewEndpoint, database_url: str) -> NewOps:
    return NewOps(new_endpoint, database_url)


def fill(database_url: str) -> None:
    """Somebody in each state, and what is personal where it may be."""
    subscribe(database_url, "u-1", "trialing")
    subscribe(database_url, "u-2", "past_due", plan="pro")
    subscribe(database_url, "u-3", "canceled", plan="pro")
    word = canaries.WORD
    with psycopg.connect(database_url) as tx:
        for user_id, state, lane in (("w-1", "pending", 0), ("w-2", "pending", 2), (HOSTILE, "quarantined", 0)):
            tx.execute(
                "INSERT INTO provisionings (user_id, state, plan, trial_end, lane, first_seen_at, customer_request,"
                " last_error, quarantined_at) VALUES (%s, %s, 'pending', now(), %s, now() - interval '10 minutes', %s,"
                " 'stripe_refused: 400', CASE WHEN %s = 'quarantined' THEN now() END)",
                [user_id, state, lane, f"{word}.sealed".encode(), state],
            )
        tx.execute(
            "INSERT INTO quarantined_messages (topic, nsq_message_id, reason, detail, sealed_body, body_digest,"
            " published_at, expires_at)"
            " VALUES ('t', 'm', 'not_json', 'at 1', %s, 'd', now(), now() + interval '1 day')",
            [f"{word}.body".encode()],
        )
        tx.execute("SELECT maintain_event_partitions()")
        for number, outcome in enumerate(["applied", "applied", "stale", "wrong_mode"]):
            tx.execute(
                "INSERT INTO processed_stripe_events (stripe_event_id, created, type, object_id, source, outcome)"
                " VALUES (%s, now(), 'customer.subscription.updated', 'sub_x', 'webhook', %s)",
                [f"evt_{number}", outcome],
            )
        tx.execute("INSERT INTO stripe_event_cursor (created) VALUES (now() - interval '3 hours')")
        tx.execute(
            "INSERT INTO processes (id, expires_at, rate, demand, total, longest_request) VALUES"
            " ('aaaaaaaa-0000-4000-8000-000000000001', now() + interval '1 minute', 15, 3, 20, interval '10 s')"
        )
        tx.execute(
            "INSERT INTO subscription_changes (user_id, stripe_subscription_id, version, after, cause, created_at)"
            " VALUES ('u-1', 'sub_1', 1, '{}', 'event', now() - interval '10 minutes')"
        )
        tx.execute("INSERT INTO subscription_refreshes (stripe_subscription_id) VALUES ('sub_2')")


def test_it_shows_how_the_deployment_stands_and_what_needs_a_person(new_ops: NewOps) -> None:
    fill(new_ops.database_url)
    page = ask(new_ops())
    assert page.status == 200
    profiles, subscriptions = (page.tree.by_id(each).rows() for each in ("profiles", "subscriptions"))
    assert profiles["live"][0] == "1"
    assert profiles["live"][1].startswith("10m")
    assert profiles["retry"][:2] == ["0", ""]
    assert profiles["backfill"][0] == "1"
    assert (profiles["settled"], profiles["profiles in quarantine"], profiles["messages in quarantine"]) == (
        ["3"], ["1"], ["1"],
    )  # fmt: skip
    assert (subscriptions["not ended"], subscriptions["failing (past_due, unpaid)"]) == (["2"], ["1"])
    assert [subscriptions[each][0] for each in ("trialing", "past_due", "canceled", "pending", "pro")] == list("11111")
    events, rate, work = (page.tree.by_id(each).rows() for each in ("events", "rate", "work"))
    assert [events[each][0] for each in ("applied", "stale", "wrong_mode")] == ["2", "1", "1"]
    assert events["behind Stripe by at most"][0].startswith("3h")
    assert events["until missed ones can't be had"] == ["29.9 days"]
    assert rate["requests a second, granted"] == ["15 of 20"]
    assert rate["aaaaaaaa"][:2] == ["15", "3"]
    assert rate["reads this month"][0] == "0 of 10,000"
    assert [work[each][0] for each in ("changes to be told", "subscriptions to be fetched")] == ["1", "1"]
    needs = [each.text for each in page.tree.by_id("person").all("li")]
    for said, command in (
        ("somebody has waited for a subscription for 10m", "subkeeper provisioning list --older-than 5m"),
        ("1 profile in quarantine: stripe_refused", "subkeeper quarantine list --kind profile --reason stripe_refused"),
        ("1 message in quarantine: not_json", "subkeeper quarantine list --kind message --reason not_json"),
        ("1 profile in quarantine", "subkeeper quarantine retry --kind profile --reason stripe_refused"),
        ("for 3h", "subkeeper run poller"),
        ("1 event wrong_mode", "subkeeper events list"),
        ("other services have not heard of a change for 10m", "subkeeper run relay"),
    ):
        assert [each for each in needs if said in each and command in each], (said, needs)


def test_whatever_a_user_is_called_is_text_and_nothing_personal_is_told(new_ops: NewOps) -> None:
    fill(new_ops.database_url)
    endpoint = new_ops()
    overview = ask(endpoint)
    explained = ask(endpoint, f"/ops/explain?user={quote(HOSTILE)}")
    unknown = ask(endpoint, f"/ops/explain?user={quote('nobody' + HOSTILE)}")
    assert (overview.status, explained.status, unknown.status) == (200, 200, 404)
    for page in (overview, explained, unknown):
        scripts = [each.text for each in page.tree.all("script")]
        assert len(scripts) == (1 if page is overview else 0)
        assert "alert" not in "".join(scripts)
        assert "</td><script>alert('1')</script>\"&' \\u202eevil" in page.tree.text
        assert "\u202e" not in page.text
        assert canaries.found(page.text) == []
    assert explained.tree.by_id("user").attributes["value"] == HOSTILE.replace("\u202e", "\\u202e")


def test_it_explains_a_user_as_the_command_does(new_ops: NewOps) -> None:
    fill(new_ops.database_url)
    page = ask(new_ops(), "/ops/explain?user=w-1&since=30d")
    rows = [[cell.text for cell in row.all("td")] for row in page.tree.all("tr")][1:]
    assert [row[1] for row in rows] == ["message absorbed", "due"]
    assert "plan: pending" in rows[0][3]
    assert "state: pending" in rows[1][3]


def test_a_question_that_makes_no_sense_is_answered_by_a_page(new_ops: NewOps) -> None:
    endpoint = new_ops()
    for query in ("", "user=", "user=%00", f"user={'a' * 300}", "user=u-1&since=99d", "user=%ff%fe", "a&" * 20):
        page = ask(endpoint, f"/ops/explain?{query}")
        assert page.status in {400, 404}, query
        assert "Explain a user" in page.tree.text


# Who is let in


LET_IN: tuple[dict[str, str], ...] = (
    {}, {"Host": "localhost:8080"}, {"Host": "[::1]"}, {"Host": "LOCALHOST"}, {"Host": "127.0.0.2:1"},
    {"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"},
    {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"},
)  # fmt: skip
KEPT_OUT: tuple[dict[str, str], ...] = (
    {"Host": "rebound.example.org:8080"},
    {"Host": "127.0.0.1.example.org"},
    {"Host": "localhost.example.org"},
    {"Host": ""},
    {"Host": "0.0.0.0"},
    {"X_Forwarded_For": "203.0.113.7"},
    {"X_Real_IP": "203.0.113.7"},
    {"Forwarded": "for=203.0.113.7"},
    {"Via": "1.1 proxy"},
    {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "script"},
    {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"},
    {"Cookie": "subkeeper_ops=; subkeeper_ops=guessed", "Host": ELSEWHERE},
    {"Authorization": f"Bearer {ADMIN.token}", "Host": ELSEWHERE},
)


def test_without_a_token_only_this_machine_by_a_loopback_name_is_let_in(new_ops: NewOps) -> None:
    endpoint = new_ops()
    for path, status in (("/ops", 200), ("/ops/explain?user=u-1", 404)):
        assert [ask(endpoint, path, **each).status for each in LET_IN] == [status] * len(LET_IN)
        for headers in KEPT_OUT:
            page = ask(endpoint, path, **headers)
            assert page.status == 403, headers
            assert "Admin token" in page.tree.text


def test_what_a_proxy_asks_as_nginx_does_needs_a_token(new_ops: NewOps) -> None:
    answer = new_ops().raw(b"GET /ops HTTP/1.0\r\nHost: 127.0.0.1:8080\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")


LIVE = {"SUBKEEPER_STRIPE__LIVEMODE": "true"}


@pytest.mark.parametrize(
    "environ",
    [
        {"SUBKEEPER_WEB__OPS": "token"},
        {"SUBKEEPER_WEB__HOST": "0.0.0.0"},
        {"SUBKEEPER_WEB__HOST": "0.0.0.0", "SUBKEEPER_WEB__OPS": "loopback"},
        LIVE,
    ],
)
def test_elsewhere_and_in_live_mode_everybody_needs_a_token(new_ops: NewOps, environ: dict[str, str]) -> None:
    endpoint = new_ops(**environ)
    assert ask(endpoint).status == 403
    assert ask(endpoint, Cookie=cookie_of(sign_in(endpoint, ADMIN.token))).status == 200


def test_in_live_mode_the_machine_itself_is_let_in_where_the_settings_say_so(new_ops: NewOps) -> None:
    """A proxy that adds no header and asks by our own address can't be told from a person here."""
    endpoint = new_ops(**LIVE, SUBKEEPER_WEB__OPS="loopback")
    assert ask(endpoint).status == 200
    assert ask(endpoint, Host=ELSEWHERE).status == 403


def test_the_page_can_be_switched_off(new_ops: NewOps) -> None:
    endpoint = new_ops(SUBKEEPER_WEB__OPS="off")
    assert [ask(endpoint, path).status for path in ("/ops", "/ops/explain?user=u-1")] == [404, 404]
    assert sign_in(endpoint, ADMIN.token).status == 404


def test_a_token_opens_a_session_that_ends_and_is_told_nowhere(new_ops: NewOps) -> None:
    with capture_logs() as lines:
        endpoint = new_ops()
        refused = sign_in(endpoint, new_token().token)
        page = sign_in(endpoint, f" {ADMIN.token}\n")
        secure = sign_in(endpoint, ADMIN.token, X_Forwarded_Proto="https")
        cookie = cookie_of(page)
        inside = ask(endpoint, Host=ELSEWHERE, Cookie=cookie)
        ask(endpoint, "/ops/sign-out", "POST", "", Host=ELSEWHERE, Cookie=cookie)
        after = ask(endpoint, Host=ELSEWHERE, Cookie=cookie)
    assert (refused.status, refused.headers["Set-Cookie"]) == (403, None)
    assert (page.status, page.headers["Location"]) == (303, "/ops")
    kept = str(page.headers["Set-Cookie"])
    assert re.fullmatch(
        r"subkeeper_ops=[\w-]{43}; Path=/ops; Max-Age=43200; HttpOnly; SameSite=Strict", kept, re.ASCII
    ), kept
    assert str(secure.headers["Set-Cookie"]).endswith("; Secure")
    assert (inside.status, after.status) == (200, 403)
    assert "Sign out" in inside.tree.text
    told = repr(lines) + repr([each.text for each in (refused, page, inside, after)])
    assert ADMIN.token not in told
    assert cookie.partition("=")[2] not in told
    signed_in = [each for each in lines if each["event"] == "ops.signed_in"]
    assert [each["caller"] for each in signed_in] == [f"admin {ADMIN.digest[7:15]}"] * 2
    assert len([each for each in lines if each["event"] == "ops.refused"]) == 1


def test_every_route_of_it_has_an_access_rule_and_keeps_to_it(new_ops: NewOps) -> None:
    endpoint = new_ops()
    web = endpoint.process.fronts[0]
    assert isinstance(web, Web)
    assert web.ops is not None
    rules = {(each.method, each.path): each.access for each in web.ops.app.pages}
    assert {(method, path) for path, methods in web.ops.app.routes.items() for method in methods} == set(rules)
    served = web.http._app._routes
    assert served.keys() - {"/stripe/webhook"} == {path for _, path in rules}, "whose door is that?"
    for (method, path), access in rules.items():
        page = ask(endpoint, path, method, "" if method == "POST" else None, Host=ELSEWHERE)
        is_told = "As of" in page.text or "What happened" in page.text
        assert not is_told
        assert page.status == (303 if path.endswith("/sign-out") else 403), path
        assert access is (Access.PUBLIC if method == "POST" else Access.ADMIN)


def test_without_any_admin_token_it_says_how_to_have_one(new_ops: NewOps) -> None:
    endpoint = new_ops(SUBKEEPER_API__ADMIN_TOKENS="")
    page = ask(endpoint, Host=ELSEWHERE)
    assert page.status == 403
    assert "subkeeper token new" in page.tree.text
    assert not list(page.tree.all("form"))
    assert sign_in(endpoint, "").status == 403
    assert ask(endpoint).status == 200


# What it is made of


def test_nothing_but_its_own_style_and_script_applies(new_ops: NewOps) -> None:
    page = ask(new_ops())
    policy = str(page.headers["Content-Security-Policy"])
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert str(page.headers["Cache-Control"]) == "no-store"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    for each in page.tree.all():
        inline = [name for name in each.attributes if name.startswith("on") or name in {"style", "src"}]
        assert not inline, each.name


def migrated(server: PostgresServer) -> str:
    url = server.create_database("ops")
    database = Database(DatabaseSettings(url=SecretStr(url)))
    with database.connection() as connection:
        upgrade(connection)
    database.close()
    return url


def test_while_postgres_is_away_it_says_so_and_shows_what_it_knew(
    new_endpoint: NewEndpoint, new_postgres: Callable[[], PostgresServer]
) -> None:
    server = new_postgres()
    url = migrated(server)
    subscribe(url, "u-1")
    endpoint = new_endpoint(is_ready=False, SUBKEEPER_DATABASE__URL=url)
    assert ask(endpoint).tree.by_id("subscriptions").rows()["not ended"] == ["1"]
    server.kill()
    web = endpoint.process.fronts[0]
    assert isinstance(web, Web)
    page = ask(endpoint)
    while "postgres is unavailable" not in page.text:  # the picture of a moment ago is shown again
        page = ask(endpoint)
    assert page.status == 200
    told = page.tree.by_id("subscriptions")
    assert "As of" in told.text
    assert told.rows()["not ended"] == ["1"]
    assert "Not all of it is known" in page.tree.by_id("person").text
    explained = ask(endpoint, "/ops/explain?user=u%20-1")
    assert explained.status == 200
    assert "postgres is unavailable" in explained.tree.text
    assert "subkeeper explain --since 7d -- 'u -1'" in explained.tree.text


def test_a_table_that_somebody_holds_hides_nothing_else(new_ops: NewOps) -> None:
    fill(new_ops.database_url)
    endpoint = new_ops()
    with psycopg.connect(new_ops.database_url) as tx:
        tx.execute("LOCK TABLE provisionings IN ACCESS EXCLUSIVE MODE")
        page = ask(endpoint)
    assert page.status == 200
    assert "Not known" in page.tree.by_id("profiles").text
    assert "Not all of it is known" in page.tree.by_id("person").text
    assert page.tree.by_id("subscriptions").rows()["not ended"] == ["2"]
    assert page.tree.by_id("events").rows()["applied"][0] == "2"


def test_while_postgres_says_nothing_it_answers_within_seconds(
    new_endpoint: NewEndpoint, new_postgres: Callable[[], PostgresServer]
) -> None:
    server = new_postgres()
    endpoint = new_endpoint(is_ready=False, SUBKEEPER_DATABASE__URL=migrated(server))
    assert ask(endpoint).tree.by_id("subscriptions").rows()["not ended"] == ["0"]
    server.pause()
    try:
        page = ask(endpoint)
        while (
            "Postgres has not answered" not in page.tree.by_id("person").text
        ):  # the picture of a moment ago is shown again
            page = ask(endpoint)
    finally:
        server.resume()
    assert page.status == 200
    assert page.tree.by_id("subscriptions").rows()["not ended"] == ["0"]
