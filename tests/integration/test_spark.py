"""Spark builds the same marts: every cell of every table, on this machine and at a server of its own.

One Java for the module: it is started by the first build and kept.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from orchestration.compilation import invoke_dbt
from orchestration.engines import Engine, require_spark
from orchestration.errors import UserError
from orchestration.ingestion import ingest
from orchestration.publication import current_build_id
from orchestration.settings import REPOSITORY, Settings
from orchestration.spark import ON_THIS_MACHINE, Spark, session
from orchestration.study import Study, load_study
from orchestration.warehouse import Dbt
from tests.conftest import Home, make_home
from tests.dbt.conftest import write_lake
from tests.integration.test_public_study import LARGE, public_exports

try:
    require_spark()
except UserError as reason:
    pytest.skip(str(reason), allow_module_level=True)

SUBJECTS = int(os.environ.get("SHER2_SPARK_SUBJECTS", "30"))
MODELS = ("--exclude-resource-type", "test")
CAUTIOUS = "--select {} --indirect-selection cautious"
LAYERS = {"seeds", "staging", "intermediate", "marts", "ops"}


@pytest.fixture(scope="module", autouse=True)
def on_loopback() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        yield


def tables(database: Path) -> dict[str, list]:
    """Every table of the layers, by its name: columns with types and comments, then every row in one order."""
    found = {}
    with duckdb.connect(str(database), read_only=True) as connection:
        for schema, table, comment in connection.execute(
            "select schema_name, table_name, comment from duckdb_tables() order by all"
        ).fetchall():
            columns = connection.execute(
                "select column_name, data_type, comment from duckdb_columns()"
                " where schema_name = ? and table_name = ? order by column_index",
                [schema, table],
            ).fetchall()
            rows = connection.execute(f'select * from "{schema}"."{table}" order by all').fetchall()
            found[f"{schema}.{table}"] = [comment, columns, *rows]
    return found


def differences(one: Path, other: Path) -> dict[str, list]:
    """Tables that are not equal, each with the first rows that only one of the two has."""
    left, right = tables(one), tables(other)
    assert {name.partition(".")[0] for name in left} >= LAYERS
    return {
        name: [row for row in [*left.get(name, []), *right.get(name, [])]
               if (row in left.get(name, [])) != (row in right.get(name, []))][:4]
        for name in left.keys() | right.keys()
        if left.get(name) != right.get(name)
    }  # fmt: skip


def built_by_both(settings: Settings, folder: Path) -> tuple[Path, Path]:
    """What is in the landing folder, taken in once and built by each engine into a file of its own."""
    study = load_study(settings.study_file)
    ingest(settings, study)
    databases = []
    for name in Engine:
        dbt = Dbt(settings, study)
        dbt.database = folder / name / dbt.database.name  # dbt knows a file by its name
        dbt.database.parent.mkdir()
        # the tests of the data are those of the published study, and of the next
        results = dbt.build() if name is Engine.duckdb else Spark(dbt).build(selection=MODELS)
        failed = [result for result in results if result.is_failed]
        assert not failed, (name, failed[:3])
        databases.append(dbt.database)
    return tuple(databases)


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Home:
    """A simulated study, published from marts that Spark built."""
    from orchestration.pipeline import run_pipeline

    home = make_home(tmp_path_factory.mktemp("demo"))
    assert home.sher2("simulate", str(home.settings.landing), "--subjects", str(SUBJECTS)).returncode == 0
    outcome = run_pipeline(home.settings, engine=Engine.spark)
    assert outcome.is_success, outcome.reason
    return home


def test_a_run_on_spark_publishes_what_a_run_on_duckdb_would(demo):
    build_id = current_build_id(demo.settings)
    assert demo.value("select count(*) from marts.dim_subject") == SUBJECTS
    demo.run()
    assert current_build_id(demo.settings) == build_id
    published, built = tables(demo.settings.warehouse), tables(demo.settings.build / "warehouse.duckdb")
    del published["ops.publications"], published["ops.parameters"]  # of the publication, not of the build
    assert {name for name in published if published[name] != built.get(name)} == set()
    assert len(published["metrics.estimates"]) > 100


def test_marts_of_a_null_study_are_equal(tmp_path):
    home = make_home(tmp_path)
    made = home.sher2("simulate", str(home.settings.landing), "--subjects", str(SUBJECTS), "--seed", "2", "--null", "--layout", "site")
    assert made.returncode == 0
    assert differences(*built_by_both(home.settings, tmp_path)) == {}


def test_marts_of_the_public_study_are_equal(tmp_path, shared):
    home = public_exports(tmp_path, shared, LARGE)
    assert differences(*built_by_both(home.settings, tmp_path)) == {}


def test_tests_of_the_data_run_on_spark_as_well(tmp_path):
    home = make_home(tmp_path)
    write_lake(home.settings.lake, {}, ledger=[{"file_id": "lost", "rows_read": 3, "rows_accepted": 1}])
    shutil.copytree(home.settings.lake / "ledger", home.settings.frozen, dirs_exist_ok=True)
    dbt = Dbt(home.settings, load_study(home.settings.study_file))
    results = {r.unique_id.split(".")[2]: r for r in Spark(dbt).build(selection=CAUTIOUS.format("+files").split())}
    failed = {name: (result.status, result.failures) for name, result in results.items() if result.is_failed}
    assert failed == {"rows_add_up_files_": ("fail", 1)}


def test_an_engine_that_fails_leaves_the_publication_and_what_was_taken_in(demo, monkeypatch):
    before = demo.settings.warehouse.read_bytes()
    demo.drop("clinical/visits_late.csv", "subject_id,visit_name,visit_on\nS-NEW,WEEK 6,2024-01-05\n")
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--driver-memory 1k pyspark-shell")
    failed = demo.sher2("run", "--engine", "spark")
    assert failed.returncode == 2
    assert "spark: the session did not start" in failed.stderr and "spark.log" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert demo.settings.warehouse.read_bytes() == before
    demo.run()
    assert demo.value("select count(*) from ops.files where path = 'clinical/visits_late.csv'") == 1


# --- the macros whose dialects differ: the same inputs, the same outputs

TEXTS = [
    None, "", " ", "5", "+5", "-0.5", ".5", "5.", " 7 ", "1e3", "1E-3", "0.0000005", "-0.0000005", "0.0000004999", "-0",
    "999999999999.9999994", "999999999999.9999995", "1000000000000", "NaN", "Infinity", "1,5", "--1", "5f", "１２", "٣",
    "2024-03-01", "2024-02-29", "2023-02-29", "2024-02-30", "2024-13-01", "2024-00-10", "1900-02-29", "2000-02-29",
    "1582-10-10", "0001-01-01", "9999-12-31", "2024-03", "2024-02", "2023-02", "2024", "2024-13", "2024-3", "20240301",
    "2024-03-1T", "2024-03-1x", "abcdefghij", "2024-03-01T08:30:00Z", "2024-03-01 08:30:00", "2024-03-01T23:59:59.999999Z",
    "2024-03-01T08:30:00.5Z", "2024-02-30T08:00:00Z", "2024-03-31T02:30:00Z", "1970-01-01T00:00:00Z", "2024-03-01T23:59:60Z",
    "WEEK 12", "Week 12", "UNSCHEDULED 9.2", "DAY -7", "Cycle 2 Day 1", "C2D1", "straße", "ÉCLAIR", "ŉ", "ﬁ", "ǆ", "ı", "İ",
    "µg", "ς", "naïve Σας", "жук", "😀 a", "a\u0301", "\u00a0x\u2003", "\tx\t", " x ", "it's", "a\\b", 'a"b', "a%b_c", "a\nb",
    "LYMPH NODE", "Extranodal", "EXTRANODAL", "NODAL", "> 10 % FAINT", "10%", "no digits",
]  # fmt: skip
NUMBERS = [
    None, "0", "1", "-1", "2", "3", "-3", "7", "0.000001", "-0.000001", "0.333333", "2.5", "-2.5", "0.0000005", "64.000001",
    "63.999999", "64", "30.4375", "100", "1000000", "999999999.999999", "-999999999.999999", "1234567890",
]  # fmt: skip
DAYS = [None, "2024-02-28", "2024-03-01", "2023-12-31", "2024-12-31", "1999-12-31"]

OF_A_TEXT = """
    {{ to_decimal('t') }}, {{ to_decimal('t', 9, 3) }}, {{ to_decimal('t', 24, 12) }}, {{ to_integer('t') }},
    {{ is_full_date('t') }}, {{ to_date('t') }}, {{ earliest_date('t') }}, {{ latest_date('t') }},
    {{ imputed_date('t', 'first') }}, {{ imputed_date('t', 'mid') }}, {{ imputed_date('t', 'last') }},
    {{ to_timestamp_utc('t') }}, {{ as_text(to_timestamp_utc('t')) }}, {{ as_text(to_decimal('t')) }},
    {{ as_text(to_date('t')) }}, {{ concentration('t', "cast(0.001 as decimal(14, 6))") }},
    {{ first_number('t') }}, {{ label_stem('t') }}, {{ label_number('t') }}, {{ planned_visit_key('t') }},
    {{ is_nodal('t') }}, {{ upper_case('t') }}, {{ trimmed('t') }}, {{ upper_case(trimmed('t')) }},
    length(t), concat_ws('', t, null, '|', t), t in {{ text_list(["it's", "a\\\\b", 'a"b']) }},
    t in {{ text_list([]) }}, split_part(t, ' ', 2), replace(t, ' ', ''), substr(t, 2, 3), nullif(t, ''),
    t like '%-%', min(t) over (), max(t) over (), row_number() over (order by t desc nulls last, i),
    row_number() over (order by t nulls last, i), count(t) over (), greatest(t, 'M'), least(t, 'M'), t = 'x', t < 'a'
