"""`subkeeper doctor` as people and scripts run it."""

from __future__ import annotations

from pathlib import Path

from tests.support.commands import Commands
from tests.support.stack import SECRET_KEY, Stack

CHECKS = {
    "settings", "secrets", "postgres", "postgres.schema", "postgres.grants", "postgres.writes", "postgres.durability",
    "postgres.timeouts", "postgres.connections", "nsqd", "nsqd.channels", "nsqd.limits", "stripe",
    "stripe.permissions", "stripe.prices", "health", "web", "deployment", "deployment.products", "clocks",
}  # fmt: skip


def test_a_deployment_that_is_set_up_is_well_and_nothing_is_written(stack: Stack, tmp_path: Path) -> None:
    before = len(stack.control.requests())
    said = Commands(stack, tmp_path)("doctor", "--json")
    assert said.code == 0, said.out
    assert {each["check"] for each in said.json} == CHECKS
    assert {each["verdict"] for each in said.json} == {"ok"}, said.out
    assert all(each.keys() == {"verdict", "check", "detail", "fix"} for each in said.json)
    assert {each["method"] for each in stack.control.requests()[before:]} == {"GET"}


def test_a_problem_is_exit_1_and_a_warning_is_not(stack: Stack, tmp_path: Path) -> None:
    doctor = Commands(stack, tmp_path)
    disabled = doctor("doctor", "--json", STRIPE_SECRET_KEY="")
    assert disabled.code == 0
    assert [each["detail"] for each in disabled.json if each["verdict"] == "warning"] == [
        "STRIPE_SECRET_KEY is not set: billing is disabled, no message is consumed"
    ]
    stack.control.put_key(stack.stripe.secret_key, revoked=True)
    assert doctor("doctor").code == 1


def test_settings_that_cannot_be_used_are_told_like_everything_else(stack: Stack, tmp_path: Path) -> None:
    said = Commands(stack, tmp_path)(
        "doctor", "--json", SUBKEEPER_TRIAL__DAYZ="3", SUBKEEPER_NSQ__CHANNEL="x#ephemeral"
    )
    assert said.code == 1
    problems = [each["detail"] for each in said.json if each["verdict"] == "problem"]
    assert [problem.split(":")[0] for problem in problems] == ["SUBKEEPER_TRIAL__DAYZ", "SUBKEEPER_NSQ__CHANNEL"]
    assert said.json[-1]["verdict"] == "skipped"


def test_no_secret_is_told(stack: Stack, tmp_path: Path) -> None:
    """Neither where all is well nor where nothing answers."""
    with_password = stack.database_url.replace("postgres@", "postgres:swordfish@")
    for stripe in (stack.stripe.url, "http://127.0.0.1:1"):
        said = Commands(stack, tmp_path)(
            "doctor", SUBKEEPER_DATABASE__URL=with_password, SUBKEEPER_STRIPE__API_BASE=stripe
        )
        for secret in ("swordfish", SECRET_KEY, stack.stripe.secret_key):
            assert secret not in said.out + said.err


def test_on_a_terminal_of_80_columns_no_word_is_broken(stack: Stack, tmp_path: Path) -> None:
    doctor = Commands(stack, tmp_path)
    found = {each["detail"] for each in doctor("doctor", "--json").json}
    screen = doctor.on_a_terminal("doctor", columns=80)
    assert screen.code == 0
    lines = screen.out.splitlines()
    assert [line for line in lines if len(line.replace("\x1b[32m", "").replace("\x1b[0m", "")) > 80] == []
    words = {word for line in lines for word in line.split()}
    assert {word for detail in found for word in detail.split()} - words == set()


def test_in_a_pipe_it_is_one_line_a_finding(stack: Stack, tmp_path: Path) -> None:
    header, *lines = Commands(stack, tmp_path)("doctor").out.splitlines()
    assert header.split("\t") == ["verdict", "check", "detail", "fix"]
    assert {line.split("\t")[1] for line in lines} == CHECKS
    assert {len(line.split("\t")) for line in lines} == {4}


def test_it_can_run_beside_a_worker(stack: Stack, tmp_path: Path) -> None:
    worker = stack.spawn_worker()
    said = Commands(stack, tmp_path)("doctor", "--json", SUBKEEPER_HEALTH__PORT=str(worker.port))
    assert said.code == 0, said.out
    [health] = [each for each in said.json if each["check"] == "health"]
    assert (health["verdict"], "held by a worker that is ready" in health["detail"]) == ("warning", True)
    stack.publish(b'{"id": "ada"}')
    stack.await_completed("ada")
