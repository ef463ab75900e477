"""A build by recorded statements is the build that dbt would have made, and one that starts from the last publication is
the one that starts from nothing."""

import json
import re
import shutil
from contextlib import suppress
from dataclasses import replace as replaced
from random import Random

import duckdb
import pytest
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner

from orchestration import lake
from orchestration.compilation import CATALOG, MANIFEST, STATEMENTS, Compilation, DbtFailed, _nodes
from orchestration.errors import UserError
from orchestration.files import state
from orchestration.ingestion import ingest
from orchestration.lake import Lake
from orchestration.metrics import current_build
from orchestration.proofs import ACCEPTED, BY_SUBJECT
from orchestration.publication import publish, rollback
from orchestration.replay import Node, _Refresh, build
from orchestration.settings import DBT_PROJECT
from orchestration.simulate import write_study
from orchestration.study import load_study
from orchestration.warehouse import Dbt
from tests.conftest import make_home


def everything(database) -> dict:
    """Rows, columns, types and descriptions of every table that dbt makes."""
    with duckdb.connect(str(database), read_only=True) as connection:
        made = "schema_name not in ('metrics', 'main') and {} not in ('publications', 'parameters')"
        tables = connection.execute(
            f"select schema_name, table_name, comment from duckdb_tables() where {made.format('table_name')} union all"
            " select schema_name, view_name, comment from duckdb_views() where not internal order by all"
        ).fetchall()
        content = {
            (schema, name): connection.execute(f'select * from "{schema}"."{name}" order by all').fetchall()
            for schema, name, _ in tables
        }
        columns = connection.execute(
            "select schema_name, table_name, column_name, data_type, is_nullable, comment from duckdb_columns()"
            f" where not internal and {made.format('table_name')} order by all"
        ).fetchall()
    return {"tables": tables, "columns": columns, "content": content}


def verdicts(results) -> set:
    return {(r.unique_id, r.status, r.failures) for r in results}


def deliver(home, folder, paths) -> None:
    for path in paths:
        home.drop(path.relative_to(folder).as_posix(), path.read_bytes())
    ingest(home.settings, load_study(home.settings.study_file))


def built_by_dbt(dbt, folder, monkeypatch):
    """The same lake, built by dbt itself."""
    monkeypatch.setenv("SHER2_LAKE", str(dbt.settings.lake))
    monkeypatch.setenv("SHER2_LEDGER", str(dbt.ledger))
    monkeypatch.setenv("SHER2_BUILD_DB", str(folder / dbt.database.name))
    try:
        outcome = dbtRunner().invoke([
            "--quiet", "--log-level-file", "none", "build", "--exclude-resource-type", "unit_test",
            "--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT), "--target-path", str(folder),
            "--log-path", str(folder), "--vars", json.dumps(dbt.vars),
        ])
    finally:
        DuckDBConnectionManager.close_all_connections()
    return folder / dbt.database.name, {(r.node.unique_id, str(r.status), r.failures) for r in outcome.result}


def test_a_build_is_that_of_dbt(tmp_path, monkeypatch):
    home = make_home(tmp_path)
    write_study(tmp_path / "out", 12, 4)
    deliver(home, tmp_path / "out", sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file()))
    dbt = Dbt(home.settings, load_study(home.settings.study_file))
    results = dbt.build()
    database, of_dbt = built_by_dbt(dbt, tmp_path, monkeypatch)
    assert everything(dbt.database) == everything(database)
    assert verdicts(results) == of_dbt