"""
OF_NUMBERS = """
    {{ exact_ratio('n', 'd') }}, {{ exact_ratio('n', 'd', 4) }}, {{ exact_ratio('100 * (n - d)', 'd', 4) }},
    {{ exact_ratio('i', '30.4375', 6) }}, {{ mm_text('n') }}, {{ as_text('n') }}, {{ as_text('i') }},
    cast(n * 0.5 as decimal(18, 6)), cast(n as decimal(18, 1)), 100 * n <= 80 * d, n - d >= 1.5, greatest(n, d), least(n, d),
    case when n > 0 and d > 0 then {{ safe_cast_to(log2(to_double('n') ~ ' / ' ~ to_double('d')), 'decimal(18, 9)') }} end,
    cast(sum(n) over () as decimal(24, 6)), min(n) over (order by i range between unbounded preceding and 1 preceding),
    lag(n) over (order by n nulls last, i), count(*) over (partition by n)
"""
OF_DAYS = """
    {{ days_between('a', 'b') }}, {{ study_day('b', 'a') }}, {{ add_days('a', 59) }}, {{ add_days('a', -60) }},
    {{ add_days('a', 'i') }}, {{ month_end('a') }}, {{ as_text('a') }}, a is distinct from b, greatest(a, b), least(a, b),
    coalesce(a, b), a between b and b, row_number() over (order by a desc nulls last, b nulls last, i)
