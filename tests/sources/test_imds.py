"""How long a token of the metadata service is used, and by whom."""

from __future__ import annotations

import asyncio

from tests.servers.imds import Imds
from tests.sources.conftest import Clock
from ucvm_agent.network import http
from ucvm_agent.settings import Ec2
from ucvm_agent.sources.imds import MetadataService
from ucvm_agent.sources.service import Service


async def test_token_is_renewed_at_five_sixths_of_its_life(clock: Clock) -> None:
    """Before that it is used again; the service would take it until its end."""
    async with Imds(clock=clock) as imds, http.session(link_local=True) as session:
        service = MetadataService(Service(session, imds.url), Ec2(token_ttl=600), clock=clock)
        await service.connect()
        clock.now += 499
        await service.get("user-data")
        assert imds.count("PUT") == 1
        clock.now += 1
        await service.get("user-data")
        assert imds.count("PUT") == 2


async def test_revoked_token_is_replaced_once_for_all_who_wait(clock: Clock) -> None:
    """Requests that are refused at the same time share the new token."""
    async with Imds(clock=clock) as imds, http.session(link_local=True) as session:
        service = MetadataService(Service(session, imds.url), Ec2(), clock=clock)
        await service.connect()
        imds.tokens.clear()
        answers = await asyncio.gather(*(service.get("user-data") for _ in range(5)))
        assert answers == [imds.user_data] * 5
        assert imds.count("PUT") == 2