@pytest.mark.parametrize(
    ("severity", "sql", "status"),
    [
        ("ERROR", "select 3, true, true", "fail"),
        ("WARN", "select 3, true, true", "warn"),
        ("WARN", "select nothing", "error"),
        ("ERROR", "select * from nowhere", "error"),
        ("ERROR", "select 0, false, false", "pass"),
    ],
)
def test_each_test_has_its_verdict(tmp_path, severity, sql, status):
    nodes = [
        Node("model.sher2.m", "table", ["create table m as select 1 as a"]),
        Node("test.sher2.t", "test", [sql], severity=severity),
        Node("model.sher2.after", "table", ["create table n as select 1 as a"]),
    ]
    results = build(nodes, tmp_path / "warehouse.duckdb", lambda name: None)
    assert [r.status for r in results] == ["success", status, "skipped" if status == "error" else "success"]
    assert any(r.is_failed for r in results) == (status in {"error", "fail"})


def test_a_project_that_dbt_refuses_says_why(tmp_path):
    with pytest.raises(DbtFailed, match="is undefined"):
        Compilation(tmp_path, "warehouse.duckdb", {"study": {}}).path(STATEMENTS)


def test_damaged_statements_are_made_anew(tmp_path):
    home = make_home(tmp_path)
    dbt = Dbt(home.settings, load_study(home.settings.study_file))

    def nodes() -> dict[str, Node]:
        made = dbt._compilation().nodes(home.settings.lake, dbt.ledger)
        return {node.unique_id: node for node in made if node.unique_id}

    before = nodes()
    path = dbt._compilation().path(STATEMENTS)
    text = path.read_text("utf-8")
    number = text.index("'Y'")
    path.unlink()  # the tests share it
    path.write_text(f"{text[:number]}'N'{text[number + 3 :]}", "utf-8")
    _nodes.cache_clear()
    assert nodes() == before


def test_a_home_takes_what_was_made_when_sher2_was_installed(tmp_path, monkeypatch):
    home = make_home(tmp_path / "a")
    variables = load_study(home.settings.study_file).dbt_vars()
    installed = Compilation(home.settings.build / "dbt", "warehouse.duckdb", variables)
    installed.path(CATALOG)
    monkeypatch.setattr("orchestration.compilation.INSTALLED", installed.folder.parent)
    taken = Compilation(tmp_path / "b", "warehouse.duckdb", variables)
    taken.start()  # returns at once: dbt would need seconds
    assert taken.is_made()
    assert {path.name: path.read_bytes() for path in taken.folder.iterdir()} == {
        name: installed.path(name).read_bytes() for name in (MANIFEST, STATEMENTS, CATALOG)
    }


def test_damaged_statements_of_the_installation_are_not_taken(tmp_path):
    home = make_home(tmp_path / "a")
    variables = load_study(home.settings.study_file).dbt_vars()
    installed = tmp_path / "installed"
    shutil.copytree(Compilation(home.settings.build / "dbt", "warehouse.duckdb", variables).folder, installed)
    with (installed / STATEMENTS).open("a") as file:
        file.write(" ")
    made = Compilation(tmp_path / "b", "warehouse.duckdb", variables)
    assert not made._is_taken_from(installed)
    assert not made.folder.exists()


def test_what_dbt_made_is_of_the_project_and_the_protocol_as_they_are(tmp_path, monkeypatch):
    def of(variables):
        return Compilation(tmp_path, "warehouse.duckdb", variables).fingerprint

    before = of({"study": {"cutoff": 15}})
    assert of({"study": {"cutoff": 15}}) == before
    assert of({"study": {"cutoff": 16}}) != before
    monkeypatch.setattr("orchestration.compilation.version", lambda name: f"another {name}")
    assert of({"study": {"cutoff": 15}}) != before
    monkeypatch.undo()
    monkeypatch.setattr("orchestration.compilation.DBT_PROJECT", tmp_path)
    assert of({"study": {"cutoff": 15}}) != before


def test_no_model_asks_for_what_is_not_in_the_lake_or_the_protocol():
    asks = re.compile(
        r"run_query|load_result|fetch_result|adapter\.(execute|get_|run_)|run_started_at|\bnow\(|current_(date|time)"
        r"|random\(|uuid|nextval"
    )
    for path in [*DBT_PROJECT.rglob("*.sql"), *DBT_PROJECT.rglob("*.yml")]:
        if "target" not in path.parts:
            assert not (found := asks.search(path.read_text("utf-8"))), f"{path}: {found}"


