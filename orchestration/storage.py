"""Objects of an S3-compatible bucket below a prefix, by name: list, read, create once, overwrite, remove.

What the objects mean is the landing folder's and the lake's. Endpoint and credentials come from the usual AWS
environment variables; s3fs (extra sher2[s3]) is imported only where a bucket is configured.
"""

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from orchestration.errors import UserError

_URL = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[^?#]*?))?/?")
_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 5, 60, 3
_BLOCK = 8 << 20
_AT_ONCE = 64
_PROBE = ".sher2"


class StorageError(UserError, OSError):
    """The storage did not do what it was asked for: no fault of any file."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Object:
    """``etag`` changes with the bytes; ``modified``: seconds since 1970 by the server's clock."""

    bytes: int
    etag: str
    modified: float


def checked(key: str, url: str) -> str:
    """The URL as it stands in an environment variable; empty where there is none.

    Raises:
        UserError: it is no bucket.
    """
    if url and not _URL.fullmatch(url):
        raise UserError(
            f"{key}: {url!r} is no bucket. Write s3://BUCKET or s3://BUCKET/PREFIX (endpoint and credentials stand in"
            " AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), or leave it out for the folder of the home."
        )
    return url


class Bucket:
    """A bucket and a prefix. Whatever it is asked for and cannot do is a `StorageError` with the mend."""

    def __init__(self, key: str, url: str):
        self._key, self._url = key, url
        found = _URL.fullmatch(checked(key, url))
        self._bucket, prefix = found["bucket"], found["prefix"]
        self._prefix = f"{prefix}/" if prefix else ""
        try:
            import s3fs
        except ImportError:
            raise UserError(
                f"{key}: {url} needs s3fs, which is not installed. Install the extra: pip install 'sher2[s3]'"
            ) from None
        with self._told():
            self._files = s3fs.S3FileSystem(
                skip_instance_cache=True,  # one is kept here, with the environment as it is now
                use_listings_cache=False,
                default_block_size=_BLOCK,
                config_kwargs={
                    "connect_timeout": _CONNECT_SECONDS,
                    "read_timeout": _READ_SECONDS,
                    "retries": {"max_attempts": _ATTEMPTS, "mode": "standard"},
                },
            )
            self._files.retries = _ATTEMPTS
            self._files.call_s3("list_objects_v2", Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)

    def refuse_unless_created_once(self) -> None:
        """A server that overwrites what it was asked to create would lose batches.

        Raises:
            UserError: it does, or nothing may be written.
        """
        self._create(_PROBE, b"")
        if self._create(_PROBE, b""):
            raise UserError(
                f"{self._key}: {self._url}: the server overwrites an object that it is asked to create (it ignores"
                " If-None-Match: *), so two machines could overwrite each other's batches. Use one that does not."
            )

    def objects(self, prefix: str = "") -> dict[str, Object]:
        """Every object whose name begins so, by name."""
        with self._told():
            found = self._files.find(f"{self._bucket}/{self._prefix}{prefix}", prefix="", detail=True)
        start = len(f"{self._bucket}/{self._prefix}")
        return {
            name[start:]: Object(item["size"], item["ETag"].strip('"'), item["LastModified"].timestamp())
            for name, item in found.items()
            if item["type"] == "file"
        }

    def exists(self, name: str) -> bool:
        with self._told():
            return self._files.exists(self._at(name))

    def read(self, name: str) -> bytes | None:
        """The bytes of a small object; None where there is none."""
        with self._told():
            try:
                return self._files.cat_file(self._at(name))
            except FileNotFoundError:
                return None

    def chunks(self, name: str, etag: str | None = None) -> Iterator[bytes]:
        """The bytes of an object, all of one state of it.

        Args:
            etag: the state that is wanted.

        Raises:
            FileNotFoundError: there is none, or not in that state, or it was replaced while it was read.
        """
        with self._told():
            file = self._files.open(self._at(name), "rb", cache_type="readahead")
        with file:
            if etag not in (None, file.details["ETag"].strip('"')):
                raise FileNotFoundError(name)
            while chunk := self._next(file):
                yield chunk

    def _next(self, file) -> bytes:
        from fsspec.exceptions import FSTimeoutError
        from s3fs.utils import FileExpired

        with self._told():
            try:
                return file.read(_BLOCK)
            except (FileExpired, FSTimeoutError):
                raise FileNotFoundError(file.path) from None

    def fetch(self, wanted: Mapping[str, Path]) -> None:
        """Download objects, each under a temporary name before its own."""
        names = list(wanted)
        for start in range(0, len(names), _AT_ONCE):
            part = {name: wanted[name].with_name(f".{secrets.token_hex(8)}.tmp") for name in names[start:][:_AT_ONCE]}
            with self._told():
                self._files.get([self._at(name) for name in part], [str(path) for path in part.values()])
            for name, temporary in part.items():
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                temporary.replace(wanted[name])

    def create(self, name: str, source: Path) -> bool:
        """Upload a file under a name that nobody has; False where somebody has it already, with other bytes.

        A request is repeated when its answer is lost, so that a name that is taken may have been taken by us.
        """
        with self._told():
            try:
                self._files.put_file(str(source), self._at(name), mode="create")
            except FileExistsError:
                return self._files.cat_file(self._at(name)) == source.read_bytes()
            except OSError as error:
                if _code(error) != "ConditionalRequestConflict":  # another one is creating it at this moment
                    raise
                return False
        return True

    def keep(self, name: str, source: Path) -> None:
        """Upload a file whose name says what is in it, unless it is there."""
        with self._told():
            try:
                self._files.put_file(str(source), self._at(name), mode="create")
            except FileExistsError:
                return

    def write(self, name: str, content: bytes) -> None:
        """Write a small object, over what is there."""
        with self._told():
            self._files.pipe_file(self._at(name), content)

    def move(self, name: str, other: str) -> None:
        with self._told():
            self._files.mv(self._at(name), self._at(other))

    def remove(self, names: list[str]) -> None:
        if names:
            with self._told():
                self._files.rm([self._at(name) for name in names])

    def _create(self, name: str, content: bytes) -> bool:
        with self._told():
            try:
                self._files.pipe_file(self._at(name), content, mode="create")
            except FileExistsError:
                return False
        return True

    def _at(self, name: str) -> str:
        return f"{self._bucket}/{self._prefix}{name}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (UserError, FileExistsError, MemoryError):
            raise
        except FileNotFoundError as error:
            if "bucket" not in str(error).lower():
                raise
            raise self._error("there is no such bucket. Create it or mend the name.") from None
        except PermissionError as error:
            raise self._error(
                f"access is refused ({_first_line(error)}). Mend the credentials (AWS_ACCESS_KEY_ID,"
                " AWS_SECRET_ACCESS_KEY) or the bucket's policy: list, read, write and delete are needed."
            ) from None
        except Exception as error:
            raise self._error(
                f"cannot be reached or does not answer as it should ({type(error).__name__}: {_first_line(error)})."
                " Is AWS_ENDPOINT_URL right and the server up?"
            ) from None

    def _error(self, text: str) -> StorageError:
        return StorageError(f"{self._key}: {self._url}: {text}")


def _code(error: Exception) -> str:
    """What S3 calls an error."""
    return getattr(error.__cause__, "response", {}).get("Error", {}).get("Code", "")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")


@cache
def bucket_of(key: str, url: str, is_ours: bool) -> Bucket | None:
    """The bucket that an environment variable names, found usable once a process; None where it names none.

    Args:
        is_ours: we write there.
    """
    if not url:
        return None
    bucket = Bucket(key, url)
    if is_ours:
        bucket.refuse_unless_created_once()
    return bucket
