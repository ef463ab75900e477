"""Dagster's own history in PostgreSQL (SHER2_HISTORY), with connections that are kept open.

Dagster opens 2,450 connections for a run, a fifth of its CPU time. Only that is changed here: same tables. A kept
connection is tried before it is used, so that a server that was started again is noticed by nobody.
"""

from typing import Self

import sqlalchemy as db
from dagster import StringSource
from dagster._config.config_schema import UserConfigSchema
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from sqlalchemy.engine import Engine

_KEPT = 2
"""Connections a process keeps; more are opened while more threads need one."""


def engine(url: str, **arguments) -> Engine:
    """An engine for a postgresql:// URL, on the driver that dagster-postgres is written for.

    SQLAlchemy 2.1 would take psycopg 3 for it, in which `with connection:` closes the connection.
    """
    return db.create_engine(db.make_url(url).set(drivername="postgresql+psycopg2"), **arguments)


class EventLog(PostgresEventLogStorage):
    """Dagster's event log; the end of its instance is that of the kept connections."""

    def dispose(self) -> None:
        super().dispose()
        self._engine.dispose()


class SharedHistory(DagsterPostgresStorage):
    """The storage that dagster.yaml names where SHER2_HISTORY is set."""

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None):
        kept = engine(postgres_url, isolation_level="AUTOCOMMIT", pool_size=_KEPT, max_overflow=-1, pool_pre_ping=True)
        url = kept.url.render_as_string(hide_password=False)
        super().__init__(url, inst_data=inst_data)
        self._event_log_storage = EventLog(url, should_autocreate_tables=False)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = kept

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {"postgres_url": StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: dict) -> Self:
        return cls(inst_data=inst_data, **config_value)
