"""Several ingesters at work on one lake: nothing is lost, nothing counts twice, and the end is that of one alone."""

import hashlib
import os
import random
import signal
import threading
from dataclasses import replace

import pytest

from orchestration import batches, ingesters
from orchestration.due import Share
from orchestration.ingestion import ingest
from orchestration.lake import Lake
from orchestration.settings import Settings
from orchestration.study import load_study
from tests.conftest import Home, make_home
from tests.faults.conftest import LONG_AGO, lab
from tests.faults.disturbance import KILLED, Disturbance
from tests.faults.invariants import assert_invariants
from tests.faults.test_kills import state
from tests.object_store import ObjectStore

MANY = {f"lab/{name}.csv": lab((f"{name}1", "1.5"), (f"{name}2", "x")) for name in "abcdef"} | {
    "lab/z_copy.csv": lab(("a1", "1.5"), ("a2", "x")),
    "lab/bad.csv": "nothing,of\nours,here\n",
    "clinical/v.csv": "subject_id,visit_name,visit_on\nS1,C1D1,2024-03-01\n",
}


def many(folder) -> Home:
    home = make_home(folder)
    for path, text in MANY.items():
        home.drop(path, text)
    return home


def at_rest(home: Home) -> dict:
    """What counts; validations are a log, and who comes second has validated, too."""
    return {name: found for name, found in state(home).items() if name != "validations"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory, runs):
    home = many(tmp_path_factory.mktemp("alone"))
    ended = runs.run(home.settings, "ingest", files_a_batch=2)
    assert ended.code == 0, ended.error
    return len(ended.changes), at_rest(home)


@pytest.fixture(scope="module")
def store():
    with ObjectStore() as store:
        yield store


class Local:
    """Four processes on one folder."""

    def __init__(self, folder):
        self.home = many(folder)
        self.settings, self.environment = self.home.settings, {}

    def found(self) -> Home:
        return self.home


class Distributed(Local):
    """Landing folder and lake in buckets; the processes are of one machine, each as if it had come from another."""

    def __init__(self, folder, store: ObjectStore):
        self._folder, self._store, self.environment = folder, store, store.environment
        self._lake = store.bucket(f"lake-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}")
        landing = store.bucket(f"landing-{self._lake[-12:]}")
        for path, text in MANY.items():
            store.put(f"{landing}/{path}", text)
        self.settings = replace(
            make_home(folder, {"landing": {"settle_seconds": 0}}).settings, landing_url=landing, lake_url=self._lake
        )

    def found(self) -> Home:
        """The bucket as the folder that it would be on one machine."""
        home = many(self._folder / "as_folder")
        bucket = self._lake.removeprefix("s3://")
        for name in self._store.names(self._lake):
            path = home.settings.lake / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._store.client.download_file(bucket, name, str(path))
        Lake(home.settings).prepare()
        return home


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path, store) -> Local:
    return Local(tmp_path) if request.param == "folder" else Distributed(tmp_path, store)


