"""A piece of user-data on its way from the source's bytes to texts of one format."""

from __future__ import annotations

from dataclasses import dataclass, field

from ucvm_agent.userdata.context import Place


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes, and what their container says about them.

    Arguments:
        name: names it in places.
        data: its bytes.
        content_type: the declared MIME type in lower case, without parameters; empty if there is none.
        charset: the declared character set; empty if there is none.
        boundary: what separates the parts inside, if it is a multipart.
        headers: the container's headers for it, names in lower case.
        depth: number of layers around it.
    """

    name: str
    data: bytes = field(repr=False)
    content_type: str = ""
    charset: str = ""
    boundary: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    depth: int = 0

    @property
    def place(self) -> Place:
        """The piece as a whole."""
        return Place(self.name)

    @property
    def is_container(self) -> bool:
        """Whether its MIME type stands for a container of parts."""
        return self.content_type.startswith(("multipart/", "message/rfc822"))

    def header(self, name: str) -> str:
        """Return a header by its name in lower case; empty if there is none."""
        return dict(self.headers).get(name, "")