# --- starting from the last publication ------------------------------------------------------------------------------


LAB = "subject_id,sample_id,analyte,value,unit,collected_at,reported_at,specimen,laboratory,result_status,result_id"
LESIONS = "subject_id,lesion_id,test,value,unit,assessed_on,visit_name,evaluator"


def subjects_of(folder) -> list[str]:
    return sorted({found for path in folder.rglob("dm*.csv") for found in re.findall(r"S2-\d+-\d+", path.read_text("utf-8"))})


class Deliveries:
    """What arrives, in any order: a study's exports, corrections, retractions, the same path again, nonsense."""

    def __init__(self, running, folder, seed):
        self.running, self.random = running, Random(seed)
        write_study(folder, 8, seed)
        self.folder = folder
        self.exports = sorted(path for path in folder.rglob("*") if path.is_file())
        self.random.shuffle(self.exports)
        self.subjects = [*subjects_of(folder), "S2-999-0001"]
        self.number = 0

    def subject(self) -> str:
        return self.random.choice(self.subjects)

    def results(self, status="F", name=None) -> None:
        """A laboratory file: few samples, so that they meet again, with other values, times and states."""
        self.number += 1
        rows = []
        for _ in range(self.random.randint(1, 4)):
            sample = self.random.randint(1, 5)
            rows.append(
                f"{self.subject()},N{sample},SERUM HER2,{self.random.choice([6, 9, 21, 40])}.5,ng/mL,2024-0{sample}-10T08:00:00,"
                f"2024-0{sample}-{self.random.randint(11, 28)}T08:00:00,SERUM,LAB A,{self.random.choice([status, 'F'])},R{sample}"
            )
        self.running.home.drop(f"lab/{name or f'results_{self.number}.csv'}", "\n".join([LAB, *rows, ""]))

    def exported(self) -> None:
        for path in [self.exports.pop() for _ in range(min(40, len(self.exports)))]:
            self.running.home.drop(path.relative_to(self.folder).as_posix(), path.read_bytes())

    def new_results(self) -> None:
        self.results()

    def corrected_results(self) -> None:
        self.results("C")

    def retracted_results(self) -> None:
        self.results("D")

    def the_newest_result_of_all(self) -> None:
        """It moves the data cut-off, and so what is known of every subject."""
        self.number += 1
        day = f"2031-01-{self.number % 28 + 1:02}"
        row = f"{self.subject()},L{self.number},SERUM HER2,9.5,ng/mL,{day}T08:00:00,{day}T09:00:00,SERUM,LAB A,F,L{self.number}"
        self.running.home.drop(f"lab/late_{self.number}.csv", f"{LAB}\n{row}\n")

    def the_same_path_again(self) -> None:
        self.results(name="daily.csv")

    def measured_again(self) -> None:
        """At one of two paths, so that a subject's rows go where another one's come; visits are spelt in several ways."""
        self.number += 1
        visit = self.random.choice(["WEEK 6", "Week 6", "week 6 ", "Visit 9", "VISIT 9"])
        reader = self.random.choice(["INVESTIGATOR", "INVESTIGATOR", "INDEPENDENT ASSESSOR"])
        row = f"{self.subject()},T01,DIAMETER,{self.random.randint(10, 60)},mm,2024-03-{self.random.randint(10, 28)},{visit},{reader}"
        self.running.home.drop(f"imaging/tr_{self.random.randint(1, 2)}.csv", f"{LESIONS}\n{row}\n")

    def taken_away(self) -> None:
        """What was taken in stays."""
        paths = sorted(self.running.settings.landing.rglob("*.csv"))
        if paths:
            self.random.choice(paths).unlink()

    def a_duplicate(self) -> None:
        paths = sorted(path for path in self.running.settings.landing.rglob("*.csv"))
        if paths:
            self.number += 1
            self.running.home.drop(f"clinical/again_{self.number}.csv", self.random.choice(paths).read_bytes())

    def nonsense(self) -> None:
        self.number += 1
        self.running.home.drop(f"lab/page_{self.number}.csv", "<html>not found</html>")
        self.running.home.drop(f"lab/faulty_{self.number}.csv", f"{LAB}\n{self.subject()},N1,SERUM HER2,many,ng/mL,soon,,SERUM,LAB A,F,\n")

    def judged_again(self) -> None:
        lake = Lake(self.running.settings)
        judged = lake.ledger()["file_id"].tolist()
        if judged:
            lake.reprocess(self.random.choice(judged))

    def nothing(self) -> None:
        pass

    def merged(self) -> None:
        kept, lake._SMALL_FILES = lake._SMALL_FILES, 2
        try:
            Lake(self.running.settings).compact()
        finally:
            lake._SMALL_FILES = kept

    def restored(self) -> None:
        """From a backup: the same files, made anew."""
        records = self.running.settings.lake / "records"
        shutil.copytree(records, records.with_name("copy"))
        shutil.rmtree(records)
        records.with_name("copy").rename(records)

    def rolled_back(self) -> None:
        with suppress(UserError):
            rollback(self.running.settings)

    def not_published(self) -> None:
        self.new_results()
        self.running.build(then_publish=False)

    def killed(self) -> None:
        """A build that ends somewhere."""
        self.new_results()
        self.running.killed_at(self.random.randint(1, 300))

    def told_to_forget(self) -> None:
        Lake(self.running.settings).forget()
        self.running.dbt().forget()


