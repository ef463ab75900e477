"""A run killed at any operation on a file leaves the lake whole; the next one ends where an undisturbed one does."""

import json
import re
import subprocess
import sys

import pytest

from orchestration.settings import REPOSITORY
from tests.conftest import make_home
from tests.integration.test_ingestion import lab

# Imports the stack once, then forks: children run with a hook that kills them at their n-th change of a file.
ZYGOTE = """
import json, os, signal, sys
from pathlib import Path
from orchestration import ingestion, validation
from orchestration.lake import Lake
from orchestration.settings import Settings
from orchestration.study import load_study

validation._engine()
ingestion.MAX_FILES = 2  # several batches
changes = []

def count(kill_at, home):
    def hook(event, arguments):
        is_change = event in ("os.rename", "os.remove") or (event == "open" and isinstance(arguments[2], int)
                                                            and arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if is_change and str(arguments[0]).startswith(home):
            changes.append(str(arguments[0]).removeprefix(home))
            if len(changes) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def run(home, study, kill_at):
    '''Exit code of a forked run, and the files that it changed, in order.'''
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            count(kill_at, home)
            if os.environ.get("POISON"):
                from orchestration import exports
                read = exports.read
                def die(path, name, study):
                    if name.endswith("poison.csv"):
                        os.kill(os.getpid(), signal.SIGKILL)
                    return read(path, name, study)
                exports.read = die
            ingestion.ingest(Settings(Path(home), Path(study)), load_study(Path(study)))
            with os.fdopen(writing, "w") as pipe:
                json.dump(changes, pipe)
            os._exit(0)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), json.loads(told or "[]")

for line in sys.stdin:
    print(json.dumps(run(*json.loads(line))), flush=True)
"""

KILLED = -9


@pytest.fixture(scope="module")
def zygote():
    def start(**environment):
        import os

        process = subprocess.Popen(
            [sys.executable, "-c", ZYGOTE], cwd=REPOSITORY, env=os.environ | environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)

        def run(home, kill_at: int = 0) -> tuple[int, list[str]]:
            process.stdin.write(json.dumps([str(home.settings.home), str(home.settings.study_file), kill_at]) + "\n")
            process.stdin.flush()
            return tuple(json.loads(process.stdout.readline()))

        return run

    started: list[subprocess.Popen] = []
    yield start
    for process in started:
        process.communicate()


def drop_exports(home) -> None:
    home.drop("lab/a.csv", lab(("A1", "1.5"), ("A2", "x")))
    home.drop("lab/b.csv", lab(("B1", "1.5")))
    home.drop("lab/copy.csv", lab(("B1", "1.5")))
    home.drop("lab/bad.csv", "nothing,of\nours,here\n")
    home.drop("clinical/v.csv", "subject_id,visit_name,visit_on\nS1,C1D1,2024-03-01\n")


def state(home) -> dict:
    """All that counts in a lake, without times and numbers of batches."""
    import duckdb

    from orchestration.lake import Lake

    lake = Lake(home.settings)
    ledger = lake.ledger().drop(columns=["received_at", "batch", "sequence"])
    accepted = {}
    for record in ("lab_results", "visits"):
        files = str(lake.root / "records" / record / "*.parquet")
        rows = duckdb.sql(
            f"select _file_id, _row_number, _batch, _rejected_by, subject_id from read_parquet('{files}')"
        )
        current = {(row.file_id, row.batch) for row in lake.ledger().itertuples() if row.status == "loaded"}
        accepted[record] = sorted(
            (row[0], row[1], row[3], row[4]) for row in rows.fetchall() if (row[0], row[2]) in current
        )
    faults = lake.quarantine().drop(columns="batch")
    files = str(lake.root / "validations" / "*.parquet")
    validations = duckdb.sql(
        f"select suite, rule, evaluated, unexpected from read_parquet('{files}') order by all"
    ).fetchall()
    kept = sorted(path.name for path in (lake.root / "files").iterdir())
    return {
        "ledger": ledger.to_dict("records"), "rows": accepted, "faults": faults.to_dict("records"),
        "hash": lake.data_hash(), "validations": validations, "kept": kept,
    }  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, zygote):
    home = make_home(tmp_path_factory.mktemp("undisturbed"))
    drop_exports(home)
    run = zygote()
    code, changes = run(home)
    assert code == 0
    return run, changes, state(home)


def points(changes: list[str]) -> list[int]:
    """Every change of a batch's own files, which is where order matters, and a sample of the others."""
    numbers = range(1, len(changes) + 1)
    commits = [n for n in numbers if re.search(r"/\.?0000[0-9]+\.parquet", changes[n - 1])]
    return sorted({*commits, *list(numbers)[::9], len(changes)})


def test_a_run_killed_at_any_change_of_a_file_is_made_good_by_the_next(tmp_path, undisturbed):
    run, changes, expected = undisturbed
    assert len(points(changes)) > 20
    for point in points(changes):
        home = make_home(tmp_path / str(point))
        drop_exports(home)
        assert run(home, point)[0] == KILLED
        assert run(home)[0] == 0
        assert state(home) == expected, f"killed before change {point}: {changes[point - 1]}"


def test_a_run_killed_again_and_again_still_ends(tmp_path, undisturbed):
    run, changes, expected = undisturbed
    home = make_home(tmp_path)
    drop_exports(home)
    for part in (0.9, 0.5, 0.3):
        run(home, int(len(changes) * part))
    assert run(home)[0] == 0
    assert state(home) == expected


def test_a_file_that_kills_every_run_is_set_aside_and_others_are_taken_in(tmp_path, zygote):
    home = make_home(tmp_path, {"ingest": {"max_attempts": 2}})
    home.drop("lab/a.csv", lab(("A1", "1.5")))
    home.drop("lab/poison.csv", lab(("P1", "1.5")))
    home.drop("lab/z.csv", lab(("Z1", "1.5")))
    run = zygote(POISON="1")
    codes = [run(home)[0] for _ in range(4)]
    assert codes == [KILLED, KILLED, KILLED, 0]  # twice among others, once alone, then set aside
    found = {row["path"]: (row["status"], (row["reason"] or "").split(":")[0]) for row in state(home)["ledger"]}
    assert found == {"lab/a.csv": ("loaded", ""), "lab/poison.csv": ("rejected", "poison"), "lab/z.csv": ("loaded", "")}
