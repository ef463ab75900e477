"""Files with several tables, and archives, from the landing folder into the lake: nothing lost, every row found again."""

import csv
import hashlib
import os
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestration.due import ARCHIVE
from orchestration.exports.records import RECORDS
from orchestration.ingestion import ingest, judge_file
from orchestration.lake import Lake
from orchestration.study import load_study
from tests.conftest import make_home
from tests.unit.exports import writers

VISITS = [{"subject_id": f"S{row}", "visit_name": "C1D1", "visit_on": "2024-03-01"} for row in (1, 2)]
LABS = [
    {"subject_id": "S1", "sample_id": f"A{row}", "analyte": "42914-2", "value": value, "unit": "ng/mL", "collected_at": "2024-03-01T08:00"}
    for row, value in enumerate(["12", "x", "13"], 1)
]  # fmt: skip
VISITS_CSV, LABS_CSV = writers.as_csv(VISITS), writers.as_csv(LABS)


@pytest.fixture
def take_in(home):
    def run():
        return ingest(home.settings, load_study(home.settings.study_file))

    return run


def ledger(home) -> dict[str, tuple]:
    rows = Lake(home.settings).ledger()
    assert (rows["rows_read"] == rows["rows_accepted"] + rows["rows_quarantined"]).all()
    return {row.path: (row.status, row.rows_read, row.rows_quarantined) for row in rows.itertuples()}


def test_a_workbook_is_one_file_whose_messages_name_the_sheet_and_its_row(home, take_in):
    book = writers.as_xlsx({"SV": writers.grid(VISITS), "Labs": writers.grid(LABS), "Legend": [["see the manual"]]})
    home.drop("clinical/book.xlsx", book)
    take_in()
    assert ledger(home) == {"clinical/book.xlsx": ("loaded", 5, 1)}
    [row] = Lake(home.settings).ledger().itertuples()
    assert row.reason.startswith("left out") and "sheet 'Legend'" in row.reason
    [fault] = Lake(home.settings).quarantine().itertuples()
    assert (fault.row_number, fault.record, fault.value) == (4, "lab_results", "x")  # the rows of all sheets, numbered on
    assert fault.message.startswith("clinical/book.xlsx, sheet 'Labs', row 2: value 'x'")
    raw = Lake(home.settings).raw_rows("lab_results", [(fault.file_id, fault.batch, fault.row_number)])
    assert [dict(item["source"])["sample_id"] for item in raw] == ["A2"]


def test_the_query_list_says_whose_row_it_is_and_where_a_person_finds_it(home, take_in):
    formula = [*LABS[:1], LABS[1] | {"subject_id": "=cmd|' /C calc'!A0"}]
    home.drop("clinical/book.xlsx", writers.as_xlsx({"SV": writers.grid(VISITS), "Labs": writers.grid(LABS)}))
    home.drop("lab/lab_results.csv", writers.as_csv(formula))
    home.drop("lab/other.csv", b"a,b\n1,2\n")
    take_in()
    queries = list(csv.DictReader(home.sher2("quarantine", "--csv").stdout.splitlines()))
    assert [(row["query"], row["subject_id"], row["where"], row["value"], row["answer"]) for row in queries] == [
        ("1", "S1", "clinical/book.xlsx, sheet 'Labs', row 2", "x", ""),
        ("2", "'=cmd|' /C calc'!A0", "lab/lab_results.csv, row 2", "x", ""),
        ("3", "", "lab/other.csv", "", ""),
    ]
    assert all(row["message"] for row in queries) and queries[2]["rule"] == "header_mismatch"


def test_two_sheets_of_one_record_keep_their_own_headings(home, take_in):
    sources = [
        {"name": f"lis-{sheet}", "match": "*.xlsx", "sheet": sheet, "record": "lab_results", "constants": {"unit": "ng/mL"},
         "columns": {"subject_id": "Patient", "sample_id": "Probe", "analyte": "Test", "value": value, "collected_at": "Abnahme"}}
        for sheet, value in (("Nord", "Wert"), ("Sued", "Ergebnis"))
    ]  # fmt: skip
    home = make_home(home.settings.home.parent / "declared", {"sources": sources})

    def rows(heading: str, value: str) -> list[list]:
        return [["Patient", "Probe", "Test", heading, "Abnahme"], ["S1", f"P{value}", "42914-2", value, "2024-03-01"]]

    home.drop("lab/lis.xlsx", writers.as_xlsx({"Nord": rows("Wert", "viel"), "Sued": rows("Ergebnis", "wenig")}))
    ingest(home.settings, load_study(home.settings.study_file))
    messages = sorted(Lake(home.settings).quarantine()["message"])
    assert [message.split(" (value_readable)")[0] for message in messages] == [
        "lab/lis.xlsx, sheet 'Nord', row 1: value (Wert) 'viel'", "lab/lis.xlsx, sheet 'Sued', row 1: value (Ergebnis) 'wenig'",
    ]  # fmt: skip