class Killed(BaseException):
    pass


class Running:
    """A home whose builds start from the last publication, each compared with one from nothing."""

    def __init__(self, folder):
        self.home = make_home(folder)
        self.settings = self.home.settings
        self.apart = folder / "apart" / "warehouse.duckdb"
        self.apart.parent.mkdir()

    def dbt(self) -> Dbt:
        return Dbt(self.settings, load_study(self.settings.study_file))

    def nodes(self) -> list[Node]:
        dbt = self.dbt()
        return dbt._compilation().nodes(self.settings.lake, dbt.ledger)

    def build(self, then_publish=True, is_compared=True) -> dict[str, bool]:
        """Whether each node was built or run again, by its name."""
        study = load_study(self.settings.study_file)
        ingest(self.settings, study)
        dbt = self.dbt()
        results = dbt.build()
        assert not [r for r in results if r.is_failed]
        if is_compared:
            whole = build(self.nodes(), self.apart, lambda name: None)
            assert everything(dbt.database) == everything(self.apart)
            assert verdicts(results) == verdicts(whole)
            self.apart.unlink()
        if then_publish:
            publish(self.settings, current_build(self.settings, study, frozen=True), dbt.database)
            dbt.keep()
        return {r.unique_id.split(".")[2]: r.is_rebuilt for r in results}

    def killed_at(self, number: int) -> None:
        done = []

        def progress(*told) -> None:
            done.append(told)
            if len(done) == number:
                raise Killed

        ingest(self.settings, load_study(self.settings.study_file))
        with suppress(Killed):
            self.dbt().build(progress)


@pytest.fixture
def running(tmp_path):
    return Running(tmp_path)


