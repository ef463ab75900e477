"""Backup and restore of a home, as one tar file whose every byte is vouched for.

In it: the landing folder, the lake, what is published, kept builds, cuts, reports and monitoring. Not in it: what a run
makes anew (build), and Dagster's history, which decides nothing about data and is open while the web interface runs.
"""

import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from orchestration.errors import UserError
from orchestration.settings import Settings

LEFT_OUT = ("build", "dagster", ".lock", ".restoring")
PRIVATE = ("lake", "builds", "cuts")
_MANIFEST = "MANIFEST.json"
_BLOCK = 1 << 20


def backup(settings: Settings, target: Path) -> int:
    """Write the home into a tar file, whole or not at all. The caller holds the writer lock.

    Returns:
        how many files are in it.

    Raises:
        UserError: the target exists or lies in the home, there is no room, or a file changed while it was read.
    """
    target = target.absolute()
    if target.exists():
        raise UserError(f"backup: {target} is there already. Choose another name: a backup is never written over.")
    if target.parent.resolve().is_relative_to(settings.home):
        raise UserError(f"backup: {target} lies in the home itself. Choose a place outside, better on another disk.")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    hashes = {}
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw:
            with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for path in _files(settings.home):
                    name = path.relative_to(settings.home).as_posix()
                    hashes[name] = _add(tar, path, name)
                content = json.dumps(hashes, indent=0, sort_keys=True).encode()
                last = tarfile.TarInfo(_MANIFEST)
                last.size = len(content)
                tar.addfile(last, io.BytesIO(content))
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise UserError(
            f"backup: {target} was not written ({error.strerror or error}). Make room and try again."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return len(hashes)


def restore(settings: Settings, source: Path) -> int:
    """Unpack a backup into an empty home; nothing is put in place before every file's hash was found right.

    Returns:
        how many files were restored.

    Raises:
        UserError: the home holds something, or the file is no whole backup.
    """
    home = settings.home
    home.mkdir(parents=True, exist_ok=True)
    unpacked = home / ".restoring"
    if held := next(_files(home), None):
        raise UserError(
            f"restore: {home} is not empty (it holds {held.relative_to(home)}, for one). Point SHER2_HOME at an"
            " empty folder, or move what is there away."
        )
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir(mode=0o700)
    try:
        with tarfile.open(source, "r:") as tar:
            told, hashes = None, {}
            for member in tar:
                if told is not None or not member.isreg() or not _is_inside(member.name):
                    raise UserError(
                        f"restore: {source}: {member.name!r} is nothing that a backup holds. Nothing restored."
                    )
                file = tar.extractfile(member)
                if member.name == _MANIFEST:
                    told = json.load(file)
                else:
                    hashes[member.name] = _unpack(file, member, unpacked / member.name)
    except (OSError, tarfile.TarError, ValueError) as error:
        raise UserError(f"restore: {source}: cannot be read ({error}). Nothing was restored.") from None
    if told != hashes:
        wrong = "it is cut short" if told is None else f"{_first_wrong(told, hashes)} is not what was backed up"
        raise UserError(f"restore: {source}: {wrong}. Nothing was restored: take another backup.")
    for path in sorted(unpacked.iterdir()):
        place = home / path.name
        if place.is_dir():
            shutil.rmtree(place)  # empty folders: nothing was found in them
        if path.name in PRIVATE:
            path.chmod(0o700)
        os.replace(path, place)
    unpacked.rmdir()
    return len(hashes)


def _files(home: Path) -> Iterator[Path]:
    """Regular files of a home, but for what is left out and what is half written."""
    for folder, folders, names in os.walk(home):
        here = Path(folder)
        left_out = LEFT_OUT if here == home else ()
        folders[:] = sorted(name for name in folders if name not in left_out)
        for name in sorted(set(names).difference(left_out)):
            path = here / name
            is_half_written = (
                name.startswith(".") and name.endswith(".tmp") and not path.is_relative_to(home / "landing")
            )
            if not is_half_written and stat.S_ISREG(path.lstat().st_mode):
                yield path


def _add(tar: tarfile.TarFile, path: Path, name: str) -> str:
    with path.open("rb") as file:
        member = tar.gettarinfo(arcname=name, fileobj=file)
        member.type, member.linkname = tarfile.REGTYPE, ""  # a hard link is a file like any other
        member.size = os.fstat(file.fileno()).st_size
        member.uname = member.gname = ""
        hashing = _Hashing(file)
        tar.addfile(member, hashing)
        return hashing.digest.hexdigest()


class _Hashing:
    """A file as tarfile reads it, hashed on the way."""

    def __init__(self, file: BinaryIO):
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        block = self._file.read(size)
        self.digest.update(block)
        return block


def _unpack(file: BinaryIO, member: tarfile.TarInfo, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("xb") as out:
        while block := file.read(_BLOCK):
            digest.update(block)
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    target.chmod(member.mode & 0o755)
    os.utime(target, (member.mtime, member.mtime))
    return digest.hexdigest()


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.parts[:1] not in [(part,) for part in LEFT_OUT]


def _first_wrong(told: dict, hashes: dict) -> str:
    return min(name for name in told.keys() | hashes.keys() if told.get(name) != hashes.get(name))