def test_each_member_of_an_archive_is_a_file_with_a_verdict_of_its_own(home, take_in):
    home.drop("lab/export.zip", writers.as_zip({"a/sv.csv": VISITS_CSV, "lab_results.csv": LABS_CSV, "notes.pdf": b"%PDF-1.4"}))
    take_in()
    assert ledger(home) == {
        "lab/export.zip": ("loaded", 0, 0),
        "lab/export.zip/a/sv.csv": ("loaded", 2, 0),
        "lab/export.zip/lab_results.csv": ("loaded", 3, 1),
        "lab/export.zip/notes.pdf": ("rejected", 0, 0),
    }
    rows = Lake(home.settings).ledger().set_index("path")
    assert rows.loc["lab/export.zip/lab_results.csv", "file_id"] == hashlib.sha256(LABS_CSV).hexdigest()
    assert "lab/export.zip/notes.pdf" in rows.loc["lab/export.zip/notes.pdf", "reason"]
    [fault] = Lake(home.settings).quarantine().itertuples()
    assert fault.row_number == 2 and fault.message.startswith("lab/export.zip/lab_results.csv, row 2:")
    assert take_in().files == []  # running again changes nothing


def test_an_archive_sent_again_brings_what_changed_and_knows_the_rest(home, take_in):
    home.drop("lab/export.zip", writers.as_zip({"sv.csv": VISITS_CSV, "lab_results.csv": LABS_CSV}))
    home.drop("lab/copy.csv", VISITS_CSV)
    take_in()
    assert sorted(status for status, *_ in ledger(home).values()) == ["duplicate", "loaded", "loaded", "loaded"]
    home.drop("lab/export.zip", writers.as_zip({"sv.csv": VISITS_CSV, "lab_results.csv": LABS_CSV.replace(b",x,", b",5,")}))
    os.utime(home.settings.landing / "lab/export.zip", (1_700_000_100, 1_700_000_100))
    taken = {item.path: item.status for item in take_in().files}
    assert taken == {"lab/export.zip": "loaded", "lab/export.zip/lab_results.csv": "loaded"}
    assert Lake(home.settings).accepted_rows()["lab_results"] == 2 + 3
    assert take_in().files == []


def test_a_hostile_archive_is_refused_and_leaves_no_member(home, take_in):
    home.drop("lab/bad.zip", writers.as_zip({"sv.csv": VISITS_CSV, "../../landing/lab/dm.csv": VISITS_CSV}))
    before = {path for path in home.settings.home.parent.rglob("*") if "build" not in path.parts}
    take_in()
    [row] = Lake(home.settings).ledger().itertuples()
    assert row.status == "rejected" and row.reason.startswith("path: lab/bad.zip")
    after = {path for path in home.settings.home.parent.rglob("*") if "build" not in path.parts}
    assert all(home.settings.lake in path.parents for path in after - before)


