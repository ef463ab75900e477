"""Faults of the machine: disk full, folders that cannot be written, a wrong clock, two runs at once, files damaged."""

import gzip
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager

import duckdb
import pytest
import yaml

from orchestration.errors import UserError, has_no_room
from orchestration.ingestion import ingest, pending, refuse_flood
from orchestration.inspection import query_rows
from orchestration.lake import Lake
from orchestration.locking import writer_lock
from orchestration.publication import KEPT_BUILDS, kept_builds, rollback
from orchestration.settings import REPOSITORY, Settings
from orchestration.study import load_study
from tests.conftest import make_home
from tests.faults.conftest import HEAD, lab
from tests.faults.disturbance import WHOLE_WAY
from tests.faults.invariants import assert_invariants, content, witness


def take_in(home):
    return ingest(home.settings, load_study(home.settings.study_file))


@contextmanager
def read_only(folder):
    """Nothing can be written below the folder: by its permissions, or for root by a mount that is read-only."""
    if os.geteuid():
        os.chmod(folder, 0o555)
        yield
        os.chmod(folder, 0o755)
        return
    done = [subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False)]
    done += [subprocess.run(["mount", "-o", "remount,ro,bind", folder], capture_output=True, check=False)]
    try:
        if any(each.returncode for each in done):
            pytest.skip("root may write everywhere, and this machine allows no mount")
        yield
    finally:
        subprocess.run(["umount", folder], capture_output=True, check=False)


# --- disk and folders ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [100, 2_000, 5_000], ids=["first-copy", "data", "ledger"])
def test_a_full_disk_stops_ingestion_and_the_next_run_with_room_goes_on(tmp_path, runs, limit):
    home = make_home(tmp_path)
    home.drop("lab/a.csv", lab(*((f"A{number}", f"{number}.5") for number in range(200)), ("X", "x")))
    before = witness(home.settings)
    ended = runs.run(home.settings, "ingest", max_file_bytes=limit)
    assert ended.code == 1 and "File too large" in ended.error, ended.error
    assert Lake(home.settings).deliveries().empty
    assert_invariants(home.settings, before, is_at_rest=False)
    assert runs.run(home.settings, "ingest").code == 0
    assert_invariants(home.settings, before)
    assert Lake(home.settings).accepted_rows()["lab_results"] == 200


def test_rows_are_never_committed_without_their_quarantine(home, monkeypatch):
    """The quarantine cannot be written: nothing of the batch counts, so no row vanishes."""
    from orchestration import lake

    home.drop("lab/a.csv", lab(("A1", "1.5"), ("A2", "x")))
    write = lake._write_all

    def full(path, *content):
        if path.parent.name == "quarantine" and path.stem.isdigit():
            raise OSError(28, "No space left on device")
        return write(path, *content)

    monkeypatch.setattr(lake, "_write_all", full)
    with pytest.raises(OSError, match="No space left"):
        take_in(home)
    assert Lake(home.settings).deliveries().empty
    monkeypatch.undo()
    take_in(home)
    assert_invariants(home.settings)
    assert len(Lake(home.settings).quarantine()) == 1


@pytest.mark.parametrize("step", ["build", "publish"])
def test_a_full_disk_leaves_the_last_publication_and_the_next_run_replaces_it(place, step):
    home = place.restore("computed")
    ended = place.run(step, max_file_bytes=100_000)
    assert ended.code == 1, ended
    assert content(home.settings) == place.before
    assert_invariants(home.settings)
    if step == "publish":
        assert "Make room and run again" in ended.error
        assert place.run("publish").code == 0
        assert_invariants(home.settings, undisturbed=place.after)


def by_python(folder):
    (folder / "file").write_bytes(bytes(10**6))


def by_sqlite(folder):
    with closing(sqlite3.connect(folder / "history.db")) as connection:
        connection.execute("create table t as select zeroblob(1000000)")


def by_duckdb(folder):
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute("create table t as select random() as x from range(1000000)")


@pytest.mark.parametrize("write", [by_python, by_sqlite, by_duckdb])
def test_a_full_disk_is_told_as_one_whoever_notices_it(tmp_path, write):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine allows no mount")
    try:
        with pytest.raises(Exception) as raised:
            write(tmp_path)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)
    assert has_no_room(raised.value)
    assert has_no_room(RuntimeError(f"the run failed: {raised.value}"))
    assert not has_no_room(PermissionError(13, "Permission denied"))


def test_a_lake_that_cannot_be_written_stops_the_run_and_nothing_is_lost(place):
    home = place.restore("arrived")
    with read_only(home.settings.lake):
        ended = place.run("ingest")
        assert ended.code == 1 and ("Read-only" in ended.error or "Permission" in ended.error)
        assert content(home.settings) == place.before
    assert place.run("ingest").code == 0
    assert_invariants(home.settings)


def test_a_landing_folder_that_may_only_be_read_is_enough(home):
    home.drop("lab/a.csv", lab(("A1", "1.5")))
    with read_only(home.settings.landing):
        assert [verdict.status for verdict in take_in(home).files] == ["loaded"]
        assert take_in(home).batches == []
    assert_invariants(home.settings)


