"""Apache Spark builds the dbt project from the same lake; what it built is carried into the private DuckDB file.

Spark runs beside this process in a Java of its own, or at the server that SPARK_REMOTE names (Spark Connect). It writes
its tables as Parquet below the home, which a cluster has to share with this machine as it does the lake. What follows
the marts (metrics, publication, report) is the same as with DuckDB. Dialects stand in dbt_project/macros, not here.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from duckdb import DuckDBPyConnection

from orchestration.compilation import DbtFailed, invoke_dbt
from orchestration.errors import UserError
from orchestration.warehouse import Dbt, NodeResult, Progress, connect, node_results, quoted, tell

SAME_NUMBERS = {
    # what does not fit or does not read is an error, never null and never wrapped around
    "spark.sql.ansi.enabled": "true",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",
    "spark.sql.decimalOperations.allowPrecisionLoss": "false",
    # times are plain UTC
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    # batches of an older version may lack a column
    "spark.sql.parquet.mergeSchema": "true",
    # visits follow on each other by a recursion as deep and as wide as the data
    "spark.sql.cteRecursionLevelLimit": "-1",
    "spark.sql.cteRecursionRowLimit": "-1",
}
"""Of every session, wherever it runs."""

ON_THIS_MACHINE = {
    "spark.sql.catalogImplementation": "in-memory",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    # large data are DuckDB's on one machine: queries are short, so what pays off in long ones is left out
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    # four statements at a time are enough for its processors: each is one task
    "spark.default.parallelism": "1",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.files.minPartitionNum": "1",
    # of Java: the quick compiler alone, with room for all that it makes, and few collections of a short-lived heap
    "spark.driver.memory": "1g",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:MetaspaceSize=256m"
    " -XX:+UseSerialGC -Xms1g -Xmn500m",
    # plans are described and steps logged for pages that nobody serves
    "spark.sql.ui.explainMode": "simple",
    "spark.log.level": "WARN",
}
"""Where nobody has configured Spark (SPARK_CONF_DIR, PYSPARK_SUBMIT_ARGS, SPARK_REMOTE)."""


class Spark:
    """Builds into the private file of ``dbt`` as ``dbt`` itself would."""

    def __init__(self, dbt: Dbt):
        self.dbt = dbt
        self.target = dbt.settings.build / "dbt-spark"
        self.tables = dbt.settings.build / "spark"
        self.prefix = f"sher2_{hashlib.sha256(str(dbt.settings.home).encode()).hexdigest()[:8]}"

    def build(self, progress: Progress | None = None, selection: Sequence[str] = ()) -> list[NodeResult]:
        """Build every seed and model and run every data test; a node that failed is in the result.

        Args:
            selection: a part of the project, as arguments of dbt; the tables of the others stay as laid out.

        Raises:
            UserError: Spark did not start, or its tables do not arrive on this machine.
        """
        self.dbt.lay_out()
        self.dbt.name_paths()
        os.environ |= {"SHER2_SPARK_SCHEMA": self.prefix, "SHER2_SPARK_TABLES": str(self.tables)}
        shutil.rmtree(self.tables, ignore_errors=True)
        self.target.mkdir(parents=True, exist_ok=True)
        try:
            with session(self.target / "spark.log"):
                manifest = self._invoke("parse")
                self._invoke("run-operation", "prepare_spark", manifest=manifest)
                nodes = self._invoke(
                    "build", *selection, "--exclude-resource-type", "unit_test",
                    manifest=manifest, callbacks=tell(progress),
                ).results  # fmt: skip
            built = [r.node for r in nodes if str(r.status) == "success" and r.node.config.materialized == "table"]
            with connect(self.dbt.database, read_only=False) as connection:
                for node in built:
                    self._carry_over(connection, node)
                connection.execute("checkpoint")
        finally:
            shutil.rmtree(self.tables, ignore_errors=True)
        return node_results(nodes)

    def _invoke(self, *arguments: str, **options):
        return invoke_dbt(*arguments, target="spark", folder=self.target, variables=self.dbt.vars, **options)

    def _carry_over(self, connection: DuckDBPyConnection, node) -> None:
        """One table, into the empty one that is laid out for it."""
        folder = self.tables / node.schema / node.alias
        if not (folder / "_SUCCESS").exists():
            raise UserError(
                f"spark: {folder} was written by Spark and is not on this machine. Put SHER2_HOME on storage that the"
                " cluster shares with this machine."
            )
        table = f'"{node.schema.removeprefix(self.prefix + "_")}"."{node.alias}"'
        files = f"read_parquet({quoted(f'{folder}/*.parquet')})"
        wanted = _types(connection, f"from {table}")
        for column, found in _types(connection, f"from {files}").items():
            if not _is_carried_whole(found, wanted[column]):
                raise DbtFailed(f"{table}.{column}: Spark made {found} of it, DuckDB has {wanted[column]}")
        connection.execute(f"truncate {table}")
        connection.execute(f"insert into {table} by name from {files}")


def _types(connection: DuckDBPyConnection, relation: str) -> dict[str, str]:
    return {name: kind for name, kind, *_ in connection.execute(f"describe {relation}").fetchall()}


def _is_carried_whole(found: str, wanted: str) -> bool:
    """Whether each value either arrives as it is or stops the build: numbers never change their scale."""
    integers = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
    if found in integers and wanted in integers:
        return True
    scales = [re.fullmatch(r"DECIMAL\(\d+,(\d+)\)", kind) for kind in (found, wanted)]
    return found == wanted or (None not in scales and scales[0][1] == scales[1][1])


@contextmanager
def session(log: Path) -> Iterator:
    """The Spark session of this process, which dbt's statements are sent to; stopped afterwards.

    Args:
        log: what Java writes to its standard error, which would be in the way of progress and of errors.

    Raises:
        UserError: it did not start.
    """
    from dbt.adapters.spark.session import Connection
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("sher2")
    if not os.environ.keys() & {"SPARK_REMOTE", "SPARK_CONF_DIR", "PYSPARK_SUBMIT_ARGS"}:
        builder = builder.config(map=ON_THIS_MACHINE | {"spark.sql.warehouse.dir": str(log.parent / "warehouse")})
    try:
        with _stderr_into(log):
            spark = builder.getOrCreate()
    except PySparkException as error:
        raise UserError(f"spark: the session did not start ({_first_line(error)}). See {log}.") from None
    opened = Connection.cursor
    try:
        for name, value in SAME_NUMBERS.items():
            spark.conf.set(name, value)
        Connection.cursor = lambda _: _cursor_of(spark)
        yield spark
    finally:
        Connection.cursor = opened
        spark.stop()


def _cursor_of(spark):
    """dbt's cursor, on this session as it is: dbt-spark would switch ANSI mode off before every statement."""
    from dbt.adapters.spark.session import Cursor
    from dbt_common.exceptions import DbtRuntimeError
    from pyspark.errors import PySparkException

    class SessionCursor(Cursor):
        def execute(self, sql: str, *parameters) -> None:
            try:
                self._df = spark.sql(sql % parameters if parameters else sql)
            except PySparkException as error:
                raise DbtRuntimeError(str(error)) from error

    return SessionCursor()


@contextmanager
def _stderr_into(path: Path) -> Iterator[None]:
    """Processes started meanwhile keep writing there."""
    kept = os.dup(2)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
