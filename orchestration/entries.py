"""The files of the ledger as one table, however many they are.

A ledger file never changes, so each is read once: what was read is remembered in this process and, below HOME/build,
for the next one. That memory decides nothing: where a file is gone or not what it was (its size, times and inode), or
the memory itself cannot be read, every file is read anew.
"""

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_WORTH_WRITING = 64  # files: what a process reads beside the memory of an earlier one

State = tuple[int, ...]


@dataclass(frozen=True)
class _Remembered:
    states: dict[str, State]  # of each file that was read, by its name
    rows: pa.Table
    written: int  # how many of the files are remembered on disk


_in_this_process: dict[Path, _Remembered] = {}


def read(folder: Path, names: list[str], schema: pa.Schema, memory: Path) -> pa.Table:
    """The rows of these Parquet files, in no order.

    Args:
        memory: file in which they are remembered for later processes.
    """
    states = {name: _state(folder / name) for name in names}
    nothing = _Remembered({}, schema.empty_table(), 0)
    known = _in_this_process.get(folder) or _from_disk(memory, schema) or nothing
    if not known.states.items() <= states.items():
        known = nothing
    if new := [name for name in names if name not in known.states]:
        tables = [pq.read_table(folder / name, schema=schema) for name in new]
        known = _Remembered(states, pa.concat_tables([known.rows, *tables]).combine_chunks(), known.written)
    if len(known.states) - known.written >= _WORTH_WRITING:
        with contextlib.suppress(OSError):  # no room, or a home that is only read: the next one reads the files
            _to_disk(memory, known)
            known = _Remembered(known.states, known.rows, len(known.states))
    _in_this_process[folder] = known
    return known.rows


def _state(path: Path) -> State:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _from_disk(memory: Path, schema: pa.Schema) -> _Remembered | None:
    try:
        rows = pq.read_table(memory)
        states = json.loads(rows.schema.metadata[b"files"])
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError):
        return None
    if not rows.schema.equals(schema):  # written by an earlier version
        return None
    return _Remembered({name: tuple(state) for name, state in states}, rows.replace_schema_metadata(), len(states))


def _to_disk(memory: Path, known: _Remembered) -> None:
    temporary = memory.with_name(f".{memory.name}.{os.getpid()}.tmp")
    pq.write_table(known.rows.replace_schema_metadata({"files": json.dumps(list(known.states.items()))}), temporary)
    temporary.replace(memory)
