"""Tables larger than memory should hold: rows set down in a nameless file, read back piece by piece.

What is in the rows belongs to the readers. The file lies beside the private copy that is read, and is gone with its
last user, also after a crash.
"""

import mmap
import tempfile
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

SPILL_ROWS = 500_000
"""Tables with more rows than this are set down."""


class Spilled:
    """Rows on disk. ``_row_number`` is put to them as they are read back where it is known only when all are read."""

    def __init__(self, folder: Path, batches: Iterable[pa.RecordBatch | pa.Table], schema: pa.Schema):
        self.folder, self.schema = folder, schema
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as its rows
        self._rows, self._numbers, self._last = 0, None, None
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_stream(self._file, schema, options=options) as stream:
            for batch in batches:
                self._rows += batch.num_rows
                stream.write(batch)

    @property
    def num_rows(self) -> int:
        return self._rows + (self._last.num_rows if self._last else 0)

    def finish(self, numbers: np.ndarray, last: pa.Table | None = None) -> "Spilled":
        """Number the rows, and put others after them."""
        self._numbers, self._last = numbers, last
        self.schema = self.schema.append(pa.field("_row_number", pa.int64()))
        return self

    def batches(self, names: Collection[str] | None = None) -> Iterator[pa.Table]:
        """All rows, in their order; of the columns only those of these names are unpacked."""
        places = [place for place, name in enumerate(self.schema.names) if names is None or name in names]
        held = len(self.schema) - (self._numbers is not None)
        unpacked = [place for place in places if place < held]
        start = 0
        self._file.seek(0)
        options = pa.ipc.IpcReadOptions(included_fields=unpacked or [held - 1])  # none at all would mean every one
        with pa.ipc.open_stream(self._file, options=options) as stream:
            for batch in stream:
                columns = batch.columns[: len(unpacked)]
                if len(unpacked) < len(places):
                    numbers = self._numbers[start : start + batch.num_rows]
                    columns = [*columns, pa.array(numbers, pa.int64())]
                start += batch.num_rows
                yield pa.Table.from_arrays(columns, schema=pa.schema([self.schema.field(place) for place in places]))
        if self._last:
            yield self._last.select(places)


def set_down(
    folder: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema, most: int = SPILL_ROWS
) -> "pa.Table | Spilled":
    """A table of the batches: in memory, or on disk where it has more than so many rows."""
    batches = iter(batches)
    held, rows = [], 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows > most:
            return Spilled(folder, chain(held, batches), schema)
    return pa.Table.from_batches(held, schema)


def changed(table: "pa.Table | Spilled", change: Callable[[pa.Table], pa.Table]) -> "pa.Table | Spilled":
    """The table with a change that looks at one row at a time."""
    if not isinstance(table, Spilled):
        return change(table)
    return Spilled(table.folder, map(change, table.batches()), table.schema)


def pieces(table: "pa.Table | Spilled", names: Collection[str] | None = None) -> Iterator[pa.Table]:
    """A table as it lies: whole in memory, or in pieces from disk; of the columns only those of these names."""
    if isinstance(table, Spilled):
        return table.batches(names)
    return iter((table if names is None else table.select([name for name in table.column_names if name in names]),))


def whole(table: "pa.Table | Spilled") -> pa.Table:
    """In memory, where rows are few enough by another limit."""
    return pa.concat_tables(pieces(table))


def regrouped(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of ``rows`` each; the last has the rest, and none is empty."""
    held: list[pa.Table] = []
    count = 0
    for table in tables:
        start = 0
        while table.num_rows - start >= rows - count:
            held.append(table.slice(start, rows - count))
            start += rows - count
            count = 0
            yield _together(held)
        if start < table.num_rows:
            held.append(table.slice(start))
            count += table.num_rows - start
    if held:
        yield _together(held)


def _together(held: list[pa.Table]) -> pa.Table:
    """One table of them, which are let go: who has asked for it alone holds it."""
    whole = pa.concat_tables(held)
    held.clear()
    return whole


def side_by_side(work: Callable, items: Iterable, threads: int = 2) -> Iterator:
    """The work done on each item, in their order and a few ahead: kernels of pyarrow leave Python to the others."""
    with ThreadPoolExecutor(threads) as pool:
        begun: deque = deque()
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > threads:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def ahead(items: Iterable) -> Iterator:
    """The items; the next one is made while one is used."""
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(next, iterator, end)
        while (item := begun.result()) is not end:
            begun = pool.submit(next, iterator, end)
            yield item


class Mapped:
    """The bytes of a file without holding them: what was looked at can be let go again."""

    def __init__(self, file):
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.buffer = pa.py_buffer(self._map)

    @classmethod
    def of(cls, path: Path) -> "Mapped":
        with path.open("rb") as file:
            return cls(file)

    @classmethod
    def written(cls, folder: Path, chunks: Iterable[bytes]) -> "Mapped":
        """Bytes set down in a nameless file."""
        with tempfile.TemporaryFile(dir=folder) as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            return cls(file)

    def let_go(self) -> None:
        """The pages stay in the file: they come back when they are looked at again."""
        self._map.madvise(mmap.MADV_DONTNEED)


def letting_go(items: Iterable, every: int, let_go: Callable[[], None]) -> Iterator:
    """The items; after every so many, and at the end, ``let_go`` is called."""
    for number, item in enumerate(items, 1):
        yield item
        if number % every == 0:
            let_go()
    let_go()
