"""A refreshed file is one that is built from nothing, whatever the form of its queries: a project of a few of each."""

from dataclasses import dataclass, replace
from random import Random
from types import SimpleNamespace

import duckdb
import pytest

from orchestration import replay
from orchestration.proofs import BY_SUBJECT
from orchestration.replay import Statements, build, refresh

FILES = "model.sher2.stg_files"
RECORD = "source.sher2.lake.lab_results"
ROWS = """(
    select lake_rows.*, files.path
    from read_parquet('{lake}/records/lab_results/*.parquet', union_by_name = true) as lake_rows
    inner join "w"."main"."stg_files" as files
        on lake_rows._file_id = files.file_id and lake_rows._batch = files.parcel
    where lake_rows._rejected_by is null and files.is_in_force /* of subjects: lake_rows.subject_id */
)"""
BASE = {
    "one": "select subject_id, value, path from {rows} as accepted",
    "two": "select subject_id, max(value) as value, count(*) as number from {rows} as accepted group by subject_id, path",
    "seen": "select subject_id, value, path from {rows} as accepted where value > 1",  # a view
    "study": "select max(value) as most, count(distinct subject_id) as subjects from {one} as rows_of_all",
}

OF_ONE_SUBJECT = [
    "select subject_id, max(value) as value from {one} as r group by subject_id",
    "select distinct subject_id, value from {one} as r",
    "select a.subject_id, b.number as value from {one} as a left join {two} as b on a.subject_id = b.subject_id and a.value = b.value",
    "select a.subject_id, s.most - a.value as value from {one} as a cross join {study} as s",
    "select subject_id, row_number() over (partition by subject_id order by value, path) as value from {one} as r",
    "select subject_id, value from {one} as r where value in (select most from {study})",
    "with a as (select subject_id, value from {one} as r), b as (select * from a)"
    " select * from b union all select subject_id, number from {two} as r",
    "with recursive steps as (select subject_id, min(value) as value from {one} as r group by subject_id union"
    " select r.subject_id, r.value from steps inner join {one} as r on steps.subject_id = r.subject_id and r.value = steps.value + 1)"
    " select subject_id, value from steps",
    "select a.subject_id, b.value from {seen} as a inner join {two} as b on a.subject_id = b.subject_id",
    "select a.subject_id, b.value from {seen} as a left join {seen} as b on a.subject_id = b.subject_id and a.value < b.value",
]  # fmt: skip
OF_SEVERAL = [
    "select subject_id, max(value) over () - value as value from {one} as r",
    "select subject_id, rank() over (partition by path order by value) as value from {one} as r",
    "select a.subject_id, b.value from {one} as a inner join {two} as b on a.path <> b.subject_id",
    "select a.subject_id, b.value from {one} as a cross join (select max(value) as value from {two} as r) as b",
    "select a.subject_id, b.value from {one} as a, {two} as b",
    "select max(subject_id) as subject_id, value from {one} as r group by value",
    "select subject_id, value from {one} as r where value > (select avg(value) from {two} as r)",
    "select subject_id, value from {one} as a where exists (select 1 from {two} as b where a.subject_id <> b.subject_id and a.value < b.value)",
    "select subject_id, value from {one} as r union all select 'S1' as subject_id, most from {study} as s",
    "with recursive steps as (select subject_id, value from {one} as r where value = 1 union"
    " select r.subject_id, r.value from steps inner join {one} as r on r.value = steps.value + 1) select subject_id, value from steps",
    "select b.subject_id, a.value from {one} as a left join {two} as b on a.subject_id = b.subject_id and a.value = b.value",
    "select path as subject_id, value from {one} as r",
    "select lower(subject_id) as subject_id, value from {one} as r",
    "select subject_id, value from {seen} as r where value > (select avg(value) from {seen} as r)",
]  # fmt: skip
TESTS_OF_ONE_SUBJECT = [
    "select value from {one} as r where value = 5",
    "select subject_id as it, count(*) as number from {one} as r group by subject_id having count(*) > 5",
    "select distinct value from {seen} as r where value > 4",
]
TESTS_OF_SEVERAL = [
    "select value from {one} as r group by value having count(*) > 6",
    "select count(*) as number from {one} as r having count(*) > 15",
    "select a.value from {one} as a inner join {two} as b on a.value = b.value and a.subject_id < b.subject_id where a.value = 5",
]


