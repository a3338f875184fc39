"""The OpenAPI 3.1 document of the API (https://spec.openapis.org/oas/v3.1.1), made from the table of operations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from worker.domain.callers import SCOPES, Access
from worker.web.api.operations import Operation, Parameters, Reply, nobody
from worker.web.problems import PROBLEM

PATH = "/openapi.json"
_REF = "#/components/schemas/{model}"


class ErrorView(BaseModel):
    """What is wrong with one part of a request."""

    pointer: str
    code: str
    detail: str


class ProblemView(BaseModel):
    """Problem details (RFC 9457). `code` is a constant; `errors` point into
    {"path": {…}, "query": {…}, "header": {…}, "body": {…}} (RFC 6901). `applied`: what was asked for and holds."""

    type: str
    title: str
    status: int
    detail: str = ""
    code: str = ""
    errors: list[ErrorView] = []
    applied: list[str] = []


def describing(operations: Sequence[Operation], version: str) -> Operation:
    """The operation that tells of these and of itself. The document is made when it is first asked for: that takes more
    time than the rest of the web process's start, and most processes are never asked."""

    @cache
    def told() -> bytes:
        return json.dumps(document([*operations, own], version)).encode()

    def answer(_users: tuple[str, ...], _given: Parameters) -> Reply:
        return Reply(HTTPStatus.OK, told())

    own = Operation("GET", PATH, "read_openapi", "This document", Access.PUBLIC, (), nobody, answer)
    return own


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    told = "\n".join(f"- `{scope.id}`: {scope.description}" for scope in SCOPES)
    scheme = {
        "type": "http",
        "scheme": "bearer",
        "description": f"A JWT (`sub`: the user's id; `scope`: scopes, if any), or an admin token.\n\n{told}",
        "x-scopes": [scope._asdict() for scope in SCOPES],
    }
    return {
        "openapi": "3.1.1",
        "info": {"title": "Subkeeper", "version": version, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {"securitySchemes": {"bearer": scheme}, "schemas": dict(_schemas(operations))},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    scopes = [[scope.id] for scope in operation.access.scopes]
    own: list[list[str]] = [[]] if operation.access.allows_own else []
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"For {operation.access.value}.",
        "security": [{"bearer": needed} for needed in [*own, *scopes]],
        "parameters": [
            {
                "name": each.name,
                "in": each.place,
                "required": each.place == "path" or each.is_required,
                "description": each.description,
                "schema": each.schema,
            }
            for each in operation.parameters
        ],
        **_body(operation),
        "responses": {str(status.value): told for status, told in _responses(operation)},
    }


def _body(operation: Operation) -> dict[str, Any]:
    if operation.body is None:
        return {}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": operation.body}}}}


def _responses(operation: Operation) -> Iterator[tuple[HTTPStatus, dict[str, Any]]]:
    schema = {"$ref": _REF.format(model=operation.answers.__name__)} if operation.answers else {"type": "object"}
    etag = {"ETag": {"description": "Moves with `version`", "schema": {"type": "string"}}} if operation.has_etag else {}
    content = {"content": {"application/json": {"schema": schema}}}
    answer = {"description": operation.summary, **(content if operation.success is not HTTPStatus.NO_CONTENT else {})}
    yield operation.success, answer | ({"headers": etag} if etag else {})
    if operation.later is not None:
        link = {"Location": {"description": "Where it is told of", "schema": {"type": "string"}}}
        told = {"application/json": {"schema": {"$ref": _REF.format(model=operation.later.__name__)}}}
        yield HTTPStatus.ACCEPTED, {"description": "It is still being done", "content": told, "headers": link}
    if etag and operation.method == "GET":
        yield HTTPStatus.NOT_MODIFIED, {"description": "If-None-Match has its ETag"}
    yield HTTPStatus.BAD_REQUEST, _problem("A parameter is wrong")
    if operation.access.scopes:
        yield HTTPStatus.UNAUTHORIZED, _problem("No token, or none that is taken")
        yield HTTPStatus.FORBIDDEN, _problem("Another's, without a scope for it")
    if operation.may_miss:
        yield HTTPStatus.NOT_FOUND, _problem("There is none")
    for status, description in operation.problems.items():
        yield status, _problem(description)
    yield HTTPStatus.SERVICE_UNAVAILABLE, _problem("It can't be told or done now")


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=ProblemView.__name__)}
    return {"description": description, "content": {PROBLEM: {"schema": schema}}}


def _schemas(operations: Sequence[Operation]) -> Iterator[tuple[str, Any]]:
    told = [each for operation in operations for each in (operation.answers, operation.later) if each is not None]
    models: list[type[BaseModel]] = [ProblemView, *told]
    for model in models:
        schema = model.model_json_schema(ref_template=_REF, mode="serialization")
        yield from schema.pop("$defs", {}).items()
        yield model.__name__, schema