@pytest.mark.parametrize("seed", [1])
def test_after_any_deliveries_it_is_the_build_from_nothing(running, tmp_path, seed):
    deliveries = Deliveries(running, tmp_path / "out", seed)
    kinds = [getattr(deliveries, name) for name, item in vars(Deliveries).items() if not name.startswith("_")]
    kinds = [kind for kind in kinds if kind not in (deliveries.subject, deliveries.results)] + [deliveries.exported] * 2
    deliveries.random.shuffle(kinds)
    deliveries.exported()
    running.build()
    while kinds:
        for kind in [kinds.pop() for _ in range(min(len(kinds), deliveries.random.randint(1, 5)))]:
            kind()
        running.build()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("published"))
    running.home.drop("lab/new.csv", f"{LAB}\nS2-001-0001,N1,SERUM HER2,21.5,ng/mL,2024-02-10T08:00:00,,SERUM,A,F,\n")
    running.build(is_compared=False)
    return running


def write_into(database) -> None:
    with duckdb.connect(str(database)) as connection:
        connection.execute("delete from staging.stg_lab_results")


def damage(database) -> None:
    """Every block, as a disk might: size and times stay."""
    with database.open("r+b") as file:
        for place in range(4 * 4096, database.stat().st_size, 4096):
            file.seek(place)
            file.write(b"damaged!")
    note = database.with_suffix(".kept.json")
    note.write_text(json.dumps(json.loads(note.read_text()) | {"file": state(database)}))


def copy_anew(path) -> None:
    """As it was, by its size and time of change, too."""
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    copy.rename(path)


def change_the_protocol(home) -> None:
    text = home.study_file.read_text()
    assert "cutoff_ng_ml: 15" in text
    home.study_file.write_text(text.replace("cutoff_ng_ml: 15", "cutoff_ng_ml: 16"))


WITHOUT_PROOF = {
    "never published": lambda home: home.build(then_publish=False, is_compared=False),
    "killed while it was built": lambda home: home.killed_at(100),
    "written into": lambda home: write_into(home.dbt().database),
    "swapped": lambda home: copy_anew(home.dbt().database),
    "damaged": lambda home: damage(home.dbt().database),
    "gone": lambda home: home.dbt().database.unlink(),
    "left open": lambda home: home.dbt().database.with_name("warehouse.duckdb.wal").write_bytes(b""),
    "the note is torn": lambda home: home.dbt().database.with_suffix(".kept.json").write_text('{"made_of": ['),
    "another parcel": lambda home: copy_anew(next((home.settings.lake / "records/lab_results").glob("[0-9]*.parquet"))),
    "full refresh": lambda home: home.dbt().forget(),
    "another protocol": lambda home: change_the_protocol(home.settings),
}


@pytest.mark.parametrize("event", WITHOUT_PROOF)
def test_without_proof_everything_is_built_anew(published, event):
    assert not all(published.build(is_compared=False).values())
    WITHOUT_PROOF[event](published)
    assert all(published.build().values())


def test_by_other_code_everything_is_built_anew(published, monkeypatch):
    monkeypatch.setattr("orchestration.publication.code_version", lambda: "another")
    assert all(published.build(is_compared=False).values())


def test_what_a_delivery_does_not_concern_rests(running, tmp_path):
    write_study(tmp_path / "out", 8, 5)
    deliver(running.home, tmp_path / "out", sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file()))
    assert all(running.build().values())
    again = running.build()
    assert sorted(name for name, is_rebuilt in again.items() if is_rebuilt and not name.startswith("source_")) == [
        "int_findings_data", "quarantine", "stg_files", "validations",
    ]  # fmt: skip
    subject = subjects_of(tmp_path / "out")[0]
    row = f"{subject},N1,SERUM HER2,21.5,ng/mL,2024-02-10T08:00:00,2024-02-11T08:00:00,SERUM,A,F,"
    running.home.drop("lab/new.csv", f"{LAB}\n{row}\n")
    rebuilt = running.build()
    assert rebuilt["stg_lab_results"] and rebuilt["fct_her2_delta"]
    assert not rebuilt["stg_tumor_measurements"] and not rebuilt["int_lesion_values"] and not rebuilt["fct_response"]


