"""Faults of files on their way in: each ends in one verdict, and the invariants hold after every one of them."""

import os
import shutil
import socket

import pytest

from orchestration import batches, due
from orchestration.ingestion import ingest, pending
from orchestration.lake import Lake
from orchestration.landing import scan
from orchestration.study import load_study
from tests.conftest import make_home
from tests.faults.conftest import HEAD, lab
from tests.faults.invariants import assert_invariants

TEMPORARY = [
    ".x.csv", ".x.csv.Ab3dEf", "~x.csv", "~$x.xlsx", "x.csv.tmp", "x.csv.part", "x.csv.filepart", "x.csv.crdownload",
    "x.csv.TMP", ".~lock.x.csv#", "x.csv.done", ".nfs0000001",
]  # fmt: skip


def take_in(home):
    result = ingest(home.settings, load_study(home.settings.study_file))
    assert_invariants(home.settings)
    return result


def statuses(home) -> dict[str, list[str]]:
    """Path -> status of its deliveries, oldest first."""
    found: dict[str, list[str]] = {}
    for row in Lake(home.settings).ledger().itertuples():
        found.setdefault(row.path, []).append(row.status)
    return found


def quarantined(home) -> dict[int, str]:
    faults = Lake(home.settings).quarantine()
    faults = faults[faults["severity"] == "warning"]
    return dict(zip(faults["row_number"], faults["rule"], strict=True))


@pytest.mark.parametrize("name", TEMPORARY)
def test_a_senders_unfinished_file_is_left_alone(home, name):
    home.drop(f"lab/{name}", lab(("A1", "1.5")))
    assert scan(home.settings.landing) == ([], [])


