"""What can be asked of the API: each operation is declared once, with the models of its question and its answer."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from ucvm_agent.controller.model import Record
from ucvm_agent.errors import UsageError

API = "/api/v1"

PARAMETER = re.compile(r"\{(\w+)\}")
"""In the path of an operation."""

MAX_BODY = 1024 * 1024
"""Bytes of a body that is JSON."""


class Nothing(Record):
    """No parameters, or no body."""


class Problem(Record):
    """Why something was not done, for a person.

    Arguments:
        hint: what to do about it.
        fields: what is wrong with each, by its dotted name.
    """

    error: str
    hint: str = ""
    fields: dict[str, str] = Field({})


class BadFields(UsageError):
    """Parameters or a body are not what they have to be.

    Arguments:
        fields: what is wrong with each.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(f"not understood: {', '.join(fields) or 'the body'}")
        self.fields = dict(fields)


class Access(Enum):
    """Whom an operation is for."""

    OPERATOR = "the token in http.token_file"
    LEASE = "the token of the job's present lease"


@dataclass(frozen=True, slots=True)
class Content:
    """An answer, or a body, that is not JSON.

    Arguments:
        media: its type.
        events: of a stream of server-sent events: the data of each kind.
        ranges: whether a part can be asked for.
    """

    media: str
    events: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    ranges: bool = False


Q = TypeVar("Q", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Asked(Generic[Q, B]):
    """One question."""

    request: web.Request
    query: Q
    body: B

    def __getitem__(self, parameter: str) -> str:
        """Return a parameter of the path."""
        return self.request.match_info[parameter]


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked.

    Arguments:
        path: with `{parameters}`.
        summary: for its description.
        call: returns the answer, or a response that it has begun itself.
        answer: a model, or what else comes; None = no content.
        query: the parameters behind the `?`; `call` gets them.
        body: JSON; `call` gets it.
        content: a body that is not JSON, which `call` reads.
        status: of the answer when all is well.
    """

    method: str
    path: str
    summary: str
    call: Callable[[Asked[Any, Any]], Awaitable[BaseModel | web.StreamResponse | None]]
    answer: type[BaseModel] | Content | None = None
    query: type[BaseModel] = Nothing
    body: type[BaseModel] = Nothing
    content: Content | None = None
    status: HTTPStatus = HTTPStatus.OK
    access: Access = Access.OPERATOR

    @property
    def parameters(self) -> list[str]:
        """The names in the path."""
        return PARAMETER.findall(self.path)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request.

        Raises:
            BadFields: it is not as declared; UcvmError: as `call` does.
        """
        query = _validate(self.query, dict(request.query))
        body = self.body() if self.body is Nothing else await _read(request, self.body)
        answer = await self.call(Asked(request, query, body))
        if isinstance(answer, web.StreamResponse):
            return answer
        if answer is None:
            return web.Response(status=HTTPStatus.NO_CONTENT)
        return web.Response(status=self.status, text=answer.model_dump_json(), content_type="application/json")


async def _read(request: web.Request, model: type[B]) -> B:
    try:
        return model.model_validate_json(await request.read() or b"{}")
    except ValidationError as error:
        raise BadFields(_faults(error)) from None


def _validate(model: type[Q], values: Mapping[str, str]) -> Q:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise BadFields(_faults(error)) from None


def _faults(error: ValidationError) -> dict[str, str]:
    """Return what is wrong with each field, without its value."""
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    return {".".join(str(step) for step in fault["loc"]) or "body": fault["msg"] for fault in faults}
