"""The resources: a home and its study, held under the writer lock for the length of a run; what builds its marts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr

from orchestration import progress
from orchestration.engines import Engine, require_spark
from orchestration.errors import UserError
from orchestration.health import MENDS
from orchestration.locking import writer_lock
from orchestration.monitoring import RUN, Watch
from orchestration.processes import PROCESS, identity
from orchestration.retention import tidy
from orchestration.settings import Settings
from orchestration.spark import Spark
from orchestration.study import Study, load_study
from orchestration.warehouse import Dbt


class Home(dg.ConfigurableResource):
    """Paths as text, so that the UI can show them; the study is read anew for every run."""

    path: str
    study_file: str
    alert: str = ""
    landing_url: str = ""
    lake_url: str = ""
    workers: int = 1
    lock_timeout_seconds: float = 900

    _study: Study | None = PrivateAttr(default=None)
    _watch: Watch | None = PrivateAttr(default=None)

    @property
    def settings(self) -> Settings:
        return Settings(
            Path(self.path),
            Path(self.study_file),
            self.alert,
            landing_url=self.landing_url,
            lake_url=self.lake_url,
            workers=self.workers,
        )

    @property
    def study(self) -> Study:
        if self._study is None:
            self._study = load_study(Path(self.study_file))
        return self._study

    @property
    def dbt(self) -> Dbt:
        return Dbt(self.settings, self.study)

    @contextmanager
    def stage(self, name: str, alarm: str = RUN, *, clears: bool = False) -> Iterator[None]:
        """A part of the run: told as progress, and its error raises the alarm (see orchestration.monitoring)."""
        progress.tell(name)
        try:
            with self._watch.stage(name, alarm, clears=clears):
                yield
        except UserError as error:  # the web interface shows its text and the mend before any traceback
            raise dg.Failure(str(error), metadata={"mend": MENDS["failing_run"]}, allow_retries=False) from error

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Home"]:
        if context.run_id:
            context.instance.add_run_tags(context.run_id, {PROCESS: identity()})
        self._study = None
        settings = self.settings
        settings.prepare()
        with writer_lock(settings.home, timeout_seconds=self.lock_timeout_seconds):
            self._watch = Watch(settings)
            self._watch.begin()
            try:
                yield self
            finally:
                for reason in self._watch.end():
                    context.log.warning(reason)
            tidy(settings, context.instance)


class Marts(dg.ConfigurableResource):
    """engine: what builds the marts of a run: duckdb, or spark (docs/spark.md). The numbers are the same."""

    engine: Engine = Engine.duckdb

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        if self.engine is Engine.spark:
            require_spark()

    def builder(self, home: Home) -> Dbt | Spark:
        """Builds into the private file of the home."""
        return Spark(home.dbt) if self.engine is Engine.spark else home.dbt
