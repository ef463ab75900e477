"""Files as such: which they are, and that they outlast a power cut. What they hold, no module here knows."""

import hashlib
import os
from pathlib import Path


def tree_hash(*folders: Path) -> str:
    """sha256 over names and bytes of all source files below the folders."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if (
                path.suffix in {".py", ".sql", ".yml", ".yaml", ".csv", ".json", ".jinja"}
                and "target" not in path.parts
            ):
                digest.update(path.relative_to(folder.parent).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Have a file, or what was renamed and removed in a folder, outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def state(path: Path) -> list[int] | None:
    """Another one after whatever was done to a file; None where there is none, or where a database is still open."""
    if not path.exists() or path.with_name(path.name + ".wal").exists():
        return None
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
