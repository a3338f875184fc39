"""How many subscriptions there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated

from pydantic import BaseModel, Field

from worker.domain.callers import Access
from worker.domain.stats import Stats
from worker.web.api.operations import Operation, Parameters, Reply, nobody


class StatsView(BaseModel):
    """How many subscriptions there are, as our rows have them now."""

    subscriptions: Annotated[int, Field(description="That haven't ended")]
    canceling: Annotated[int, Field(description="Of those: that end with their period")]
    failing: Annotated[int, Field(description="Of those: past_due or unpaid")]
    trials_ending: Annotated[int, Field(description="Of those: whose trial ends today or in the seven days after, UTC")]
    by_plan: Annotated[Mapping[str, int], Field(description="Of those")]
    by_status: Annotated[Mapping[str, int], Field(description="Of all, ended ones too")]


def counting(read: Callable[[], Stats]) -> Operation:
    """The operation that tells what `read` does. That raises `SubkeeperError`."""

    def answer(_users: tuple[str, ...], _given: Parameters) -> Reply:
        return Reply(HTTPStatus.OK, StatsView.model_validate(asdict(read())).model_dump_json().encode())

    return Operation(
        "GET", "/stats", "read_stats", "How many subscriptions there are", Access.READ, (), nobody, answer, StatsView
    )