def test_a_home_that_cannot_be_written_is_refused_with_the_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"SHER2_HOME: .* Point it at a folder you may write to"):
        Settings(tmp_path / "file" / "home", REPOSITORY / "study.yaml").prepare()


def test_folders_with_every_patients_rows_are_ours_alone(home):
    for folder in (home.settings.lake, home.settings.build, home.settings.builds, home.settings.dagster):
        assert folder.stat().st_mode & 0o077 == 0, folder


# --- clock ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-3600, 366 * 86_400], ids=["an-hour-back", "a-year-ahead"])
def test_a_wrong_clock_changes_no_verdict_and_no_order(tmp_path, runs, shift):
    hashes = []
    for name, clock in (("right", 0), ("wrong", shift)):
        home = make_home(tmp_path / name)
        home.drop("lab/a.csv", lab(("A1", "1.5")))
        assert runs.run(home.settings, "ingest", clock_shift=clock).code == 0
        home.drop("lab/a.csv", lab(("A1", "2.5")))
        assert runs.run(home.settings, "ingest").code == 0
        assert_invariants(home.settings)
        statuses = Lake(home.settings).ledger()["status"].tolist()
        hashes.append((Lake(home.settings).data_hash(), statuses))
    assert hashes[0] == hashes[1] and hashes[0][1] == ["superseded", "loaded"]


@pytest.mark.parametrize("when", [0, 60, 4_000_000_000], ids=["1970", "a-minute-past-1970", "2096"])
def test_no_decision_rests_on_the_time_of_a_file_alone(home, when):
    path = home.drop("lab/a.csv", lab(("A1", "1.5")))
    os.utime(path, (when, when))
    assert [verdict.status for verdict in take_in(home).files] == ["loaded"]
    path.write_text(lab(("A1", "2.5")))  # as long as before
    os.utime(path, (when, when))
    assert [verdict.status for verdict in take_in(home).files] == ["loaded"]
    assert Lake(home.settings).ledger()["status"].tolist() == ["superseded", "loaded"]


def test_publications_keep_their_order_when_the_clock_is_set_back(place):
    home = place.restore("computed")
    assert place.run("publish", clock_shift=-10 * 366 * 86_400).code == 0
    assert content(home.settings) == place.after
    assert_invariants(home.settings)
    assert place.run("publish").code == 0  # it is known as the newest
    assert len(kept_builds(home.settings)) == 2


# --- two at once ---------------------------------------------------------------------------------------------------


