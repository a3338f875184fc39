"""Stripe's published OpenAPI description, as JSON Schema to hold answers to."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from sandbox.binaries import stripe_mock_source


@cache
def _description() -> dict[str, Any]:
    path = stripe_mock_source() / "embedded" / "openapi" / "spec3.json"
    description: dict[str, Any] = json.loads(path.read_text())
    return description


@cache
def _definitions() -> dict[str, Any]:
    return {name: _json_schema(schema) for name, schema in _description()["components"]["schemas"].items()}


def _json_schema(node: Any) -> Any:
    """OpenAPI 3.0's dialect in JSON Schema's: `nullable`, and where the definitions are."""
    if isinstance(node, list):
        return [_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {name: _json_schema(value) for name, value in node.items() if name not in ("nullable", "example")}
    if isinstance(node.get("$ref"), str):
        schema["$ref"] = node["$ref"].replace("#/components/schemas/", "#/$defs/")
    return {"anyOf": [schema, {"type": "null"}]} if node.get("nullable") is True else schema


def problem(schema: dict[str, Any], value: object) -> str | None:
    """What is wrong with `value`, in a sentence; None when it fits."""
    validator = Draft202012Validator({**schema, "$defs": _definitions()})
    error = best_match(validator.iter_errors(value))
    return None if error is None else f"{error.json_path}: {error.message[:500]}"


def object_problem(name: str, value: object) -> str | None:
    """As `problem`, for one of the description's named schemas (`customer`, `error`, …)."""
    return problem({"$ref": f"#/$defs/{name}"}, value)


def answer_problem(method: str, path: str, value: object) -> str | None:
    """As `problem`, for what `method` answers on `path` (as the description writes it, `/v1/customers/{customer}`)."""
    operation = _description()["paths"][path][method.lower()]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    return problem(_json_schema(schema), value)


def known_parameters(method: str, path: str) -> set[str]:
    """The names of the parameters that the description gives for an operation."""
    operation = _description()["paths"][path][method.lower()]
    names = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        names |= set(content["schema"].get("properties", {}))
    return names


def event_types() -> set[str]:
    """Every type of event that an endpoint may listen to, `*` for all."""
    return set(_endpoint_parameters()["enabled_events"]["items"]["enum"])


def endpoint_versions() -> set[str]:
    """The API versions that an endpoint may be created at."""
    return set(_endpoint_parameters()["api_version"]["enum"])


def _endpoint_parameters() -> dict[str, Any]:
    body = _description()["paths"]["/v1/webhook_endpoints"]["post"]["requestBody"]
    (content,) = body["content"].values()
    parameters: dict[str, Any] = content["schema"]["properties"]
    return parameters


def version() -> str:
    """The API version that is described."""
    described: str = _description()["info"]["version"]
    return described


def paths() -> list[str]:
    """Every path that the description knows."""
    return list(_description()["paths"])


def schema(name: str) -> dict[str, Any]:
    """One of the description's named schemas, as it is written there (OpenAPI)."""
    found: dict[str, Any] = _description()["components"]["schemas"][name]
    return found
