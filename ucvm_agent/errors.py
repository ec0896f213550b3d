"""Every error that this program raises on purpose.

    UcvmError
    ├── UsageError               ask the person: the command line is wrong              exit 2
    │   ├── SettingsError        … or agent.toml, a UCVM_ variable, the kernel command line
    │   └── JobExists            … there is a job of this name already
    ├── UserDataError            ask the writer of the context                          exit 3
    │   └── BoundExceeded        … it is larger or deeper than anything sensible
    ├── SourceError              no user-data from this source                          exit 4
    │   ├── SourceAbsent         … not on this platform: try another source
    │   ├── SourceUnavailable    … not now: try again
    │   └── SourceRefused        … it said no: trying again will not help
    ├── PlanError                contextualizers contradict each other                  exit 5
    ├── ActionError              one action failed, the rest goes on                    exit 5
    │   └── UnsafePath           … a path or link would lead outside the root
    ├── StoreError               the state file cannot be used; it is left as it is     exit 6
    │   ├── StoreAbsent          … there is none yet: no agent has run here
    │   ├── StoreDamaged
    │   ├── StoreNewer           … written by a newer version of this program
    │   └── StoreBusy            … another agent holds it
    ├── LedgerError              what a controller must not forget cannot be kept now   exit 6
    ├── OrderError               a VM could not be told, or does not answer
    ├── CommandRefused           what an operator wants cannot be done; the operator is told
    ├── ControllerAway           the controller does not answer, or cannot do it now    exit 7
    ├── SecretError              what is kept elsewhere for this machine could not be had
    │   ├── SecretDelayed        … now: try again
    │   └── SecretRefused        … and trying again will not help
    ├── TransferError            a file of a job could not be moved
    │   ├── TransferDelayed      … now: try again
    │   └── TransferRefused      … and trying again will not help
    ├── JobError                 a job could not be run here
    │   └── JobRefused           … and nowhere: it asks for something that no agent does
    ├── BootError                a part of the root file system cannot be mounted or made
    ├── DeliveryError            a controller could not be told
    │   ├── DeliveryDelayed      … now: keep the event and try again
    │   │   └── NotConnected     … for want of the XMPP connection, which tells of that itself
    │   └── DeliveryRefused      … and never will: the controller does not want this event
    └── MessageRefused           what a peer sent is dropped: it is not authentic, malformed, or cannot be decrypted
        └── TicketRefused        … for want of a good ticket, which the peer is told

The branches follow what the caller does next. Only the command lines turn an error into an exit code.
"""

from __future__ import annotations

from typing import ClassVar


class UcvmError(Exception):
    """The base of them all.

    Arguments:
        message: what was wrong, a sentence without full stop; never holds a secret.
        where: file, line, key or URL (without credentials), if known.
        hint: what to do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} ({self.hint})" if self.hint else text


def ours(error: BaseException) -> UcvmError | None:
    """Return the first error of ours in `error`, which may be the group of a task group; None if there is none."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := ours(inner))), None)
    return error if isinstance(error, UcvmError) else None


class UsageError(UcvmError):
    """The command line is wrong."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is unknown or has an impossible value."""


class JobExists(UsageError):
    """A job of this name was submitted before."""


class UserDataError(UcvmError):
    """The user-data cannot be used at all; smaller faults are `Problem`s of the context."""

    exit_code = 3


class BoundExceeded(UserDataError):
    """The user-data is larger, deeper or in more parts than the bounds allow."""


class SourceError(UcvmError):
    """A source gave no user-data."""

    exit_code = 4


class SourceAbsent(SourceError):
    """The source does not exist on this platform."""


class SourceUnavailable(SourceError):
    """The source did not answer, or answered with a passing fault."""


class SourceRefused(SourceError):
    """The source answered that it will not serve us, or with something that is not its protocol."""


class PlanError(UcvmError):
    """The contextualizers' orderings contradict each other."""

    exit_code = 5


class ActionError(UcvmError):
    """One action of a plan could not be done."""

    exit_code = 5


class UnsafePath(ActionError):
    """A path or a symbolic link would lead outside the root directory."""


class StoreError(UcvmError):
    """The state file cannot be used."""

    exit_code = 6


class StoreAbsent(StoreError):
    """There is no state yet."""


class StoreDamaged(StoreError):
    """The state file is not a sound database of ours."""


class StoreNewer(StoreError):
    """The state file was written by a newer version of this program."""


class StoreBusy(StoreError):
    """Another process has the state file open for writing."""


class LedgerError(UcvmError):
    """The ledger of a controller cannot be reached or used now."""

    exit_code = 6


class OrderError(UcvmError):
    """A VM is not there, or did not answer in time."""


class CommandRefused(UcvmError):
    """What an operator wants cannot be done, now or here."""


class ControllerAway(UcvmError):
    """A controller could not be asked over HTTP, or cannot do now what it was asked."""

    exit_code = 7


class SecretError(UcvmError):
    """A secret, or another object that is kept elsewhere for this machine, could not be had."""


class SecretDelayed(SecretError):
    """Whoever keeps it cannot answer now."""


class SecretRefused(SecretError):
    """It does not exist, cannot be used, or is not for this machine."""


class JobError(UcvmError):
    """A job could not be run on this machine; another machine, or a later try, may be able to."""


class JobRefused(JobError):
    """A job that asks for something that is never done: its names or packages are not what they have to be."""


class TransferError(UcvmError):
    """A file could not be fetched, or sent."""


class TransferDelayed(TransferError):
    """It cannot be moved now: the other end is away, or a disk is full.

    Arguments:
        after: seconds that the other end asked to be left alone.
    """

    def __init__(self, message: str, *, where: str = "", hint: str = "", after: float = 0.0) -> None:
        super().__init__(message, where=where, hint=hint)
        self.after = after


class TransferRefused(TransferError):
    """It never can be moved: there is no such file, it is not for us, too large, or not what its checksum says."""


class BootError(UcvmError):
    """A part of the root file system cannot be mounted or made."""


class DeliveryError(UcvmError):
    """An event did not reach a controller."""


class DeliveryDelayed(DeliveryError):
    """The controller cannot be reached now.

    Arguments:
        after: seconds that the controller asked to be left alone.
    """

    def __init__(self, message: str, *, where: str = "", hint: str = "", after: float = 0.0) -> None:
        super().__init__(message, where=where, hint=hint)
        self.after = after


class NotConnected(DeliveryDelayed):
    """There is no XMPP connection; whoever holds it has logged why."""


class DeliveryRefused(DeliveryError):
    """The controller answered that it will never take this event."""


class MessageRefused(UcvmError):
    """A message has to be dropped: it may not be from whom it says, is malformed, or cannot be decrypted."""


class TicketRefused(MessageRefused):
    """A message of Co-Pilot's secure mode came without a ticket that is good."""