@dataclass
class Project:
    """Models and tests as dbt would have recorded them, and the lake that they read."""

    folder: object
    models: list[str]
    tests: list[str]

    def __post_init__(self):
        self.lake = self.folder / "lake"
        (self.lake / "records" / "lab_results").mkdir(parents=True)
        self.files: list[dict] = []
        self.statements, self.built = Statements(), {}
        self._add(FILES, f"select * from read_json('{self.folder}/files.json')", ["source.sher2.lake.ledger"])
        for name, text in BASE.items():
            self._add(f"model.sher2.{name}", text)
        for number, text in enumerate(self.models):
            self._add(f"model.sher2.form_{number}", text)
            child = f'select subject_id, count(*) as n from "w"."main"."form_{number}" as r group by subject_id'
            self._add(f"model.sher2.child_{number}", child, [f"model.sher2.form_{number}"])
        for number, text in enumerate(self.tests):
            self._add(f"test.sher2.test_{number}", text)

    def _add(self, unique_id: str, text: str, parents=()) -> None:
        name = unique_id.rpartition(".")[2]
        parents = [*parents, *(f"model.sher2.{other}" for other in BASE if "{" + other + "}" in text)]
        parents += [RECORD, FILES] if "{rows}" in text else []
        names = {other: f'"w"."main"."{other}"' for other in BASE}
        query = text.format(rows=ROWS.format(lake=self.lake), **names)
        is_test, kind = unique_id.startswith("test."), "view" if name == "seen" else "table"
        self.statements.by_node[unique_id] = [
            f"select count(*) as failures, count(*) != 0 as should_warn, count(*) != 0 as should_error from ({query})"
            if is_test
            else f'create {kind} "w"."main"."{name}" as {query}'
        ]
        self.built[unique_id] = SimpleNamespace(
            resource_type="test" if is_test else "model",
            depends_on=SimpleNamespace(nodes=parents),
            relation_name=None if is_test else f'"w"."main"."{name}"',
            compiled_code=query,
            config=SimpleNamespace(materialized=kind, severity="warn", fail_calc="count(*)"),
        )

    def nodes(self):
        return self.statements.nodes(self.built)

    def deliver(self, random: Random) -> None:
        """A file of a few subjects; now and then one that counted no longer does, or does again."""
        batch = len(self.files) + 1
        subjects = random.sample([f"S{number}" for number in range(1, 9)], random.randint(1, 3))
        rows = [
            f"('{subject}', {random.randint(1, 5)}, 'file {batch}', {batch}, {random.choice(['null', 'null', '9'])}::integer)"
            for subject in subjects
            for _ in range(random.randint(1, 3))
        ]
        with duckdb.connect() as connection:
            connection.execute(
                f"copy (from (values {', '.join(rows)}) as t (subject_id, value, _file_id, _batch, _rejected_by))"
                f" to '{self.lake}/records/lab_results/{batch}.parquet'"
            )
            self.files.append({"file_id": f"file {batch}", "parcel": batch, "path": f"p{batch % 3}", "is_in_force": True})
            random.choice(self.files)["is_in_force"] = random.random() < 0.7
            values = ", ".join("('{file_id}', {parcel}, '{path}', {is_in_force})".format(**file) for file in self.files)
            connection.execute(
                f"copy (from (values {values}) as t (file_id, parcel, path, is_in_force)) to '{self.folder}/files.json'"
            )


def content(database) -> dict:
    with duckdb.connect(str(database), read_only=True) as connection:
        tables = connection.execute("select table_name from duckdb_tables() union all select 'seen' order by all").fetchall()
        return {table: connection.execute(f'select * from "{table}" order by all').fetchall() for (table,) in tables}


def differences(project: Project, seed: int, taken_for_one_subjects: str = "") -> set[str]:
    """What differs from a build from nothing after the first of some deliveries after which anything does."""
    random, nodes = Random(seed), project.nodes()
    nodes = [replace(node, reading=BY_SUBJECT) if node.unique_id == taken_for_one_subjects else node for node in nodes]
    refreshed, anew = project.folder / "w.duckdb", project.folder / "anew" / "w.duckdb"
    anew.parent.mkdir(exist_ok=True)
    project.deliver(random)
    results = build(nodes, refreshed, lambda name: None)
    for _ in range(8):
        project.deliver(random)
        tests = {result.unique_id: result for result in results if result.unique_id.startswith("test.")}
        results = refresh(nodes, refreshed, project.lake, tests, lambda name: None)
        whole = build(nodes, anew, lambda name: None)
        assert [result.unique_id for result in results] == [result.unique_id for result in whole]
        ours, theirs = content(refreshed), content(anew)
        anew.unlink()
        found = {name for name in theirs if ours.get(name) != theirs[name]} | (ours.keys() - theirs.keys())
        found |= {
            result.unique_id.rpartition(".")[2]
            for result, other in zip(results, whole, strict=True)
            if (result.status, result.failures) != (other.status, other.failures)
        }
        if found:
            return found
    return set()


@pytest.mark.parametrize(("seed", "share"), [(1, 0.25), (2, 1)])
def test_after_any_deliveries_it_is_the_build_from_nothing(tmp_path, monkeypatch, seed, share):
    monkeypatch.setattr(replay, "_MOST_SUBJECTS", share)
    project = Project(tmp_path, OF_ONE_SUBJECT + OF_SEVERAL, TESTS_OF_ONE_SUBJECT + TESTS_OF_SEVERAL)
    forms = {node.unique_id.rpartition(".")[2] for node in project.nodes() if node.reading == BY_SUBJECT}
    assert {name for name in forms if name.startswith("form_")} == {f"form_{number}" for number in range(len(OF_ONE_SUBJECT))}
    assert {name for name in forms if name.startswith("test_")} == {
        f"test_{number}" for number in range(len(TESTS_OF_ONE_SUBJECT))
    }
    assert not differences(project, seed)


@pytest.mark.parametrize("text", OF_SEVERAL + TESTS_OF_SEVERAL)
def test_a_form_that_was_taken_for_one_subjects_would_be_noticed(tmp_path, monkeypatch, text):
    monkeypatch.setattr(replay, "_MOST_SUBJECTS", 1)
    models, tests = ([text], []) if text in OF_SEVERAL else ([], [text])
    name = "test_0" if tests else "form_0"
    found = (
        differences(Project(tmp_path / str(seed), models, tests), seed, f"{'test' if tests else 'model'}.sher2.{name}")
        for seed in range(1, 9)
    )
    assert name in next(filter(None, found), set()) <= {name, "child_0"}
