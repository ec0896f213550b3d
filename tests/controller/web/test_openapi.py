"""The description of the API; what the other tests are answered is checked against it."""

from __future__ import annotations

from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.controller.web.site import Api, operations
from ucvm_agent.controller.controller import Controller
from ucvm_agent.controller.web.live import Streams
from ucvm_agent.controller.web.site import operations as offered


async def test_the_description_is_sound(api: Api) -> None:
    """Any tool that reads OpenAPI 3.1 can use it."""
    OpenAPIV31SpecValidator(api.described).validate()


async def test_every_operation_is_described(api: Api, manager: Controller) -> None:
    """With a summary, its parameters, and who may ask."""
    expected = {(each.method, each.path) for each in offered(manager, Streams())}
    assert set(operations(api.described)) == expected
    for methods in api.described["paths"].values():
        for described in methods.values():
            assert described["summary"]
            assert described["security"]


async def test_no_secret_is_described(api: Api) -> None:
    """The token of a job is in no answer."""
    assert not {"token", "takers"} & set(api.described["components"]["schemas"]["Job"]["properties"])