"""


def literal(value) -> str:
    return "null" if value is None else "'" + value.replace("'", "''") + "'"


QUESTIONS = {
    "texts": (OF_A_TEXT, "cast(column1 as varchar) as t", [(text,) for text in TEXTS]),
    "numbers": (
        OF_NUMBERS,
        "cast(column1 as decimal(18, 6)) as n, cast(column2 as decimal(18, 6)) as d",
        [(n, d) for n in NUMBERS for d in NUMBERS],
    ),
    "days": (OF_DAYS, "cast(column1 as date) as a, cast(column2 as date) as b", [(a, b) for a in DAYS for b in DAYS]),
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> Iterator[Callable[[str, str], str]]:
    """The columns as the dialect of a target has them. The project is read once for each."""
    folder = tmp_path_factory.mktemp("dialects")
    names = {"LAKE": folder, "LEDGER": folder, "BUILD_DB": folder / "build.duckdb", "SPARK_SCHEMA": "x", "SPARK_TABLES": folder}
    variables = Study().dbt_vars()
    projects = {}

    def compiled(target: str, columns: str) -> str:
        told = {"target": target, "folder": folder / target, "variables": variables}
        if target not in projects:
            projects[target] = invoke_dbt("parse", **told)
        query = f"select i, {columns} from inputs"
        (node,) = invoke_dbt(
            "compile", "--inline", query, "--no-populate-cache", "--no-introspect", manifest=projects[target], **told
        ).results  # fmt: skip
        return node.node.compiled_code

    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(f"SHER2_{name}", str(value))
        yield compiled


def test_macros_give_the_same_on_both_engines(tmp_path, asked):
    wrong = {}
    with session(tmp_path / "spark.log") as spark, duckdb.connect() as connection:
        connection.execute("set time zone 'UTC'")
        for name, (columns, inputs, rows) in QUESTIONS.items():
            values = ", ".join(f"({', '.join(literal(value) for value in row)})" for row in rows)
            connection.execute(
                f"create or replace table inputs as select cast(row_number() over () as integer) as i, {inputs}"
                f" from (values {values}) as given({', '.join(f'column{n}' for n, _ in enumerate(rows[0], 1))})"
            )
            file = tmp_path / f"{name}.parquet"
            connection.execute(f"copy inputs to '{file}'")
            spark.read.parquet(str(file)).createOrReplaceTempView("inputs")
            here = connection.execute(asked("duckdb", columns)).fetchall()
            there = {row[0]: tuple(row) for row in spark.sql(asked("spark", columns)).collect()}
            assert len(here) == len(rows) == len(there)
            for row in here:
                for position, (ours, spark_s) in enumerate(zip(row, there[row[0]], strict=True)):
                    if ours != spark_s:
                        wrong.setdefault((name, position), []).append((rows[row[0] - 1], ours, spark_s))
    assert wrong == {}


def test_capital_letters_are_the_same_of_every_letter_of_living_scripts(tmp_path, asked):
    """Up to Greek Extended, whose iota subscripts the engines fold differently; three letters are newer than DuckDB's."""
    letters = [chr(code) for code in range(1, 0x1F00) if code not in (0x19B, 0x264, 0x1C8A)]
    with session(tmp_path / "spark.log") as spark, duckdb.connect() as connection:
        connection.execute("create table inputs (i integer, t varchar)")
        connection.executemany("insert into inputs values (?, ?)", list(enumerate(letters)))
        connection.execute(f"copy inputs to '{tmp_path / 'letters.parquet'}'")
        spark.read.parquet(str(tmp_path / "letters.parquet")).createOrReplaceTempView("inputs")
        columns = "{{ upper_case('t') }}, {{ trimmed('t') }}, length(t)"
        here = connection.execute(asked("duckdb", columns) + " order by i").fetchall()
        there = [tuple(row) for row in spark.sql(asked("spark", columns) + " order by i").collect()]
    assert [pair for pair in zip(here, there, strict=True) if pair[0] != pair[1]] == []