def test_members_whose_batch_never_came_are_taken_in_by_the_next_run(home, take_in, monkeypatch):
    home.drop("lab/export.zip", writers.as_zip({"sv.csv": VISITS_CSV, "lab_results.csv": LABS_CSV}))
    commit, calls = Lake.commit, []

    def dies_at_the_second(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return commit(self, *arguments)

    monkeypatch.setattr(Lake, "commit", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        take_in()
    assert list(ledger(home)) == ["lab/export.zip"]
    monkeypatch.undo()
    take_in()
    assert [status for status, *_ in ledger(home).values()] == ["loaded"] * 3


def test_checking_an_archive_tells_of_each_member_and_takes_nothing_in(home, tmp_path):
    path = tmp_path / "export.zip"
    path.write_bytes(writers.as_zip({"sv.csv": VISITS_CSV, "lab_results.csv": LABS_CSV, "x.csv": b"a,b\n1,2\n"}))
    verdict = judge_file(home.settings, load_study(home.settings.study_file), path, "lab/export.zip")
    assert [(item.path, item.status, item.rows_quarantined) for item in verdict.members] == [
        ("lab/export.zip/sv.csv", "loaded", 0), ("lab/export.zip/lab_results.csv", "loaded", 1),
        ("lab/export.zip/x.csv", "rejected", 0),
    ]  # fmt: skip
    checked = home.sher2("check", str(path))
    assert checked.returncode == 2 and "x.csv: would be refused" in checked.stdout and "1 quarantined" in checked.stdout
    assert Lake(home.settings).ledger().empty


# --- round trips ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> dict[str, list[dict]]:
    """The rows of a small simulated study by file, as text."""
    from orchestration.simulate import write_study

    folder = tmp_path_factory.mktemp("simulated")
    write_study(folder, 6, 3)
    found = {}
    for path in sorted(folder.rglob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            try:
                rows = list(csv.DictReader(file, strict=True))
            except (csv.Error, UnicodeDecodeError):  # the dirt that a simulated study holds
                continue
        if rows and "USUBJID" in rows[0] and all(None not in row and None not in row.values() for row in rows):
            found[path.relative_to(folder).as_posix()] = rows
    assert len(found) > 10
    return found


FORMATS = {
    "csv": lambda rows, stem: writers.as_csv(rows),
    "tsv": lambda rows, stem: writers.as_csv(rows, "\t"),
    "xlsx": lambda rows, stem: writers.as_xlsx({"Sheet1": writers.grid(rows)}),
    "parquet": lambda rows, stem: writers.as_parquet(rows),
    "json": lambda rows, stem: writers.document(writers.as_datasetjson(rows, stem[:2].upper())),
    "ndjson": lambda rows, stem: writers.lines(writers.as_datasetjson(rows, stem[:2].upper())),
    "xpt": lambda rows, stem: writers.as_xpt(rows, Path(tempfile.mkdtemp()), stem[:2].upper()),
    "xpt8": lambda rows, stem: writers.as_xpt(rows, Path(tempfile.mkdtemp()), stem[:2].upper(), 8),
}
DATED = {"name": "dated", "match": "[a-z][a-z]_????-??-??*", "layout": "sdtm", "exported_on": r"_(\d{4}-\d{2}-\d{2})"}

DATED_TSV = DATED | {"name": "dated-tsv", "match": f"{DATED['match']}.tsv", "delimiter": "\t"}


def written(rows: list[dict], name: str, kind: str) -> bytes:
    return FORMATS[kind](rows if kind in ("csv", "tsv") else writers.typed(rows), Path(name).name)


def input_of_dbt(folder: Path, simulated: dict[str, list[dict]], kind: str) -> dict[str, list[tuple]]:
    """All that dbt is given where the simulated study is delivered in one format: files, raw rows with their source
    text, faults; the name of a file stands for its identity, and nothing tells when it came."""
    home = make_home(folder / kind, {"sources": [DATED | ({"delimiter": "\t"} if kind == "tsv" else {})]})
    if kind == "zip":
        for place in {name.partition("/")[0] for name in simulated}:
            own = {Path(name).name: writers.as_csv(rows) for name, rows in simulated.items() if name.startswith(place)}
            home.drop(f"{place}/study.zip", writers.as_zip(own))
    else:
        made: dict[str, bytes] = {}  # a table that is sent again is the same bytes: XPT tells the second of its writing
        for name, rows in simulated.items():
            if (content := repr(rows)) not in made:
                made[content] = written(rows, name, kind)
            home.drop(f"{name.removesuffix('.csv')}.{kind}", made[content])
    ingest(home.settings, load_study(home.settings.study_file))
    lake = Lake(home.settings)
    files = lake.ledger()
    files = files[files["layout"] != ARCHIVE].assign(path=[Path(path).stem for path in files["path"] if Path(path).suffix != ".zip"])
    names = dict(zip(files["file_id"], files["path"], strict=True))
    told = ["path", "source", "layout", "exported_on", "status", "rows_read", "rows_accepted", "rows_quarantined"]
    faults = lake.quarantine()
    about = ["row_number", "record", "field", "value", "rule", "severity"]
    found = {"files": [tuple(row) for row in files[told].itertuples(index=False)]}
    found["faults"] = [(names[row[0]], *row[1:]) for row in faults[["file_id", *about]].itertuples(index=False)]
    for record in RECORDS:
        tables = [pq.read_table(path) for path in sorted((home.settings.lake / "records" / record).glob("*.parquet"))]
        columns = ["_row_number", "_rejected_by", "_source", *RECORDS[record].column_names]
        found[record] = [
            (names[row.pop("_file_id")], *row.values())
            for table in tables
            for row in table.select(["_file_id", *columns]).to_pylist()
        ]
    return {name: sorted(rows, key=repr) for name, rows in found.items()}


@pytest.fixture(scope="module")
def as_delivered(simulated, tmp_path_factory):
    found = input_of_dbt(tmp_path_factory.mktemp("csv"), simulated, "csv")
    assert sum(len(rows) for rows in found.values()) > 500
    return found


@pytest.mark.parametrize("kind", [*(kind for kind in FORMATS if kind != "csv"), "zip"])
def test_the_simulated_study_gives_dbt_the_same_in_every_format(simulated, as_delivered, tmp_path, kind):
    found = input_of_dbt(tmp_path, simulated, kind)
    for part, rows in as_delivered.items():
        assert found[part] == rows, part


@pytest.mark.slow
def test_the_simulated_study_in_mixed_formats_in_one_archive_gives_the_same_marts(simulated, tmp_path):
    stem = {name: name.removesuffix(".csv") for name in simulated}
    kinds = list(FORMATS)
    chosen = {name: kinds[number % len(kinds)] for number, name in enumerate(simulated)}
    plain, packed = (make_home(tmp_path / name, {"sources": [DATED_TSV, DATED]}) for name in ("plain", "packed"))
    members = {}
    for name, rows in simulated.items():
        plain.drop(name, writers.as_csv(rows))
        members[f"{stem[name].split('/')[1]}.{chosen[name]}"] = written(rows, name, chosen[name])
    packed.drop("clinical/study.zip", writers.as_zip(members))
    for home in (plain, packed):
        home.run()
    assert plain.value("select count(*) from marts.fct_response") > 20
    assert packed.content() == plain.content()
