"""SQL of how a change ends: with its result, which whoever waits for it in this process is told as it is committed."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection, text

from worker.domain.account_changes import AccountChange
from worker.domain.subscription import as_json
from worker.store import answers, told_changes
from worker.store.account_changes import FENCE
from worker.store.answers import Written
from worker.store.engine.errors import LeaseLost
from worker.store.told_changes import ToldChange

_ENDED = f"""
    UPDATE account_changes
    SET state = :state, done = :done, wanted = CAST(:wanted AS jsonb), result = CAST(:result AS jsonb),
        sealed_email = NULL, request = NULL, ended_at = now(), lease_until = NULL,
        last_error = NULL
    {FENCE}
    RETURNING {told_changes.COLUMNS}
"""  # noqa: S608 - constants
_END = text(_ENDED)
_END_BY_ANSWER = text(f"WITH {answers.WRITES}, ended AS ({_ENDED}) SELECT * FROM ended")  # noqa: S608 - constants


def end(
    tx: Connection, change: AccountChange, state: str, result: Mapping[str, object], written: Written | None = None
) -> ToldChange:
    """It is over, and what was sealed is erased; by an answer that is `written` with it, all in one statement. Returns
    it as it is told. Raises `LeaseLost`."""
    parameters: dict[str, object] = {
        "id": change.id,
        "token": change.token,
        "state": state,
        "done": change.done,
        "wanted": json.dumps(change.wanted),
        "result": as_json(result),
    }
    if written is None:
        found = tx.execute(_END, parameters)
    else:
        found = tx.execute(_END_BY_ANSWER, parameters | answers.parameters(written))
    told = told_changes.read(found.one_or_none())
    if told is None:
        raise LeaseLost(str(change.id))
    return told
