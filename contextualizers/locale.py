"""Time zone and language of the system."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

from contextualizers.assignments import replace
from ucvm_agent.contextualize.actions import MakeLink, WriteFile
from ucvm_agent.contextualize.base import Action, Context, Contextualizer, Options, Reads, Refusal, System

ZONES = "/usr/share/zoneinfo"

_ZONE = re.compile(r"[A-Za-z0-9+_-]+(/[A-Za-z0-9+_-]+)*")
_LOCALE = re.compile(r"[A-Za-z]+(_[A-Za-z]+)?(\.[A-Za-z0-9-]+)?(@[A-Za-z]+)?")


def _zone(name: str) -> str:
    if not _ZONE.fullmatch(name):
        raise ValueError("expected the name of a time zone such as Europe/Zurich")
    return name


def _language(name: str) -> str:
    if not _LOCALE.fullmatch(name):
        raise ValueError("expected the name of a locale such as en_US.UTF-8")
    return name


class LocaleOptions(Options):
    """cloud-init's keys of the same names."""

    timezone: Annotated[str, AfterValidator(_zone), Reads("timezone")] = ""
    locale: Annotated[str, AfterValidator(_language), Reads("locale")] = ""


class Locale(Contextualizer[LocaleOptions]):
    """Sets the time zone and LANG; a locale is not generated, it has to be in the image."""

    name = "locale"
    options = LocaleOptions

    def plan(self, options: LocaleOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield the files that systemd and, beside it, Debian read."""
        debian = system.facts.os_id in ("debian", "ubuntu")
        if options.locale:
            path = "/etc/default/locale" if debian else "/etc/locale.conf"
            text = (system.read(path) or b"").decode(errors="surrogateescape")
            content = replace(text, {"LANG": options.locale}).encode(errors="surrogateescape")
            yield WriteFile(path=path, content=content)
        if options.timezone:
            if system.status(f"{ZONES}/{options.timezone}") is None and system.status(ZONES):
                raise Refusal("timezone", f"this system knows no time zone {options.timezone}", "see timedatectl")
            # Some images have a copy of the zone's file there.
            yield MakeLink(path="/etc/localtime", to=f"{ZONES}/{options.timezone}", replace_file=True)
            if debian:
                yield WriteFile(path="/etc/timezone", content=f"{options.timezone}\n".encode())
