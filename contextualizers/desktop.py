"""The desktop of `[cernvm]`: graphical or not, keyboard, login, icons (references/amiconfig.md, section 8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from contextualizers.accounts import read_cernvm_users
from contextualizers.assignments import replace
from contextualizers.encoded import decode_base64
from ucvm_agent.contextualize.actions import MakeLink, WriteFile
from ucvm_agent.contextualize.base import (
    Action,
    Context,
    Contextualizer,
    Options,
    Problem,
    Reads,
    Severity,
    System,
    remark,
)

UNITS = "/usr/lib/systemd/system"

_SWITCH = {"on": True, "yes": True, "true": True, "1": True, "off": False, "no": False, "false": False, "0": False}


def _switch(value: Any) -> Any:
    text = str(value).strip().strip("\"'").lower()
    if text not in _SWITCH:
        raise ValueError("expected on or off")
    return _SWITCH[text]


def _keyboard(name: str) -> str:
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise ValueError("expected the name of a keyboard such as us or us-acentos")
    return name


def _icons(value: Any) -> Any:
    """Read `NAME,base64%NAME,base64`, with `~` for the blanks of a name."""
    if not isinstance(value, str):
        return value
    icons: dict[str, bytes] = {}
    for item in filter(None, (each.strip() for each in value.split("%"))):
        name, comma, text = item.partition(",")
        name = name.replace("~", " ").strip()
        if not comma or not name or "/" in name or not name.isprintable():
            raise ValueError("expected NAME,base64 between the %, with a name that can be a file's")
        try:
            icons[name] = decode_base64(text)
        except ValueError:
            raise ValueError(f"expected base64 after {name!r}, and this is none") from None
    return icons


Switch = Annotated[bool | None, BeforeValidator(_switch)]


class DesktopOptions(Options):
    """The options of the amiconfig plugin `cernvm` that are about the desktop."""

    edition: Annotated[str, Reads("[cernvm] edition")] = ""
    start: Annotated[Switch, Reads("[cernvm] startxdm")] = None
    auto_login: Annotated[Switch, Reads("[cernvm] auto_login")] = None
    keyboard: Annotated[str, AfterValidator(_keyboard), Reads("[cernvm] keyboard")] = ""
    icons: Annotated[dict[str, bytes], BeforeValidator(_icons), Reads("[cernvm] desktop_icons")] = Field(
        default_factory=dict, repr=False
    )
    users: Annotated[SecretStr, Reads("[cernvm] users")] = SecretStr("")

    @property
    def target(self) -> str:
        """The unit that the system starts into; empty if the context says nothing about it."""
        if not self.edition and self.start is None:
            return ""
        desktop = self.edition.lower() == "desktop" and self.start is not False
        return "graphical.target" if desktop else "multi-user.target"

    @property
    def login(self) -> str:
        """The user who is logged in without being asked; empty for nobody."""
        users, _ = read_cernvm_users(self.users)
        return users[0].name if users and self.auto_login else ""


class Desktop(Contextualizer[DesktopOptions]):
    """Chooses what the system starts into, and prepares the desktop; icons are there before users get their homes."""

    name = "desktop"
    options = DesktopOptions
    before = ("users",)

    def plan(self, options: DesktopOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield the icons, the keyboard, the display manager's file and the default target."""
        for name, content in options.icons.items():
            yield WriteFile(path=f"/etc/skel/Desktop/{name}.desktop", content=content, mode=0o755)
        yield from _keyboard_files(options.keyboard, system)
        if options.login:
            yield from _display_manager(options.login, system)
        if options.target and system.status(f"{UNITS}/{options.target}"):
            yield MakeLink(path="/etc/systemd/system/default.target", to=f"{UNITS}/{options.target}")

    def remarks(self, options: DesktopOptions, context: Context, system: System) -> Iterable[Problem]:
        """Tell what the image lacks for what is asked, and an edition that there never was."""
        if options.edition.lower() not in ("", "basic", "desktop"):
            yield remark(context, "[cernvm] edition", "expected Basic or Desktop; taken for Basic")
        if options.target == "graphical.target" and not system.status(f"{UNITS}/{options.target}"):
            message = "this system has no desktop to start"
            yield remark(context, "[cernvm] edition", message, severity=Severity.NOTE)
        if options.login and not list(_display_manager(options.login, system)):
            message = "has no effect: there is neither LightDM nor SDDM"
            yield remark(context, "[cernvm] auto_login", message, severity=Severity.NOTE)


def _keyboard_files(name: str, system: System) -> Iterator[WriteFile]:
    """Yield the console's and, where the system has one, Debian's file for both console and X."""
    if not name:
        return
    yield _with("/etc/vconsole.conf", {"KEYMAP": name}, system)
    if system.status("/etc/default/keyboard"):
        # The one console keymap in public contexts that X knows as a variant of a layout.
        layout, variant = ("us", "intl") if name == "us-acentos" else (name.partition("-")[0], "")
        yield _with("/etc/default/keyboard", {"XKBLAYOUT": layout, "XKBVARIANT": variant}, system)


def _with(path: str, values: Mapping[str, str], system: System) -> WriteFile:
    text = (system.read(path) or b"").decode(errors="surrogateescape")
    return WriteFile(path=path, content=replace(text, values).encode(errors="surrogateescape"))


def _display_manager(user: str, system: System) -> Iterator[WriteFile]:
    if system.program("lightdm"):
        text = f"[Seat:*]\nautologin-user={user}\n"
        yield WriteFile(path="/etc/lightdm/lightdm.conf.d/50-ucvm.conf", content=text.encode())
    if system.program("sddm"):
        yield WriteFile(path="/etc/sddm.conf.d/50-ucvm.conf", content=f"[Autologin]\nUser={user}\n".encode())