def test_four_ingesters_killed_at_random_end_where_one_alone_does(place, runs, alone):
    changes, expected = alone
    chance, killed = random.Random(1), 0
    for latest in (changes // 3, changes, 0):  # in the first round none comes to its end; in the last one nobody is killed
        disturbances = [Disturbance(files_a_batch=2, kill_at=chance.randint(1, latest) if latest else 0) for _ in range(4)]
        ended = runs.ingest_together(place.settings, disturbances, place.environment)
        assert {item.code for item in ended} <= {0, KILLED}, [item.error for item in ended]
        killed += sum(item.code == KILLED for item in ended)
    assert killed >= 4
    home = place.found()
    if not place.settings.lake_url:
        ingest(home.settings, load_study(home.settings.study_file))  # alone: what the killed ones left is cleared away
    assert_invariants(home.settings)
    assert at_rest(home) == expected


def test_four_ingesters_at_once_take_in_everything_once(place, runs, alone):
    ended = runs.ingest_together(place.settings, [Disturbance(files_a_batch=2)] * 4, place.environment)
    assert [item.code for item in ended] == [0] * 4, [item.error for item in ended]
    home = place.found()
    assert_invariants(home.settings)
    assert at_rest(home) == alone[1]


# --- what another one does while a batch is being judged --------------------------------------------------------------


@pytest.fixture
def meanwhile(home, monkeypatch):
    """Have something happen while the first batch is being judged; then another ingester takes in what is due."""
    study, judge = load_study(home.settings.study_file), batches.judge

    def arrange(happens):
        def judged(*arguments):
            monkeypatch.setattr(batches, "judge", judge)
            happens()
            ingest(home.settings, study, share=Share())
            return judge(*arguments)

        monkeypatch.setattr(batches, "judge", judged)
        return ingest(home.settings, study)

    return arrange


def statuses(settings: Settings) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in Lake(settings).ledger().itertuples():
        found.setdefault(row.path, []).append(row.status)
    return found


def test_what_another_one_has_taken_in_is_not_taken_in_again(home, meanwhile):
    home.drop("lab/a.csv", lab(("A1", "1.5")))
    assert meanwhile(lambda: None).files == []
    assert len(Lake(home.settings).deliveries()) == 1
    assert_invariants(home.settings)


def test_a_batch_of_which_another_one_has_taken_a_part_commits_the_rest(home, meanwhile):
    home.drop("lab/a.csv", lab(("A1", "1.5")))
    taken = meanwhile(lambda: home.drop("lab/b.csv", lab(("B1", "1.5"))))
    assert taken.files == [] and statuses(home.settings) == {"lab/a.csv": ["loaded"], "lab/b.csv": ["loaded"]}
    assert_invariants(home.settings)


def test_bytes_that_another_one_has_loaded_at_another_path_are_a_duplicate(home, meanwhile):
    home.drop("lab/z.csv", lab(("A1", "1.5")))

    def moved():
        (home.settings.landing / "lab/z.csv").rename(home.settings.landing / "lab/a.csv")

    meanwhile(moved)
    assert statuses(home.settings) == {"lab/a.csv": ["loaded"], "lab/z.csv": ["duplicate"]}
    assert Lake(home.settings).accepted_rows()["lab_results"] == 1
    assert_invariants(home.settings)


def test_what_came_to_a_path_later_stays_the_later_delivery_though_it_was_committed_first(home, meanwhile):
    first, second = lab(("A1", "1.5")), lab(("A1", "2.5"))
    home.drop("lab/a.csv", first)

    def corrected():
        path = home.drop("lab/a.csv", second)
        os.utime(path, (LONG_AGO[0] + 60, LONG_AGO[1] + 60))

    meanwhile(corrected)
    ledger = Lake(home.settings).ledger()
    assert ledger["status"].tolist() == ["superseded", "loaded"]
    assert ledger["file_id"].tolist() == [hashlib.sha256(text.encode()).hexdigest() for text in (first, second)]
    assert ingest(home.settings, load_study(home.settings.study_file)).batches == []
    assert_invariants(home.settings)


# --- several processes of one run -------------------------------------------------------------------------------------


def test_a_run_in_several_processes_ends_where_one_process_does(tmp_path, alone):
    home = many(tmp_path)
    taken = ingest(replace(home.settings, workers=2), load_study(home.settings.study_file))
    assert len(taken.files) == len(MANY) and len(taken.batches) >= 2
    assert_invariants(home.settings)
    assert at_rest(home) == alone[1]


def test_a_process_that_is_killed_stops_the_run_and_the_next_one_takes_in_the_rest(tmp_path, monkeypatch, alone):
    home = many(tmp_path)
    started, study = ingesters._started, load_study(home.settings.study_file)

    def shot(*arguments):
        process = started(*arguments)
        if not victims:
            victims.append(process.pid)
            threading.Timer(0.5, os.kill, (process.pid, signal.SIGKILL)).start()
        return process

    victims: list[int] = []
    monkeypatch.setattr(ingesters, "_started", shot)
    with pytest.raises(ingesters.Killed, match="killed"):
        ingest(replace(home.settings, workers=2), study)
    monkeypatch.undo()
    assert 0 < len(Lake(home.settings).deliveries()) < len(MANY)
    ingest(replace(home.settings, workers=2), study)
    assert_invariants(home.settings)
    assert at_rest(home) == alone[1]


def test_shares_leave_no_file_out_and_take_none_twice():
    paths = [f"lab/{number}.csv" for number in range(200)]
    for path in paths:
        assert sum(Share(number, 4).has(path) for number in range(1, 5)) == 1
    assert all(any(Share(number, 4).has(path) for path in paths) for number in range(1, 5))