def test_two_runs_at_once_take_turns_and_nothing_counts_twice(place):
    home = place.restore("arrived")
    environment = os.environ | {"SHER2_HOME": str(home.settings.home), "SHER2_STUDY": str(home.settings.study_file)}
    code = (
        "from orchestration.settings import Settings; from orchestration.study import load_study\n"
        "from orchestration.ingestion import ingest; from orchestration.locking import writer_lock\n"
        "settings = Settings.from_environment()\n"
        "with writer_lock(settings.home, 120): ingest(settings, load_study(settings.study_file))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, env=environment) for _ in range(2)]
    assert [process.wait(180) for process in both] == [0, 0]
    assert_invariants(home.settings)
    assert Lake(home.settings).ledger()["path"].tolist().count("clinical/more.csv") == 1


def test_who_writes_at_a_terminal_beside_a_run_waits_and_is_told_who_holds_the_home(home, monkeypatch):
    from click.testing import CliRunner

    from orchestration import cli, locking

    monkeypatch.setenv("SHER2_HOME", str(home.settings.home))
    monkeypatch.setattr(locking.writer_lock.__wrapped__, "__defaults__", (0.2,))
    with writer_lock(home.settings.home):
        done = CliRunner().invoke(cli.main, ["rollback"])
    assert done.exit_code == 2 and f"pid {os.getpid()}" in done.stderr and "try again" in done.stderr


# --- what is damaged or gone ---------------------------------------------------------------------------------------


DAMAGES = ["gone", "empty", "cut", "no-database", *(f"flip-{number}" for number in range(6))]


def damage(path, how: str) -> None:
    data = bytearray(path.read_bytes())
    path.unlink()
    if how == "gone":
        return
    if how.startswith("flip"):
        for offset in random.Random(how).sample(range(4096, len(data)), 400):
            data[offset] ^= 0xFF
    path.write_bytes(
        {"empty": b"", "cut": data[: len(data) // 2], "no-database": b"SQLite format 3\0" * 99}.get(how, data)
    )


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_warehouse_is_replaced_by_the_next_run(place, how):
    place.restore("computed")
    assert place.run("publish").code == 0
    home = place.home
    damage(home.settings.warehouse, how)
    assert place.run("publish").code == 0
    assert_invariants(home.settings, undisturbed=place.after)
    query = "select build_id, previous_build_id from ops.publications order by published_at"
    history = query_rows(home.settings, query)[1]
    assert history == [(place.before["build"], None), (place.after["build"], place.before["build"])]


def test_a_deleted_warehouse_is_built_anew_from_the_lake_without_landing_folder_or_kept_builds(place):
    home = place.restore("published")
    home.settings.warehouse.unlink()
    for folder in (home.settings.builds, home.settings.build, home.settings.landing):
        shutil.rmtree(folder)
    ended = place.run(*WHOLE_WAY)
    assert ended.code == 0, ended.error
    assert_invariants(home.settings, undisturbed=place.before)


def test_rollback_passes_over_a_damaged_build_and_takes_the_one_before(place):
    home = place.restore("computed")
    assert place.run("publish").code == 0
    first, second = kept_builds(home.settings)
    third = second.with_name(f"000003_{'f' * 16}.duckdb")
    shutil.copy(second, third)
    damage(third, "cut")
    assert rollback(home.settings) == place.before["build"]
    assert content(home.settings) == place.before
    damage(first, "cut")
    home.settings.warehouse.unlink()
    shutil.copy(second, home.settings.warehouse)
    with pytest.raises(UserError, match="no earlier build is kept whole"):
        rollback(home.settings)
    assert content(home.settings) == place.after


def test_a_rollback_stays_in_the_history_of_what_was_published(place):
    home = place.restore("computed")
    assert place.run("publish").code == 0
    rollback(home.settings)
    assert content(home.settings) == place.before
    assert place.run("publish").code == 0
    assert_invariants(home.settings, undisturbed=place.after)
    assert len(kept_builds(home.settings)) == 2 < KEPT_BUILDS


def test_kept_bytes_that_are_damaged_are_set_aside_and_kept_anew_when_the_file_is_there(home):
    path = home.drop("lab/a.csv", lab(("A1", "1.5"), ("A2", "x")))
    home.drop("lab/b.csv", lab(("B1", "1.5")))
    take_in(home)
    lake = Lake(home.settings)
    before = lake.data_hash()
    (file_id,) = lake.ledger().query("path == 'lab/a.csv'")["file_id"]
    kept = lake.root / "files" / f"{file_id}.gz"
    kept.write_bytes(gzip.compress(b"something else"))
    text = path.read_bytes()
    path.unlink()
    lake.forget()
    result = take_in(home)
    assert [verdict.path for verdict in result.files] == ["lab/b.csv"]  # the other is judged again
    assert [held.path for held in result.held] == ["lab/a.csv"] and "Deliver the same file again" in result.held[
        0
    ].reason
    assert [held.path for held in pending(home.settings, load_study(home.settings.study_file))] == ["lab/a.csv"]
    assert lake.accepted_rows()["lab_results"] == 2 and lake.data_hash() == before  # it counts as it was judged
    home.drop("lab/a.csv", text)
    assert take_in(home).held == []
    assert_invariants(home.settings)
    assert lake.data_hash() == before


def test_a_ledger_that_cannot_be_read_stops_the_run(place):
    home = place.restore("arrived")
    ledger = sorted((home.settings.lake / "ledger").glob("[0-9]*.parquet"))[0]
    ledger.write_bytes(ledger.read_bytes()[:100])
    assert place.run(*WHOLE_WAY).code == 1
    assert content(home.settings) == place.before


# --- nearly everything quarantined ---------------------------------------------------------------------------------


def many(unit: str, rows: int = 120) -> str:
    return HEAD + "".join(f"S1,{unit}{n},42914-2,1.5,{unit},2024-03-01T08:00,F,SERUM\n" for n in range(rows))


def test_a_source_whose_new_rows_are_nearly_all_quarantined_stops_before_anything_is_published(home):
    study = load_study(home.settings.study_file)
    home.drop("lab/good.csv", many("ng/mL"))
    take_in(home)
    refuse_flood(home.settings, study)
    home.drop("lab/bad.csv", many("U/mL", 2_000))
    take_in(home)
    for _ in range(2):  # it stays until it is mended
        with pytest.raises(UserError, match=r"site: 2,000 of 2,120 rows .* nothing is published.* sher2 quarantine"):
            refuse_flood(home.settings, study)
    text = yaml.safe_load(home.settings.study_file.read_text("utf-8"))
    text["alarms"]["max_quarantined_pct"] = 100
    home.settings.study_file.write_text(yaml.safe_dump(text), "utf-8")
    refuse_flood(home.settings, load_study(home.settings.study_file))
    assert_invariants(home.settings)


def test_a_flood_is_measured_since_the_last_publication_and_a_few_bad_rows_stop_nothing(place):
    home = place.restore("published")
    study = load_study(home.settings.study_file)
    home.drop("lab/few.csv", many("U/mL", 20))
    take_in(home)
    refuse_flood(home.settings, study)
    home.drop("lab/bad.csv", many("%", 120))
    take_in(home)
    with pytest.raises(UserError, match="140 of 140 rows"):
        refuse_flood(home.settings, study)


def test_what_is_published_has_no_write_ahead_log_and_cannot_be_written(place):
    home = place.restore("published")
    assert not list(home.settings.home.glob("*.wal")) and not list(home.settings.builds.glob("*.wal"))
    with pytest.raises(duckdb.Error), duckdb.connect(str(home.settings.warehouse), read_only=True) as connection:
        connection.execute("create table marts.x (y int)")
