"""The contract of a source of user-data, and what it yields.

The fields follow the model that all platforms share (references/clouds.md, section 3). Nothing here imports
a heavy library, since the dry run of a local file passes through it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pathlib import Path

    from ucvm_agent.settings import Sources
    from ucvm_agent.sources.asker import Asker
    from ucvm_agent.sources.machine import Machine

MAX_BODY = 16 * 1024 * 1024
"""Most bytes that any source reads, per document."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the platform says about this instance, beside user-data.

    `public_keys` are OpenSSH public key lines, validated and without duplicates; `addresses` are textual
    IPv4 and IPv6 addresses. An empty string means that the platform did not say. `derived` means that the
    instance-id is not the platform's but made of the user-data: another one is no sign of another machine.
    `sequence` is the number that a controller gave the context; 0 if it is from elsewhere.
    """

    instance_id: str = ""
    hostname: str = ""
    region: str = ""
    zone: str = ""
    public_keys: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    derived: bool = False
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of a URL that the user-data include.

    Arguments:
        data: what the URL brought; None if it brought nothing.
        failure: why it brought nothing, or why `data` is an earlier copy; never holds a secret.
        hint: what to do about the failure.
    """

    data: bytes | None = field(repr=False)
    failure: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class PersonalityFile:
    """A file that the platform hands over to be written (references/clouds.md, section 2.2: `files`)."""

    path: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What a source answered.

    Arguments:
        source: name of the source (`ec2`, `file`, …).
        origin: where exactly, for people: a URL without credentials, a device, a path.
        user_data: the raw bytes; None if the instance exists but has none (not the same as no source).
        vendor_data: the platform owner's own user-data, handled first and overruled by `user_data`.
        overlay: user-data of CernVM Online that `user_data` name, handled after them and overruling them.
        extra_data: user-data of local media, handled last, which overrules all other.
        pickup: an archive of local media that is unpacked over the system.
        files: to be written; trusted as the user-data are.
        to_blank: names of values that the platform wants blanked once they are kept (`Source.blank`).
        spent: values of the platform are blank, so what was kept of them counts if it was us.
        base64: the platform says that `user_data` is base64 (never a guess).
        metadata: the instance.
        included: what the user-data include from elsewhere, by URL, as far as it was fetched.
    """

    source: str
    origin: str
    user_data: bytes | None = field(repr=False)
    vendor_data: bytes | None = field(default=None, repr=False)
    base64: bool = False
    metadata: Metadata = Metadata()
    extra_data: bytes | None = field(default=None, repr=False)
    pickup: bytes | None = field(default=None, repr=False)
    included: Mapping[str, Fetched] = field(default_factory=dict, repr=False, compare=False)
    overlay: bytes | None = field(default=None, repr=False)
    files: tuple[PersonalityFile, ...] = ()
    to_blank: tuple[str, ...] = ()
    spent: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Whether a source is worth asking here, told without any network.

    `likely` is True if the machine says so, False if it says the opposite, None if it does not tell
    (the source may be probed). `why` is a phrase for `ucvm-agent sources`.
    """

    likely: bool | None
    why: str


class Source(ABC):
    """One place that user-data can come from.

    A subclass is the class `Source` of the module that carries the source's name. It is made with its
    settings, opens nothing in its constructor, and is used for one fetch at a time.
    """

    name: ClassVar[str]
    rank: ClassVar[int] = 100
    """Lower wins when several sources answer (references/clouds.md, section 1: local media first)."""

    adds: ClassVar[bool] = False
    """True if it adds to what another source gave (`add_to`), instead of being a rival."""

    detected: bool = False
    """Set by whoever asks: the machine or its owner says that this is the platform, so a slow answer and "not yet"
    are waited for. Otherwise the first question is a short probe."""
    asker: Asker | None = None
    """Set by whoever makes it: how to ask the controllers; None = the settings name none."""
    local: bool = False
    """Whether it answers without any network, and so before there is one; `candidate` may set it, too."""
    reached: bool = False
    """Set by `fetch` when the other end has shown itself to be this platform, however long the rest takes."""

    @classmethod
    def make(cls, settings: Sources, folder: Path | None) -> Source:
        """Make it with its section of the settings.

        Arguments:
            folder: of the agent's state, for a source that keeps something there; None = there is none.
        """
        return cls(getattr(settings, cls.name))  # type: ignore[call-arg]  # each source takes its own section

    def candidate(self, machine: Machine) -> Candidate:
        """Say from the machine's own signs whether this source is worth asking."""
        return Candidate(None, "this source cannot tell without asking")

    @abstractmethod
    async def fetch(self) -> Found:
        """Fetch user-data and metadata once, with the source's own retries.

        Overall time is bounded by the caller (asyncio.timeout); cancellation leaves nothing behind.

        Raises:
            SourceAbsent: the platform is not this one.
            SourceUnavailable: no answer in time, or a passing fault.
            SourceRefused: the source said no.
        """

    async def add_to(self, found: Found) -> Found:
        """Return what another source found, with what this one adds to it.

        Raises:
            SourceError: nothing can be added; the other's answer counts as it is.
        """
        return found

    async def blank(self, keys: Iterable[str]) -> None:  # noqa: B027 - most platforms want nothing blanked
        """Blank values of the platform, as it wants it (`Found.to_blank`); only called once they are kept.

        Raises:
            SourceError: they are still there.
        """

    async def changes(self, known: Found, pause: float) -> AsyncGenerator[Found, None]:
        """Yield answers as they appear; `following.py` drops those that are not new.

        A source whose data never changes, or that cannot be followed, yields none.

        Arguments:
            known: the last answer.
            pause: seconds between two questions, for a source that has to ask; 0 = it is not to ask.

        Raises:
            SourceError: it cannot be followed now.
        """
        nothing: tuple[Found, ...] = ()
        for found in nothing:
            yield found
