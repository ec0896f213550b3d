"""`write_files` of cloud-config, and the files that a platform hands over (references/clouds.md, section 2.2)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo, field_validator

from contextualizers.encoded import decode_base64
from ucvm_agent.contextualize.actions import WriteFile, WriteSecretFile
from ucvm_agent.contextualize.base import (
    Action,
    Context,
    Contextualizer,
    Nested,
    Options,
    Problem,
    Reads,
    SecretReference,
    Severity,
    System,
    is_reference,
    remark,
)

MAX_SIZE = 16 * 1024 * 1024
"""Most bytes that one file may have after unpacking."""


class Encoding(Enum):
    """How `content` is written down."""

    PLAIN = "plain"
    BASE64 = "base64"
    GZIP = "gzip"
    GZIP_BASE64 = "gzip+base64"


def _encoding(value: Any) -> Any:
    """Take cloud-init's many spellings for what they are (`b64`, `gz+base64`, `text/plain`)."""
    name = str(value or "").strip().lower()
    if name in ("", "text/plain"):
        return Encoding.PLAIN
    words = [{"b64": "base64", "gz": "gzip"}.get(word, word) for word in name.split("+")]
    try:
        return Encoding("+".join(sorted(words, reverse=True)))
    except ValueError:
        raise ValueError(f"expected text/plain, b64, gz or gz+b64, not {name}") from None


def decode_content(text: str, encoding: Encoding) -> bytes:
    """Return the bytes that `text` stands for; `!!binary` of YAML has those that are no text as surrogate escapes.

    Raises:
        ValueError: it is not in this encoding, or larger than `MAX_SIZE`.
    """
    data = text.encode(errors="surrogateescape")
    if encoding in (Encoding.BASE64, Encoding.GZIP_BASE64):
        data = decode_base64(text)
    if encoding in (Encoding.GZIP, Encoding.GZIP_BASE64):
        data = _unpacked(data)
    if len(data) > MAX_SIZE:
        raise ValueError(f"is larger than {MAX_SIZE // 1024**2} MiB")
    return data


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacker.decompress(data, MAX_SIZE + 1)
    except zlib.error:
        raise ValueError("expected gzip, and this is none") from None
    if not unpacker.eof and len(unpacked) <= MAX_SIZE:
        raise ValueError("expected gzip, and this is cut off")
    return unpacked


@dataclass(frozen=True)
class Mode:
    """Permission bits; whether they were written as a number, and so guessed, and what else that may stand for."""

    bits: int
    guessed: bool = False
    other: int | None = None


def read_mode(value: Any) -> Mode:
    """Read permissions, and a number as what its writer most likely meant.

    YAML reads an unquoted 0644 as the number 420, and 644 as itself; both stand for rw-r--r--. Where both readings
    of a number make sense, the stricter one counts.
    """
    digits = str(value).strip().removeprefix("0o")
    octal = int(digits, 8) if digits and set(digits) <= set("01234567") else None
    readings: list[int] = []
    if isinstance(value, int) and not isinstance(value, bool):
        both = {bits for bits in (octal, value) if bits is not None and _sensible(bits)}
        readings = sorted(both, key=int.bit_count)
        octal = readings[0] if readings else None
    if octal is None or octal > 0o7777:
        raise ValueError('expected permissions in octal digits, such as "0644"')
    return Mode(octal, guessed=isinstance(value, int), other=next(iter(readings[1:]), None))


def _sensible(mode: int) -> bool:
    """Say whether the owner may read, the group no more than the owner, and others no more than the group."""
    owner, group, others = mode >> 6, mode >> 3 & 7, mode & 7
    return 4 <= owner <= 7 and group & ~owner == 0 and others & ~group == 0


def _path(text: str) -> str:
    if not text.startswith("/") or "\0" in text or ".." in text.split("/") or text.endswith("/"):
        raise ValueError("expected the absolute path of a file, without `..`")
    return text


def _owner(text: str) -> str:
    if not re.fullmatch(r"[^:\s]+(:[^:\s]+)?", text):
        raise ValueError("expected user or user:group")
    return text


_CONTENT_KEYS = {"append", "content", "encoding"}


