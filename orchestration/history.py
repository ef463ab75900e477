"""Dagster's own history (runs, events, ticks) in SQLite, with connections that are kept open.

Dagster builds an engine and opens a connection for each of the 800 events of a run, a third of the time from a file's
arrival to the published number. Only that is changed here: same files, same tables. No number rests on this history;
whoever deletes it loses the past of the web interface, no data.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import sqlalchemy as db
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import StaticPool

_KEPT_FILES = 4


class KeptConnections:
    """One open connection for each of the last few SQLite files of this process, used by one thread at a time."""

    def __init__(self):
        self._lock = threading.RLock()
        self._engines: OrderedDict[str, tuple[tuple[int, int], Engine]] = OrderedDict()
        self._open: dict[str, Connection] | None = None

    @contextmanager
    def transaction(self, path: str) -> Iterator[Connection]:
        """A transaction of its own, or part of the one that `together` has begun."""
        with self._lock:
            if self._open is None:
                with self._engine(path).begin() as connection:
                    yield connection
                return
            if path not in self._open:
                self._open[path] = self._engine(path).connect()
            yield self._open[path]

    @contextmanager
    def together(self) -> Iterator[None]:
        """All transactions of this thread, until it ends, are one in each file."""
        with self._lock:
            self._open = {}
            try:
                yield
                for connection in self._open.values():
                    connection.commit()
            finally:
                for connection in self._open.values():
                    connection.close()
                self._open = None

    def _engine(self, path: str) -> Engine:
        identity, engine = self._engines.pop(path, (None, None))
        if engine is not None and identity != _identity(path):  # somebody deleted or replaced the file
            engine.dispose()
            engine = None
        if engine is None:
            engine = db.create_engine(
                f"sqlite:///{path}",
                poolclass=StaticPool,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            # With a write-ahead log this is safe against crashes; a power cut may cost the last moments of history.
            db.event.listen(engine, "connect", lambda connection, _: connection.execute("pragma synchronous = normal"))
            engine.connect().close()
        self._engines[path] = _identity(path), engine
        while len(self._engines) > _KEPT_FILES:
            self._engines.popitem(last=False)[1][1].dispose()
        return engine

    def dispose(self) -> None:
        with self._lock:
            while self._engines:
                self._engines.popitem()[1][1].dispose()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


class EventLog(SqliteEventLogStorage):
    """Dagster's event log; a batch of events is one transaction."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None):
        self._connections = KeptConnections()
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        path = self.path_for_shard(shard)
        if not os.path.exists(path):
            self._initialized_dbs.discard(shard)
        if shard not in self._initialized_dbs:
            with super()._connect(shard):  # makes its tables
                pass
        with self._connections.transaction(path) as connection:
            yield connection

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        with self._connections.together():
            super().store_event_batch(events)

    def has_table(self, table_name: str) -> bool:
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        return True  # every column of this release: the file was made or migrated by it

    def dispose(self) -> None:
        super().dispose()
        self._connections.dispose()


class RunLog(SqliteRunStorage):
    """Dagster's run storage."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None):
        self._connections = KeptConnections()
        super().__init__(conn_string, inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with self._connections.transaction(self._conn_string.removeprefix("sqlite:///")) as connection:
            yield connection

    def dispose(self) -> None:
        super().dispose()
        self._connections.dispose()


class History(DagsterSqliteStorage):
    """The storage that dagster.yaml names."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None):
        super().__init__(base_dir, inst_data)
        self._run_storage = RunLog.from_local(os.path.join(base_dir, "history", ""))
        self._event_log_storage = EventLog(os.path.join(base_dir, "history", "runs", ""))

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: dict) -> Self:
        return cls(inst_data=inst_data, **config_value)
