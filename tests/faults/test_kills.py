"""Runs killed by a real SIGKILL: what they leave is whole, and the next run ends where an undisturbed one does."""

import re
import shutil

import duckdb
import pytest

from orchestration.lake import Lake
from tests.conftest import make_home
from tests.faults.conftest import lab
from tests.faults.disturbance import KILLED, WHOLE_WAY
from tests.faults.invariants import assert_invariants, content, witness

FEW = {
    "lab/a.csv": lab(("A1", "1.5"), ("A2", "x")),
    "lab/b.csv": lab(("B1", "1.5")),
    "lab/copy.csv": lab(("B1", "1.5")),
    "lab/bad.csv": "nothing,of\nours,here\n",
    "clinical/v.csv": "subject_id,visit_name,visit_on\nS1,C1D1,2024-03-01\n",
}


def few(folder):
    home = make_home(folder)
    for path, text in FEW.items():
        home.drop(path, text)
    return home


def state(home) -> dict:
    """All that counts in a lake, without times and numbers of batches."""
    lake = Lake(home.settings)
    ledger = lake.ledger()
    accepted = {}
    for record in ("lab_results", "visits"):
        files = str(lake.root / "records" / record / "*.parquet")
        query = f"select _file_id, _batch, _row_number, _rejected_by, subject_id from read_parquet('{files}')"
        current = {(row.file_id, row.parcel) for row in ledger.itertuples() if row.status == "loaded"}
        accepted[record] = sorted(row[:1] + row[2:] for row in duckdb.sql(query).fetchall() if row[:2] in current)
    files = str(lake.root / "validations" / "*.parquet")
    validations = duckdb.sql(f"select suite, rule, evaluated, unexpected from read_parquet('{files}') order by all")
    return {
        "ledger": ledger.drop(columns=["received_at", "batch", "sequence", "parcel"]).to_dict("records"),
        "rows": accepted, "faults": lake.quarantine().drop(columns="batch").to_dict("records"),
        "hash": lake.data_hash(), "validations": validations.fetchall(),
        "kept": sorted(path.name for path in (lake.root / "files").iterdir()),
    }  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, runs):
    """The changes of files of an undisturbed run over a few files, and what it leaves."""
    home = few(tmp_path_factory.mktemp("undisturbed"))
    ended = runs.run(home.settings, "ingest", files_a_batch=2)
    assert ended.code == 0, ended.error
    return ended.changes, state(home)


def points(changes: list[str]) -> list[int]:
    """Every rename of a batch's own files, which is where order matters, and a sample of the others; all of them are
    tried by benchmarks/kills.py."""
    numbers = range(1, len(changes) + 1)
    commits = [n for n in numbers if re.search(r"rename lake/(records|quarantine|ledger)/.*\.parquet", changes[n - 1])]
    return sorted({*commits, *list(numbers)[::40], len(changes)})


def test_ingestion_killed_at_a_change_of_a_file_is_made_good_by_the_next_run(tmp_path, runs, undisturbed):
    changes, expected = undisturbed
    assert len(points(changes)) > 10
    for point in points(changes):
        home = few(tmp_path / str(point))
        before = witness(home.settings)
        assert runs.run(home.settings, "ingest", files_a_batch=2, kill_at=point).code == KILLED
        if (home.settings.lake / "ledger" / "empty.parquet").exists():
            assert_invariants(home.settings, before, is_at_rest=False)
        assert runs.run(home.settings, "ingest", files_a_batch=2).code == 0
        assert_invariants(home.settings, before)
        assert state(home) == expected, f"killed before change {point}: {changes[point - 1]}"


def test_a_run_killed_again_and_again_still_ends(tmp_path, runs, undisturbed):
    changes, expected = undisturbed
    home = few(tmp_path)
    for part in (0.9, 0.5, 0.3):
        runs.run(home.settings, "ingest", files_a_batch=2, kill_at=int(len(changes) * part))
    assert runs.run(home.settings, "ingest", files_a_batch=2).code == 0
    assert state(home) == expected


def test_a_file_that_kills_every_run_is_set_aside_and_others_are_taken_in(tmp_path, runs):
    home = make_home(tmp_path, {"ingest": {"max_attempts": 2}})
    for name in ("a", "poison", "z"):
        home.drop(f"lab/{name}.csv", lab((f"{name}1", "1.5")))
    codes = [runs.run(home.settings, "ingest", kill_reading="poison.csv").code for _ in range(4)]
    assert codes == [KILLED, KILLED, KILLED, 0]  # twice among others, once alone, then set aside
    found = {row["path"]: (row["status"], (row["reason"] or "").split(":")[0]) for row in state(home)["ledger"]}
    assert found == {"lab/a.csv": ("loaded", ""), "lab/poison.csv": ("rejected", "poison"), "lab/z.csv": ("loaded", "")}
    assert_invariants(home.settings)


def test_a_whole_run_killed_at_each_of_its_steps_is_made_good_by_the_next(place):
    """One kill after another, each later on the way; until the publication, readers see what was published before."""
    home = place.restore("arrived")
    before = witness(home.settings)
    seen = []
    for disturbance in (
        {"kill_reading": "more.csv"},
        {"kill_before": "build"},
        {"kill_building": "fct_response"},
        {"kill_before": "publish"},
        {"kill_before": "report"},
    ):
        assert place.run(*WHOLE_WAY, **disturbance).code == KILLED, disturbance
        assert_invariants(home.settings, before, is_at_rest=False)
        seen.append(content(home.settings))
    assert seen == [place.before] * 4 + [place.after]
    assert place.run(*WHOLE_WAY).code == 0
    assert_invariants(home.settings, before, place.after)
    page = (home.settings.reports / "efficacy.html").read_text("utf-8")
    assert place.after["build"] in page


def test_a_publication_killed_at_any_change_of_a_file_shows_the_old_state_or_the_new(place):
    place.restore("computed")
    changes = place.run("publish").changes
    assert sum(change.startswith("rename") for change in changes) == 2
    for number, change in enumerate(changes, start=1):
        home = place.restore("computed")
        assert place.run("publish", kill_at=number).code == KILLED
        assert content(home.settings) in (place.before, place.after), change
        assert_invariants(home.settings, is_at_rest=False)
        assert place.run("publish").code == 0
        assert_invariants(home.settings, undisturbed=place.after)
        kept = [path.stem.split("_")[1] for path in sorted(home.settings.builds.iterdir())]
        assert kept == [place.before["build"], place.after["build"]], change


def test_a_run_of_dagster_killed_and_its_history_deleted_load_nothing_twice(place):
    """The lake alone says what is known: neither Dagster's storage nor the build folder is needed to go on."""
    home = place.restore("arrived")
    before = witness(home.settings)
    assert place.run("run", kill_building="fct_response").code == KILLED
    assert_invariants(home.settings, before, is_at_rest=False)
    for folder in (home.settings.dagster, home.settings.build):
        shutil.rmtree(folder)
    ended = place.run("run")
    assert ended.code == 0, ended.error
    assert_invariants(home.settings, before, place.after)
    assert len(witness(home.settings).ledger) == len(before.ledger) + 1