def test_a_file_written_byte_by_byte_is_taken_in_once_and_whole(tmp_path):
    home = make_home(tmp_path, {"landing": {"settle_seconds": 30}})
    text = lab(("A1", "1.5"), ("A2", "2.5")).encode()
    path = home.settings.landing / "lab" / "a.csv"
    for end in (1, len(text) // 2, len(text) - 1):
        path.write_bytes(text[:end])
        result = take_in(home)
        assert result.files == [] and "still being written" in result.held[0].reason
    home.drop("lab/a.csv", text)
    assert [verdict.rows_accepted for verdict in take_in(home).files] == [2]


def test_an_upload_that_stalled_is_superseded_by_the_whole_file(home):
    text = lab(("A1", "1.5"), ("A2", "2.5"), ("A3", "3.5"))
    home.drop("lab/a.csv", text[: text.index("A3") + 4])
    take_in(home)
    assert Lake(home.settings).accepted_rows()["lab_results"] == 2 and quarantined(home) == {3: "ragged_row"}
    home.drop("lab/a.csv", text)
    take_in(home)
    assert statuses(home) == {"lab/a.csv": ["superseded", "loaded"]}
    assert Lake(home.settings).ledger().iloc[-1]["rows_accepted"] == 3


def test_a_file_renamed_after_it_was_loaded_counts_once(home):
    path = home.drop("lab/a.csv", lab(("A1", "1.5")))
    take_in(home)
    path.rename(path.with_name("b.csv"))
    assert [verdict.status for verdict in take_in(home).files] == ["duplicate"]
    assert Lake(home.settings).accepted_rows()["lab_results"] == 1


def test_a_file_that_vanishes_between_notice_and_run_stops_nothing_and_is_not_asked_for_again(home):
    path = home.drop("lab/a.csv", lab(("A1", "1.5")))
    home.drop("lab/b.csv", lab(("B1", "1.5")))
    study = load_study(home.settings.study_file)
    assert len(pending(home.settings, study)) == 2
    path.unlink()
    assert [verdict.path for verdict in take_in(home).files] == ["lab/b.csv"]
    assert pending(home.settings, study) == []


def test_a_file_that_vanishes_while_it_is_read_is_held_and_the_others_go_on(home, monkeypatch):
    path = home.drop("lab/a.csv", lab(("A1", "1.5")))
    home.drop("lab/b.csv", lab(("B1", "1.5")))
    keep = Lake.keep

    def vanishing(lake, parts):
        path.unlink(missing_ok=True)
        return keep(lake, parts)

    monkeypatch.setattr(Lake, "keep", vanishing)
    result = take_in(home)
    assert [verdict.path for verdict in result.files] == ["lab/b.csv"]
    assert [held.path for held in result.held] == ["lab/a.csv"] and "cannot be read" in result.held[0].reason


def test_the_same_file_a_year_later_is_known_by_the_lake_whatever_else_was_forgotten(home):
    text = lab(("A1", "1.5"))
    home.drop("lab/a.csv", text).unlink()
    home.drop("lab/a.csv", text)
    take_in(home)
    (home.settings.landing / "lab" / "a.csv").unlink()
    take_in(home)
    shutil.rmtree(home.settings.build)
    shutil.rmtree(home.settings.dagster)
    home.drop("lab/a.csv", text)
    home.drop("lab/2025/a.csv", text)
    take_in(home)
    assert statuses(home) == {"lab/a.csv": ["loaded"], "lab/2025/a.csv": ["duplicate"]}
    assert Lake(home.settings).accepted_rows()["lab_results"] == 1


def test_a_file_that_no_run_can_judge_is_set_aside_after_some_tries_and_blocks_no_other(home, monkeypatch):
    judge = batches.judge

    def failing(opened, study, now):
        if any(file.item.path == "lab/b.csv" and not file.refusal for file in opened):
            raise ZeroDivisionError("a fault of ours")
        return judge(opened, study, now)

    monkeypatch.setattr(batches, "judge", failing)
    for name in "abc":
        home.drop(f"lab/{name}.csv", lab((f"{name}1", "1.5")))
    study = load_study(home.settings.study_file)
    for _ in range(study.ingest.max_attempts + 1):  # among others, and at last alone
        with pytest.raises(ZeroDivisionError):
            ingest(home.settings, study)
    take_in(home)
    assert statuses(home) == {"lab/a.csv": ["loaded"], "lab/b.csv": ["rejected"], "lab/c.csv": ["loaded"]}
    reasons = Lake(home.settings).ledger().set_index("path")["reason"]
    assert reasons["lab/b.csv"].startswith("poison: lab/b.csv") and "sher2 reprocess" in reasons["lab/b.csv"]
    monkeypatch.undo()
    Lake(home.settings).reprocess(Lake(home.settings).ledger().set_index("path")["file_id"]["lab/b.csv"])
    take_in(home)
    assert statuses(home)["lab/b.csv"] == ["loaded"]


NAMES = {
    "glob": "x[1]*?.csv",
    "sql": "a'; drop table x;--.csv",
    "command": "$(rm -rf ~)`id`.csv",
    "leading-dash": "-rf.csv",
    "line-break": "a\nb.csv",
    "right-to-left": "\u202evsc.exe.csv",
    "markup": "<img src=x onerror=alert(1)>.csv",
    "composed": "\u00e9.csv",
    "decomposed": "e\u0301.csv",
    "255-bytes": "l" * 251 + ".csv",
    "no-utf-8": b"\xff\xfe.csv",
    "percent": "%s%n{0}.csv",
}


def test_any_file_name_is_only_data_and_none_is_taken_for_another(home):
    folder = os.fsencode(home.settings.landing / "lab")
    for number, name in enumerate(NAMES.values()):
        path = os.path.join(folder, os.fsencode(name))
        with open(path, "wb") as file:
            file.write(lab((f"A{number}", f"{number}.5")).encode())
        os.utime(path, (1_700_000_000, 1_700_000_000))
    result = take_in(home)
    assert [(verdict.status, verdict.rows_accepted) for verdict in result.files] == [("loaded", 1)] * len(NAMES)
    assert len({verdict.path for verdict in result.files}) == len(NAMES)
    assert take_in(home).batches == []
    assert {path.name for path in (home.settings.lake / "files").iterdir()} == {
        f"{verdict.file_id}.gz" for verdict in result.files
    }


def test_what_is_no_regular_file_neither_hangs_nor_is_followed(home, tmp_path):
    (tmp_path / "outside.csv").write_text(lab(("A1", "1.5")))
    folder = home.settings.landing / "lab"
    (folder / "link.csv").symlink_to(tmp_path / "outside.csv")
    (folder / "loop").symlink_to(home.settings.landing)
    os.mkfifo(folder / "pipe.csv")
    (folder / "folder.csv").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(folder)  # the path of a socket may have 107 bytes
        try:
            listener.bind("socket.csv")
        finally:
            os.chdir("/")
        result = take_in(home)
    assert result.files == []
    assert {held.path for held in result.held} == {
        f"lab/{name}" for name in ("link.csv", "loop", "pipe.csv", "folder.csv", "socket.csv")
    }


def test_a_hard_link_to_a_known_file_is_the_same_file(home):
    path = home.drop("lab/a.csv", lab(("A1", "1.5")))
    os.link(path, path.with_name("b.csv"))
    assert sorted(verdict.status for verdict in take_in(home).files) == ["duplicate", "loaded"]


def test_many_small_files_are_few_batches_and_each_counts_once(home, monkeypatch):
    monkeypatch.setattr(due, "MAX_FILES", 50)
    for number in range(120):
        home.drop(f"lab/{number:04}.csv", lab((f"A{number}", "1.5")))
    result = take_in(home)
    assert len(result.files) == 120 and len(result.batches) == 3
    assert Lake(home.settings).accepted_rows()["lab_results"] == 120


ROW = "S1,{},42914-2,{},ng/mL,2024-03-01T08:00,F,SERUM"
TABLES = {  # rows as a person counts them -> rows set apart and why
    "a subject that looks like a comment": (
        [ROW.format("A1", "1"), ROW.format("A2", "2").replace("S1", "#12"), ROW.format("A3", "3")], {},
    ),
    "a comment line": ([ROW.format("A1", "1"), "# end of export", ROW.format("A2", "2")], {2: "ragged_row"}),
    "a trailer with the number of rows": ([ROW.format("A1", "1"), "TOTAL;1"], {2: "ragged_row"}),
    "a heading in the middle": ([ROW.format("A1", "1"), HEAD.strip(), ROW.format("A2", "2")], {2: "ragged_row"}),
    "identical rows": ([ROW.format("A1", "1")] * 3, {}),
    "thousands": ([ROW.format("A1", '"1,234.5"'), ROW.format("A2", "1 234"), ROW.format("A3", "1.234")],
                  {1: "value_readable", 2: "value_readable"}),
    "no numbers": ([ROW.format(f"A{n}", text) for n, text in enumerate(
        ("NaN", "inf", "-inf", "1e309", "1e-320", '"1,2,3"', "１２", "٣٤", "0x1F"))], dict.fromkeys(range(1, 10), "value_readable")),
    "numbers with a flag": ([ROW.format("A1", "5*"), ROW.format("A2", "5 H"), ROW.format("A3", "1e3"), ROW.format("A4", "-0.0")], {}),
    "dates that say too little": ([ROW.format(f"A{n}", "1").replace("2024-03-01T08:00", text) for n, text in enumerate(
        ("03/04/2025", "24-03-01", "31.02.2024", "2024-02-30", "2024-03-01T24:30"))], dict.fromkeys(range(1, 6), "timestamp_readable")),
    "dates that say part of it": ([ROW.format(f"A{n}", "1").replace("2024-03-01T08:00", text) for n, text in enumerate(
        ("2024-03", "2024", "2024-UN-UN"))], {}),
    "an hour that clocks skip or repeat": ([ROW.format(f"A{n}", "1").replace("2024-03-01T08:00", text) for n, text in enumerate(
        ("2024-03-31T02:30", "2024-10-27T02:30", "2024-03-10T23:30:00+01:00", "2024-03-10T23:30:00Z"))], {}),
    "subjects that look like something else": ([ROW.format(f"A{n}", "1").replace("S1", text) for n, text in enumerate(
        ("007", "7", "NA", "None", "null", "1E5", "100000", "TRUE", "O12", "012", "s1"))], {}),
    "statements for a database": ([ROW.format("A'); drop table x;--", "1").replace("S1", "'; delete from marts.x;--")], {}),
    "formulas": ([ROW.format(text, "1") for text in ("=1+1", "+1", "-1", "@x")], {}),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_table_loads_but_for_the_rows_that_cannot_be_read(home, name):
    lines, apart = TABLES[name]
    home.drop("lab/a.csv", HEAD + "\n".join(lines) + "\n")
    (verdict,) = take_in(home).files
    assert (verdict.status, verdict.rows_read) == ("loaded", len(lines)), verdict.reason
    assert quarantined(home) == apart


def test_subjects_keep_every_character_that_tells_them_apart(home):
    import pyarrow.parquet as pq

    lines, _ = TABLES["subjects that look like something else"]
    home.drop("lab/a.csv", HEAD + "\n".join(lines) + "\n")
    take_in(home)
    (parcel,) = (home.settings.lake / "records" / "lab_results").glob("[0-9]*.parquet")
    rows = pq.read_table(parcel)["subject_id"]
    assert rows.to_pylist() == [line.split(",")[0] for line in lines]