# --- a server of its own

PART_OF = ("stg_lab_results", "fct_visit", "files")
PART = """
import json, sys
from pathlib import Path
from orchestration.settings import Settings
from orchestration.spark import Spark
from orchestration.study import load_study
from orchestration.warehouse import Dbt
settings = Settings.from_environment()
dbt = Dbt(settings, load_study(settings.study_file))
dbt.database = Path(sys.argv[1])
results = Spark(dbt).build(selection=sys.argv[2:])
print(json.dumps({result.unique_id: [result.status, result.message] for result in results}))
"""


@pytest.fixture
def server(tmp_path) -> Iterator[str]:
    """A Spark Connect server on loopback, started and stopped here by its process."""
    import pyspark

    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    home = Path(pyspark.__file__).parent
    settings = ON_THIS_MACHINE | {
        "spark.connect.grpc.binding.address": "127.0.0.1", "spark.connect.grpc.binding.port": str(port),
        "spark.sql.warehouse.dir": str(tmp_path / "warehouse"),
    }  # fmt: skip
    command = [
        home / "bin" / "spark-submit", "--master", "local[2]", "--class", "org.apache.spark.sql.connect.service.SparkConnectServer",
        *(part for name, value in settings.items() for part in ("--conf", f"{name}={value}")), "spark-internal",
    ]  # fmt: skip
    log = tmp_path / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(part) for part in command], cwd=tmp_path, stdout=file, stderr=file, start_new_session=True,
            env=os.environ | {"SPARK_HOME": str(home)},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 240
        while not _answers(port):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.2)
        yield f"sc://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _answers(port: int) -> bool:
    with closing(socket.socket()) as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def test_a_spark_server_of_its_own_builds_the_same(demo, server, tmp_path):
    environment = os.environ | {
        "SPARK_REMOTE": server, "SHER2_HOME": str(demo.settings.home), "SHER2_STUDY": str(demo.settings.study_file),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PART, str(tmp_path / "warehouse.duckdb"), *CAUTIOUS.format(f"+{' +'.join(PART_OF)}").split()],
        env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout.splitlines()[-1])
    assert {name: told for name, told in results.items() if told[0] not in ("success", "pass")} == {}
    built, whole = tables(tmp_path / "warehouse.duckdb"), tables(demo.settings.build / "warehouse.duckdb")
    models = [name.split(".")[2] for name in results if name.startswith("model.")]
    compared = [name for name in built if name.partition(".")[2] in models]
    assert {name.partition(".")[2] for name in compared} >= set(PART_OF)
    assert {name for name in compared if built[name] != whole[name]} == set()
