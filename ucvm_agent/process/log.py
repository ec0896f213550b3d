"""How the agent logs: structlog everywhere, JSON for journald and files, colour for a terminal.

Each line carries the phase (`phase`), and as JSON the boot id, by which the lines of one boot can be told from
another's.
Libraries that log through the standard library come out the same way, from WARNING upwards only: slixmpp's
debug lines hold whole stanzas with their secrets.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

import structlog
from pydantic import SecretBytes, SecretStr

from ucvm_agent.errors import SettingsError
from ucvm_agent.files.private_file import MODE, tighten

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

    from ucvm_agent.settings import Log

OURS = ("ucvm_agent", "contextualizers")
SHOWN_BOOT = 8
"""Characters of the boot id in the text form."""

_processors: list[Processor] = []
"""Changed in place: a logger that has been used keeps the list that it has found, since making one takes longer than
all that a line which is not shown costs otherwise."""

SECRET_FIELDS = ("password", "token", "secret", "authorization", "cookie")


class Stamp:
    """What every line carries; a processor for structlog.

    Arguments:
        boot_id: the boot in which this process runs.

    Attributes:
        phase: what the process is about; changed as it goes on, for all tasks and threads at once.
    """

    def __init__(self, boot_id: str) -> None:
        self.boot_id = boot_id
        self.phase = ""

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Add boot id and phase."""
        event["boot"] = self.boot_id
        if self.phase:
            event.setdefault("phase", self.phase)
        return event


def configure(settings: Log, stamp: Stamp) -> None:
    """Set up logging for this process; may be called again when the settings change.

    Raises:
        SettingsError: the log file cannot be opened.
    """
    stream = _open(settings)
    text = settings.format == "text" or (settings.format == "auto" and stream.isatty())
    shared: list[Processor] = [
        stamp,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=not text),
        hide_secrets,
        leave_out_empty,
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_last(text, stream.isatty())],
        )
    )
    _processors[:] = [
        structlog.stdlib.filter_by_level,
        *shared,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ]
    structlog.configure(
        processors=_processors,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        if isinstance(old, logging.StreamHandler) and old.stream not in (sys.stdout, sys.stderr):
            old.stream.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(settings.level.upper())


def _open(settings: Log) -> IO[str]:
    if settings.file is None:
        return sys.stderr
    try:
        descriptor = os.open(settings.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        tighten(descriptor)
        return os.fdopen(descriptor, "a", buffering=1, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot be opened: {error.strerror}", where=f"log.file {settings.file}") from error


def _last(text: bool, terminal: bool) -> Sequence[Processor]:
    if text:
        return [
            _shorten_boot,
            structlog.dev.ConsoleRenderer(
                colors=terminal, pad_event_to=40, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    # Tracebacks as text: the structured ones hold the local variables, and so perhaps a secret.
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str, ensure_ascii=False)]


def hide_secrets(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Mask what is a secret by its type or by the name of its field; a processor for structlog."""
    for name, value in event.items():
        named = any(word in name.lower() for word in SECRET_FIELDS) and not name.endswith("_file")
        secret = isinstance(value, SecretStr | SecretBytes) or named
        if secret and value:
            event[name] = "***"
    return event


def leave_out_empty(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Leave out fields that say nothing: None and the empty string; a processor for structlog."""
    return {name: value for name, value in event.items() if value is not None and value != ""}


def _shorten_boot(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Leave as much of the boot id as a person needs to tell the boots in a file apart."""
    event["boot"] = str(event["boot"])[:SHOWN_BOOT]
    return event
