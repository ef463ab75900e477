"""The exclusions that count. Who builds and publishes holds the lock of the home; who writes into the lake shares the
lake's. Readers take none."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestration.errors import UserError

_POLL_SECONDS = 0.1


@contextmanager
def writer_lock(home: Path, timeout_seconds: float = 60) -> Iterator[None]:
    """Hold the writer lock of a home; not re-entrant.

    The kernel frees it when its holder ends, however it ends, so there is never a stale lock to remove.

    Raises:
        UserError: another process held it for the whole time; names its pid and command.
    """
    descriptor = os.open(home / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + timeout_seconds
        while not _taken(descriptor):
            if time.monotonic() >= deadline:
                raise UserError(
                    f"SHER2_HOME: {home} is being written by {_holder(descriptor)}. "
                    f"Waited {timeout_seconds:g} s; wait until it has ended, then try again."
                )
            time.sleep(_POLL_SECONDS)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()}: {' '.join(sys.argv)[:200]}".encode(errors="replace"), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file that nobody else holds, shared or exclusively; yields whether it is held."""
    with _opened(path) as descriptor:
        if wait:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield wait or _taken(descriptor)


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold a lock file together with others, none of them exclusively; waits for as long as it takes."""
    with _opened(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_held(home: Path) -> bool:
    """Whether somebody holds the writer lock at this moment."""
    try:
        descriptor = os.open(home / ".lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that only ask do not find each other
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 1000, 0).decode(errors="replace") or "another process"