def test_what_is_spared_is_proved_of_each_model(running):
    nodes = running.nodes()
    readings = {node.unique_id.split(".")[2]: node.reading for node in nodes if node.kind in {"table", "view"}}
    assert readings["stg_visit_spellings"] == ACCEPTED
    assert sorted(name for name, reading in readings.items() if reading != BY_SUBJECT) == [
        "files", "findings", "int_data_cutoff", "int_evaluators", "int_findings_baselines", "int_findings_data",
        "int_findings_deliveries", "int_findings_response", "int_findings_serum_her2", "int_findings_subjects",
        "int_findings_visits", "int_planned_imaging", "int_visit_windows", "quarantine", "stg_files", "stg_visit_spellings",
        "validations",
    ]  # fmt: skip
    assert not [node.unique_id for node in nodes if node.kind not in {"", "seed"} and not node.is_steady]


def test_marts_are_built_for_the_subjects_of_a_delivery(running, tmp_path, monkeypatch):
    write_study(tmp_path / "out", 12, 5)
    deliver(running.home, tmp_path / "out", sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file()))
    running.build()
    whole, build_anew = [], _Refresh._anew
    monkeypatch.setattr(
        _Refresh, "_anew", lambda run, node, **of: whole.append(node.unique_id.split(".")[2]) or build_anew(run, node, **of)
    )
    row = f"{subjects_of(tmp_path / 'out')[0]},N1,SERUM HER2,21.5,ng/mL,2024-02-10T08:00:00,2024-02-11T08:00:00,SERUM,A,F,"
    running.home.drop("lab/new.csv", f"{LAB}\n{row}\n")
    assert running.build()["fct_her2_delta"]
    assert {"fct_her2_delta", "fct_visit", "stg_lab_results", "dim_subject", "fct_time_to_event"}.isdisjoint(whole)
    assert {name for name in whole if not name.startswith(("int_findings", "findings"))} <= {
        "files", "int_data_cutoff", "int_evaluators", "quarantine", "stg_files", "validations",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "are_equal"),
    [
        ("select 1 as a union all select 1", "select 1 as a union all select 1", True),
        ("select 1 as a union all select 1 union all select 2", "select 1 as a union all select 2 union all select 2", False),
        ("select 1 as a", "select 1::bigint as a", False),
        ("select 1 as a", "select 1 as b", False),
        ("select 1.0::decimal(9, 1) as a", "select 1.0::decimal(9, 2) as a", False),
        ("select null::integer as a", "select null::integer as a", True),
        ("select null::integer as a", "select 0 as a", False),
        ("select 'nan'::double as a", "select 'nan'::double as a", True),
        ("select 0.0::double as a", "select -0.0::double as a", False),
        ("select 0.1::double + 0.2::double as a", "select 0.3::double as a", False),
        ("select 'a' as a", "select 'a ' as a", False),
        ("select [1] as a", "select [1] as a", False),
        ("select interval 1 month as a", "select interval 30 days as a", False),
        ("select 1 as a, 2 as b", "select 1 as b, 2 as a", False),
        ("from range(5) as t (a)", "from range(4, -1, -1) as t (a)", True),
    ],
)
def test_two_tables_are_equal_only_when_they_are_the_same(tmp_path, one, other, are_equal):
    with duckdb.connect() as connection:
        connection.execute(f"create table one as {one}")
        connection.execute(f"create table other as {other}")
        assert _Refresh([], connection, tmp_path, {})._are_equal("one", "other") == are_equal


def test_a_build_that_failed_is_no_start(published, monkeypatch):
    nodes = published.nodes()
    broken = replaced(nodes[-1], statements=["select * from nowhere"], kind="table", is_steady=False)
    with monkeypatch.context() as patched:
        patched.setattr(Compilation, "nodes", lambda *arguments: [*nodes[:-1], broken])
        dbt = published.dbt()
        assert dbt.build()[-1].status == "error"
        dbt.keep()
    assert all(published.build(is_compared=False).values())