class File(Nested):
    """One file; `source: {uri: ssm:NAME}` and the like stand for a content that is a secret."""

    path: Annotated[str, AfterValidator(_path)]
    encoding: Annotated[Encoding, BeforeValidator(_encoding)] = Encoding.PLAIN
    content: bytes = Field(b"", repr=False)
    owner: Annotated[str, BeforeValidator(lambda value: value or "root"), AfterValidator(_owner)] = "root"
    permissions: Annotated[Mode, PlainValidator(read_mode)] = Mode(0o644)
    append: bool = False
    defer: bool = False
    source: Any = Field(None, repr=False)

    @property
    def is_known(self) -> bool:
        """Whether the content is written here, or where we can fetch it."""
        return self.source is None or isinstance(self.source, SecretReference)

    @field_validator("content", mode="before")
    @classmethod
    def _decode(cls, value: Any, info: ValidationInfo) -> bytes:
        if isinstance(value, dict | list):
            raise ValueError("expected text")
        return decode_content("" if value is None else str(value), info.data.get("encoding", Encoding.PLAIN))

    @field_validator("source")
    @classmethod
    def _refer(cls, value: Any) -> Any:
        """Read `source: {uri: ssm:NAME}` and the like; another source stays as it is."""
        uri = value.get("uri") if isinstance(value, dict) else None
        return SecretReference(uri) if isinstance(uri, str) and is_reference(uri) else value


class WriteFilesOptions(Options):
    """`write_files`: a list of files."""

    files: Annotated[tuple[File, ...], BeforeValidator(lambda value: value or []), Reads("write_files")] = ()


class WriteFiles(Contextualizer[WriteFilesOptions]):
    """Writes the files that are not deferred; one that belongs to a user of this context waits for the user."""

    name = "write_files"
    options = WriteFilesOptions
    deferred: ClassVar[bool] = False

    def plan(self, options: WriteFilesOptions, context: Context, system: System) -> Iterable[Action]:
        """Yield the files in their order, behind those of the platform that are not written here, too."""
        if not self.deferred:
            own = {file.path for file in options.files}
            for given in context.files:
                if given.path not in own:
                    # Nobody says who may read it, and it may be a key.
                    yield WriteFile(path=given.path, content=given.content, mode=0o600)
        left_out = {file.origin for file, _ in _clashes(options.files)}
        for file in options.files:
            if file.is_known and file.defer is self.deferred and file.origin not in left_out:
                yield _write(file)

    def remarks(self, options: WriteFilesOptions, context: Context, system: System) -> Iterable[Problem]:
        """Warn of what is left out, of files in each other's way, and of numbers that YAML may have changed."""
        yield from _in_the_way(options.files, context)
        for file in options.files:
            if not file.is_known:
                hint = "write the content here, refer to ssm:, secretsmanager: or s3:, or fetch it in runcmd"
                yield remark(context, (*file.origin, "source"), "is not fetched; the file is left out", hint)
            elif file.source is not None:
                for key in sorted(_CONTENT_KEYS & file.model_fields_set):
                    yield remark(context, (*file.origin, key), "has no effect beside source", "leave one of them out")
            if file.permissions.guessed:
                text = f'"{file.permissions.bits:04o}"'
                other = file.permissions.other
                hint = f"write {text}" + (f', or "{other:04o}" if that is meant' if other is not None else "")
                yield remark(context, (*file.origin, "permissions"), f"a number; taken for {text}", hint)


class WriteFilesDeferred(WriteFiles):
    """Writes the files with `defer: true`, when users and all else but the scripts are there."""

    name = "write_files_deferred"
    after = ("*",)
    before = ("scripts",)
    deferred = True


def _clashes(files: Iterable[File]) -> Iterator[tuple[File, File]]:
    """Yield each file that cannot be written beside an earlier one, and that one: one is to be above the other."""
    files_at: dict[str, File] = {}
    folders_for: dict[str, File] = {}
    for file in files:
        above = [str(folder) for folder in PurePosixPath(file.path).parents]
        other = folders_for.get(file.path) or next((files_at[path] for path in above if path in files_at), None)
        if other is not None:
            yield file, other
        elif file.is_known:
            files_at[file.path] = file
            folders_for |= dict.fromkeys(above, file)


def _in_the_way(files: Iterable[File], context: Context) -> Iterator[Problem]:
    for file, other in _clashes(files):
        what = "is a file" if file.path.startswith(other.path) else "is beneath it"
        message = f"{other.path} {what}, by line {context.place(other.origin).line}"
        yield remark(context, (*file.origin, "path"), message, "choose another path for one of them", Severity.ERROR)
    written: dict[str, File] = {}
    for file in files:
        if file.path in written and not file.append:
            message = f"is written again; line {context.place(written[file.path].origin).line} has no effect"
            yield remark(context, (*file.origin, "path"), message, "write it once")
        written[file.path] = file


def _write(file: File) -> Action:
    owner, _, group = file.owner.partition(":")
    if isinstance(file.source, SecretReference):
        mode = file.permissions.bits if "permissions" in file.model_fields_set else 0o600
        return WriteSecretFile(path=file.path, source=file.source, mode=mode, owner=owner, group=group or "root")
    return WriteFile(
        path=file.path,
        content=file.content,
        mode=file.permissions.bits,
        owner=owner,
        group=group or "root",
        append=file.append,
    )
