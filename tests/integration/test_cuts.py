"""Data cuts: what had been received by a day and is dated on or before it, frozen, and built again bit for bit."""

import json
import os
import shutil
from datetime import UTC, date, datetime

import pytest
import yaml

from orchestration import cuts, lake
from orchestration.errors import UserError
from orchestration.publication import GRAIN
from orchestration.study import load_study
from orchestration.warehouse import connect
from tests.conftest import Home, make_home

EARLY, CUT, LATE = "2025-03-01", "2025-06-30", "2025-09-01"
SUBJECTS = "subject_id,enrolled_on,sex\nA,2025-01-02,F\nB,2025-01-03,F\n"
DOSES = "subject_id,treatment,dose,dose_unit,start_on\nA,T-DXD,5.4,mg/kg,2025-01-02\nB,T-DXD,5.4,mg/kg,2025-01-03\n"
LABS = "subject_id,sample_id,analyte,value,unit,collected_at,result_status,specimen\n"
RESULTS = LABS + (
    "A,1,42914-2,20,ng/mL,2025-01-02,F,SERUM\nA,2,42914-2,25,ng/mL,2025-01-23,F,SERUM\n"
    "B,3,42914-2,12.5,ng/mL,2025-01-03,F,SERUM\n"
)
AFTER_THE_DAY = "B,4,42914-2,30,ng/mL,2025-07-01,F,SERUM\n"
CORRECTED = RESULTS.replace("A,2,42914-2,25", "A,2,42914-2,99")


