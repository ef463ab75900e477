"""Parsers that may crash, hang or swell run in a child process; what comes back is tables or a refusal.

The child may use so much memory and time (study.yaml: ingest), sees none of our environment, and writes nothing but
its answer. One child serves many files and is replaced after a fault, so that a file costs no start of Python.

A reader module offers ``parse(path, **options)``, a generator of `Parsed`, which runs in the child.
"""

import atexit
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from orchestration.exports import Rejected
from orchestration.exports.spill import SPILL_ROWS, Spilled, set_down
from orchestration.settings import REPOSITORY

if TYPE_CHECKING:
    from orchestration.study import Ingest

_FILES_A_CHILD = 200
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")


Table = pa.Table | Spilled


@dataclass(frozen=True)
class Parsed:
    """One table as a parser hands it over: ``title`` and ``about`` (plain JSON) beside the columns."""

    title: str
    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]
    about: dict = field(default_factory=dict)


def tables(parser: str, path: Path, name: str, limits: "Ingest", **options) -> list[tuple[str, Table, dict]]:
    """(title, table, about) of all that ``parser`` (a module's name) finds in a file; many rows lie beside it on disk.

    Raises:
        Rejected: as the parser does, or ``crashed``, ``too_slow``, ``too_much_memory``.
    """
    global _child
    request = {"parser": parser, "path": str(path), "name": name, "options": options}
    with _lock:
        if _child is None or not _child.serves(limits):
            close()
            _child = _Child(limits)
        try:
            return _child.ask(request, path.parent)
        except Rejected:
            raise  # a whole answer: the child goes on
        except _Broken as fault:
            reason = _child.end()
            _child = None
            rule, what = reason or ("crashed", f"the parser of this format broke on it ({fault})")
            raise Rejected(rule, f"{name}: {what}. Export it again, or deliver it as CSV.") from None
        except BaseException:  # the run was interrupted: the answer is half read
            close()
            raise


class _Broken(Exception):
    """The child did not answer to the end."""


class _Child:
    def __init__(self, limits: "Ingest"):
        self._limits, self._files, self._is_late = limits, 0, False
        kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TZ") if key in os.environ}
        environment = kept | _ONE_THREAD | {"PYTHONPATH": str(REPOSITORY), "ARROW_DEFAULT_MEMORY_POOL": "system"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "orchestration.exports.confined", str(limits.parser_memory_mb)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip

    @property
    def process_id(self) -> int:
        return self._process.pid

    def serves(self, limits: "Ingest") -> bool:
        return limits == self._limits and self._files < _FILES_A_CHILD and self._process.poll() is None

    def ask(self, request: dict, folder: Path) -> list[tuple[str, Table, dict]]:
        self._files += 1
        watch = threading.Timer(self._limits.parser_seconds, self._too_late)
        watch.start()
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            return list(self._answer(folder))
        except (OSError, EOFError, ValueError, pa.ArrowInvalid) as error:
            raise _Broken(type(error).__name__) from None
        finally:
            watch.cancel()

    def _answer(self, folder: Path) -> Iterator[tuple[str, Table, dict]]:
        out, most = self._process.stdout, SPILL_ROWS
        while True:
            head = json.loads(out.readline() or b"?")
            if "rule" in head:
                raise Rejected(head["rule"], head["message"])
            if "title" not in head:
                return
            with pa.ipc.open_stream(pa.PythonFile(out, mode="r")) as stream:
                table = set_down(folder, stream, stream.schema, most)
            most -= table.num_rows if isinstance(table, pa.Table) else 0
            yield head["title"], table, head["about"]

    def _too_late(self) -> None:
        self._is_late = True
        self._process.kill()

    def end(self) -> tuple[str, str] | None:
        """Stop the child; the reason where it is known."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()
        self._process.wait()
        if self._is_late:
            seconds = self._limits.parser_seconds
            return "too_slow", f"not read within {seconds:,} s (ingest.parser_seconds in study.yaml)"
        return None


_child: _Child | None = None
_lock = threading.RLock()


@atexit.register
def close() -> None:
    """Let the child go; the next file starts another one."""
    global _child
    if _child is not None:
        _child.end()
        _child = None


def process_id() -> int | None:
    """Of the child, if there is one."""
    return _child.process_id if _child is not None else None


# --- in the child --------------------------------------------------------------------------------------------------


def _serve(memory_mb: int) -> None:
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not reach the answer
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (memory_mb << 20),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (memory_mb << 20,) * 2)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        name = request["name"]
        try:
            for parsed in import_module(request["parser"]).parse(request["path"], **request["options"]):
                _tell(answer, {"title": parsed.title, "about": parsed.about})
                with pa.ipc.new_stream(answer, parsed.schema) as stream:
                    for batch in parsed.batches:
                        stream.write_batch(batch)
            _tell(answer, {})
        except Rejected as refusal:
            _tell(answer, {"rule": refusal.rule, "message": refusal.message.replace(request["path"], name)})
        except MemoryError:
            what = f"more than {memory_mb:,} MB of memory to read (ingest.parser_memory_mb in study.yaml)"
            _tell(answer, {"rule": "too_much_memory", "message": f"{name}: it needs {what}. Split the export."})
        except Exception as error:
            kind = type(error).__name__
            what = f"it is damaged, not whole or no file of its kind ({kind})"
            damaged = f"{name}: {what}. Export it again, or deliver it as CSV."
            _tell(answer, {"rule": "damaged", "message": damaged})


def _tell(answer, content: dict) -> None:
    answer.write(json.dumps(content).encode() + b"\n")
    answer.flush()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
