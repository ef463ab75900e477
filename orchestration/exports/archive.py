"""ZIP archives: their members, by name, each to be taken in as a file of its own.

Nothing is unpacked to a path that the archive names. A hostile archive is refused whole; what a member is worth is
judged when it is read.
"""

import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from orchestration.exports import Rejected, sniff

_CHUNK_BYTES = 1 << 20
_LITTER = re.compile(r"(^|/)(__MACOSX/|\.[^/]*$|Thumbs\.db$|desktop\.ini$)", re.IGNORECASE)
_DAMAGE = (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, zlib.error)
_PACKED = ("gzip", "a compressed file", "a ZIP archive")


def members(path: Path, name: str, max_bytes: int, max_members: int) -> Iterator[tuple[str, Iterator[bytes]]]:
    """(name, bytes in chunks) of each file; folders and what operating systems leave behind are passed over.

    Raises:
        Rejected: ``damaged``, ``too_large``, ``encrypted``, ``path``, ``nested_archive``, ``empty``: nothing of the
            archive may be taken in, also where it is found out late.
    """
    damaged = Rejected("damaged", f"{name}: the archive is damaged or not whole. Deliver it again.")
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = _checked(archive.infolist(), name, max_bytes, max_members)
            for member in wanted:
                with archive.open(member) as file:
                    head = file.read(sniff.HEAD_BYTES)
                if (found := sniff.sniff(head)).name in _PACKED:
                    raise Rejected(
                        "nested_archive",
                        f"{name}/{member.filename}: {found.name} inside an archive. Pack the files themselves.",
                    )
            for member in wanted:
                yield member.filename, _chunks(archive, member, damaged)
    except _DAMAGE:
        raise damaged from None


def check(members: list[zipfile.ZipInfo], name: str, max_bytes: int, max_members: int) -> None:
    """What an archive says it holds, before anything is unpacked; Python's reader never unpacks more than that.

    Raises:
        Rejected: ``too_large``, ``encrypted``, ``damaged``, ``path``.
    """
    if len(members) > max_members:
        raise Rejected(
            "too_large", f"{name}: {len(members):,} members, and ingest.max_members is {max_members:,}. Split it."
        )
    if (size := sum(member.file_size for member in members)) > max_bytes:
        raise Rejected(
            "too_large",
            f"{name}: {size >> 20:,} MB when unpacked, and ingest.max_unpacked_mb is {max_bytes >> 20:,}. Split it.",
        )
    for member in members:
        if member.flag_bits & 0x1:
            raise Rejected("encrypted", f"{name}: it is protected by a password. Deliver it without one.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Rejected("damaged", f"{name}: a member is packed by a method that is not read. Pack it as usual.")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise Rejected("path", f"{name}: it holds a link. Pack the files themselves.")


def _checked(found: list[zipfile.ZipInfo], name: str, max_bytes: int, max_members: int) -> list[zipfile.ZipInfo]:
    check(found, name, max_bytes, max_members)
    if not all(member.filename for member in found):
        raise Rejected("path", f"{name}: a member has no name. Pack plain file names.")
    wanted = [member for member in found if not member.is_dir() and not _LITTER.search(member.filename)]
    if not wanted:
        raise Rejected("empty", f"{name}: the archive holds no file. Deliver it again.")
    for member in found:
        if not _is_below(member.orig_filename) or not _is_below(member.filename):
            raise Rejected("path", f"{name}: a member's path leads out of the archive. Pack plain file names.")
    names = [member.filename.casefold() for member in wanted]
    if len(set(names)) < len(names):
        raise Rejected("path", f"{name}: two members have the same name. Pack them under names of their own.")
    return wanted


def _is_below(member: str) -> bool:
    path = PurePosixPath(member)
    if "\0" in member or "\\" in member or re.match("[A-Za-z]:", member) or len(member) > 1_000:
        return False
    return not path.is_absolute() and ".." not in path.parts


def _chunks(archive: zipfile.ZipFile, member: zipfile.ZipInfo, damaged: Rejected) -> Iterator[bytes]:
    """The checksum of a member is known only at its end, while somebody else is reading."""
    with archive.open(member) as file:
        while chunk := _next(file, damaged):
            yield chunk


def _next(file: IO[bytes], damaged: Rejected) -> bytes:
    try:
        return file.read(_CHUNK_BYTES)
    except _DAMAGE:
        raise damaged from None