def received(home: Home, monkeypatch, day: str, at: str = "12:00", **files: str) -> None:
    """Files dropped and taken in with the clock of the ledger at a moment (UTC)."""
    from orchestration import batches, ingestion

    moment = datetime.fromisoformat(f"{day}T{at}").replace(tzinfo=UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return moment

    monkeypatch.setattr(batches, "datetime", Clock)
    for name, text in files.items():
        home.drop(name.replace("__", "/") + ".csv", text)
    ingestion.ingest(home.settings, load_study(home.settings.study_file))


def marts(database) -> dict[str, list[tuple]]:
    with connect(database, read_only=True) as connection:
        return {mart: connection.execute(f"select * from marts.{mart} order by all").fetchall() for mart in GRAIN}


def freeze(home: Home, on: str, *rule: str) -> cuts.Cut:
    return cuts.cut(home.settings, load_study(home.settings.study_file), date.fromisoformat(on), *rule)


@pytest.fixture(scope="module")
def monkey():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def home(tmp_path_factory, monkey) -> Home:
    """Two deliveries by the day of the cut, two after it, one of them a correction."""
    home = make_home(tmp_path_factory.mktemp("cuts"))
    received(home, monkey, EARLY, clinical__subjects=SUBJECTS, clinical__doses=DOSES)
    received(home, monkey, CUT, lab__labs=RESULTS + AFTER_THE_DAY)
    received(home, monkey, LATE, lab__labs=CORRECTED)
    return home


@pytest.fixture(scope="module")
def frozen(home) -> cuts.Cut:
    return freeze(home, CUT)


def test_a_cut_equals_a_study_that_ended_on_the_day(frozen, tmp_path, monkeypatch):
    alone = make_home(tmp_path, {"study": {"data_cutoff": CUT}})
    received(alone, monkeypatch, CUT, clinical__subjects=SUBJECTS, clinical__doses=DOSES, lab__labs=RESULTS)
    alone.run()
    assert marts(frozen.database) == marts(alone.settings.warehouse)
    assert len(marts(frozen.database)["fct_her2_delta"]) == 3


def test_a_cut_names_its_files_generations_study_and_code(frozen, home):
    manifest = json.loads((frozen.folder / "manifest.json").read_text())
    assert [file["path"] for file in manifest["files"]] == [
        "clinical/doses.csv",
        "clinical/subjects.csv",
        "lab/labs.csv",
    ]
    known = {(row.file_id, row.batch) for row in lake.Lake(home.settings).deliveries().itertuples()}
    assert {(file["file_id"], file["generation"]) for file in manifest["files"]} <= known
    assert manifest["code_version"] and manifest["tables"]["metrics.estimates"]["rows"] > 0
    assert load_study(frozen.folder / "study.yaml") == load_study(home.settings.study_file)
    assert frozen.report.stat().st_size > 1000


def test_it_comes_out_the_same_after_later_deliveries_new_rules_and_a_new_protocol(frozen, home, monkeypatch):
    before, report = marts(frozen.database), frozen.report.read_bytes()
    study = yaml.safe_load(home.settings.study_file.read_text())
    original = home.settings.study_file.read_text()
    study["analytes"]["serum_her2"] |= {"cutoff_ng_ml": 24, "plausible_range": [0, 22]}  # rows are judged again
    home.settings.study_file.write_text(yaml.safe_dump(study))
    try:
        received(home, monkeypatch, CUT, lab__more=LABS + "A,9,42914-2,40,ng/mL,2025-02-20,F,SERUM\n")
        os.chmod(frozen.database, 0o644)
        frozen.database.write_bytes(b"no database")
        frozen.report.write_text("torn")
        again = freeze(home, CUT)
    finally:
        home.settings.study_file.write_text(original)
    assert not again.is_new and again.manifest == frozen.manifest
    assert marts(again.database) == before and again.report.read_bytes() == report


def test_a_cut_that_cannot_come_out_the_same_is_told_and_stays(frozen, home):
    kept, told = frozen.database.read_bytes(), (frozen.folder / "manifest.json").read_text()
    manifest = json.loads(told) | {"code_version": "another"}
    manifest["tables"]["marts.dim_subject"] = {"rows": 9, "sha256": "0"}
    (frozen.folder / "manifest.json").write_text(json.dumps(manifest))
    try:
        with pytest.raises(UserError, match=r"marts\.dim_subject; it was frozen by code version another"):
            freeze(home, CUT)
    finally:
        (frozen.folder / "manifest.json").write_text(told)
    assert frozen.database.read_bytes() == kept


def test_a_frozen_day_is_not_frozen_by_another_rule(frozen, home):
    with pytest.raises(UserError, match=r"move .* away first"):
        freeze(home, CUT, "filename")


def test_a_day_by_which_nothing_had_come_is_not_frozen(frozen, home):
    before = sorted(home.settings.cuts.iterdir())
    with pytest.raises(UserError, match=r"by 2020-01-01 nothing had been received \(ledger\)\. .*--received-from filename"):
        freeze(home, "2020-01-01")
    assert sorted(home.settings.cuts.iterdir()) == before


def test_when_a_file_came_is_told_by_the_ledger_or_by_its_name(tmp_path, monkeypatch):
    """By the ledger the day ends at midnight of the study: 23:00 UTC on the last of June is July in Berlin."""
    home = make_home(tmp_path)
    domain = "STUDYID,DOMAIN,USUBJID,RFSTDTC,SEX\nS,DM,S-1,2025-01-02,F\n"
    received(home, monkeypatch, CUT, "21:59", clinical__subjects=SUBJECTS)
    received(home, monkeypatch, CUT, "23:00", clinical__doses=DOSES)
    received(home, monkeypatch, LATE, **{"clinical__dm_2025-03-31": domain, "clinical__dm_2025-08-31": domain + "\n"})
    paths = [file["path"] for file in freeze(home, CUT).manifest["files"]]
    assert paths == ["clinical/subjects.csv"]
    shutil.rmtree(home.settings.cuts)
    paths = [file["path"] for file in freeze(home, CUT, "filename").manifest["files"]]
    assert paths == ["clinical/dm_2025-03-31.csv", "clinical/subjects.csv"]


def test_the_estimates_of_all_cuts_stand_in_one_table(frozen, home):
    freeze(home, LATE)
    columns, rows = cuts.estimates(home.settings)
    assert columns[0] == "cut_on" and {row[0] for row in rows} == {CUT, LATE}
    columns, rows = cuts.headlines(home.settings, load_study(home.settings.study_file))
    assert [(row[0], row[1]) for row in rows] == [
        (day, name) for day in (CUT, LATE) for name in ("confirmed ORR", "median PFS", "median OS", "hazard ratio")
    ]
