"""How files are moved: one module a URL scheme, found by the scheme's name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ucvm_agent.errors import TransferRefused

if TYPE_CHECKING:
    from ucvm_agent.settings import Transfer as Settings
    from ucvm_agent.transfer.base import Transfer
    from ucvm_agent.transfer.location import Location

_SAME = {"https": "http"}
"""Schemes that the module of another one knows, too."""


def names() -> list[str]:
    """Return all schemes."""
    from pkgutil import iter_modules

    return sorted([*(module.name for module in iter_modules(__path__)), *_SAME])


def transfer_of(location: Location, settings: Settings) -> Transfer:
    """Return what moves files from and to there.

    Raises:
        TransferRefused: there is no such scheme.
    """
    if location.scheme not in (known := names()):
        raise TransferRefused("files are not moved by this scheme", hint=f"there are {', '.join(known)}")
    module = import_module(f"{__name__}.{_SAME.get(location.scheme, location.scheme)}")
    transfer: Transfer = module.Transfer(settings)
    return transfer
