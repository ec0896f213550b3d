"""The description of the API: OpenAPI 3.1, made of the operations themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from ucvm_agent import __version__
from ucvm_agent.controller.web.operation import Access, Content, Nothing, Operation, Problem

JSON = "application/json"

Schema: TypeAlias = dict[str, Any]
Use: TypeAlias = tuple[type[BaseModel], JsonSchemaMode]
References: TypeAlias = Mapping[Any, Schema]


def describe(operations: Sequence[Operation]) -> Schema:
    """Return the description of some operations."""
    uses = dict.fromkeys(use for operation in operations for use in _uses(operation))
    references, schemas = models_json_schema(list(uses), ref_template="#/components/schemas/{model}")
    paths: dict[str, Schema] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, references)
    return {
        "openapi": "3.1.0",
        "info": {"title": "ucvm-controller", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                access.name.lower(): {"type": "http", "scheme": "bearer", "description": access.value}
                for access in Access
            },
        },
    }


def _uses(operation: Operation) -> Iterator[Use]:
    yield Problem, "serialization"
    yield operation.body, "validation"
    if isinstance(operation.answer, Content):
        yield from ((model, "serialization") for model in operation.answer.events.values())
    elif operation.answer is not None:
        yield operation.answer, "serialization"


def _operation(operation: Operation, references: References) -> Schema:
    described: Schema = {
        "summary": operation.summary,
        "security": [{operation.access.name.lower(): []}],
        "parameters": [*_path_parameters(operation), *_query_parameters(operation)],
        "responses": dict(_responses(operation, references)),
    }
    if operation.content is not None:
        described["requestBody"] = {"required": True, "content": {operation.content.media: {}}}
    elif operation.body is not Nothing:
        described["requestBody"] = {"content": {JSON: {"schema": references[operation.body, "validation"]}}}
    return described


def _responses(operation: Operation, references: References) -> Iterator[tuple[str, Schema]]:
    statuses = [operation.status]
    if isinstance(operation.answer, Content) and operation.answer.ranges:
        statuses.append(HTTPStatus.PARTIAL_CONTENT)
    for status in statuses:
        yield str(status.value), _answer(status, operation.answer, references)
    problem = references[Problem, "serialization"]
    yield "default", {"description": "why it was not done", "content": {JSON: {"schema": problem}}}


def _path_parameters(operation: Operation) -> Iterator[Schema]:
    for name in operation.parameters:
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(operation: Operation) -> Iterator[Schema]:
    schema = operation.query.model_json_schema()
    definitions = schema.get("$defs", {})
    for name, declared in schema.get("properties", {}).items():
        yield {"name": name, "in": "query", "schema": _inline(declared, definitions)}


def _inline(schema: Any, definitions: Schema) -> Any:
    """Return a schema with what it refers to in its place: a parameter has no definitions of its own."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inline(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        return {key: _inline(value, definitions) for key, value in schema.items()}
    return [_inline(each, definitions) for each in schema] if isinstance(schema, list) else schema


def _answer(status: HTTPStatus, answer: type[BaseModel] | Content | None, references: References) -> Schema:
    described: Schema = {"description": status.phrase}
    if isinstance(answer, Content):
        content: Schema = {}
        if answer.events:
            # OpenAPI 3.1 has no words for streams: the kinds of events, with the model of their data.
            events = {kind: references[model, "serialization"] for kind, model in answer.events.items()}
            content = {"schema": {"type": "string"}, "x-events": events}
        described["content"] = {answer.media: content}
    elif answer is not None:
        described["content"] = {JSON: {"schema": references[answer, "serialization"]}}
    return described
