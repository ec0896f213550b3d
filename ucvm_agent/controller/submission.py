"""Taking a job in: its input files are where its agent looks for them before it is in the queue."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ucvm_agent.controller import folders
from ucvm_agent.controller.files import Files
from ucvm_agent.controller.model import Description, Input, Job, check_id
from ucvm_agent.controller.web.bodies import Submission
from ucvm_agent.errors import JobExists, StoreError, UsageError

if TYPE_CHECKING:
    from ucvm_agent.controller.controller import Controller

log = structlog.get_logger()

NAME_HINT = "up to 200 characters without / and line breaks; the first is no -"
_NAME = re.compile(r"(?!-|\.{1,2}\Z|\.__)(?!.*###)[^/\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}")
"""What an uploaded file may be called: ### separates names on the wire, and .__ begins those of the Chirp server."""


class Submissions:
    """Takes jobs in.

    Arguments:
        files: where the uploaded inputs are.
    """

    def __init__(self, controller: Controller, files: Files) -> None:
        self._controller = controller
        self._files = files
        self._chirp = controller.settings.jobs.chirp.folder
        self._chirp_url = controller.settings.jobs.chirp.url

    async def take(self, submission: Submission) -> Job:
        """Put a job at the end of the queue.

        An agent of ours fetches uploaded inputs from us, if it can reach us; for all others they are copied to the
        Chirp server. That server is written down with the job: whoever hands the job out may have another one, and an
        original job manager knows none but what the job names.

        Raises:
            UsageError: it asks for what cannot be; JobExists: there is one of this id; LedgerError, StoreError: it
                cannot be kept now.
        """
        job_id = check_id(submission.id or str(uuid.uuid4()))
        description = submission.description
        _check_commands(description)
        uploaded = [each for each in description.inputs if not each.url]
        if uploaded:
            await self._check_uploads(description, uploaded)
            if await self._controller.ledger.job(job_id) is not None:  # which saves the work; the ledger decides
                raise JobExists("was submitted before", where=f"job {job_id}", hint="choose another id")
        names = (*description.input_files, *(each.name for each in description.inputs))
        ours_only = description.needs_ours or bool(uploaded and self._chirp is None)
        complete = description.model_copy(
            update={
                "input_files": tuple(dict.fromkeys(names)),
                "ours_only": ours_only,
                "chirp_url": description.chirp_url or self._chirp_url,
            }
        )
        if uploaded and self._chirp is not None:
            return await self._submit(job_id, complete, uploaded, self._chirp)
        return await self._controller.submit(complete, job_id)

    async def _submit(self, job_id: str, description: Description, uploaded: Sequence[Input], root: Path) -> Job:
        """Lay the inputs down, and then put the job into the queue; of several of one id one gets there.

        What is killed between the two, or does not learn whether it got there, leaves its inputs to `Orphans`.
        """
        files = {each.name: self._files.input(each.sha256) for each in uploaded}
        try:
            place = await asyncio.to_thread(folders.put_in, root, job_id, files)
        except OSError as error:
            where = str(root / job_id)
            raise StoreError(f"the inputs cannot be copied: {error.strerror}", where=where) from error
        try:
            return await self._controller.submit(description.model_copy(update={"input_dir": place}), job_id)
        except UsageError:
            await self._withdraw(job_id, place, root)
            raise

    async def _withdraw(self, job_id: str, place: str, root: Path) -> None:
        """Remove what was laid down for a job that is not in the queue."""
        job = await self._controller.ledger.job(job_id)
        if job is not None and job.description.input_dir == place:
            return  # it is: Redis did not tell at once
        try:
            await asyncio.to_thread(folders.remove_inputs, root, place)
            if job is None:
                await asyncio.to_thread(folders.remove_if_empty, root, job_id)
        except OSError as error:
            log.warning("inputs of no job are left", place=place, reason=error.strerror)

    async def _check_uploads(self, description: Description, uploaded: Sequence[Input]) -> None:
        if description.chirp_url or description.input_dir:
            hint = "leave chirp_url and input_dir out"
            raise UsageError("what is uploaded gets its place from us", where="description.input_dir", hint=hint)
        if not self._controller.settings.http.public_url and self._chirp is None:
            hint = "set http.public_url or jobs.chirp.folder in controller.toml"
            raise UsageError("agents have no way to uploaded files", where="description.inputs", hint=hint)
        for each in uploaded:
            where = f"description.inputs: {each.name[:80]!r}"
            if not _NAME.fullmatch(each.name):
                raise UsageError("no name for an uploaded file", where=where, hint=NAME_HINT)
            if not re.fullmatch("[0-9a-f]{64}", each.sha256):
                raise UsageError("has neither URL nor SHA-256", where=where)
            if not await asyncio.to_thread(self._files.keep_input, each.sha256):
                raise UsageError("was not uploaded", where=where, hint="PUT /api/v1/inputs/SHA256 first")


def _check_commands(description: Description) -> None:
    """Refuse what no agent could run: programs come as input files (references/copilot-protocol.md, section 2.4)."""
    names = {*description.input_files, *(each.name for each in description.inputs)}
    for key, name in (("command", description.command), ("validation_script", description.validation_script)):
        if name not in names and (name or key == "command"):
            where = f"description.{key}"
            raise UsageError("is none of the input files", where=where, hint="upload it, or give it by URL")
