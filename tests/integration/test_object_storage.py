"""Landing folder and lake in buckets: the same numbers as from folders, and a clear word where a bucket cannot be used."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestration import storage
from orchestration.cli import main
from orchestration.errors import UserError
from orchestration.ingestion import ingest
from orchestration.lake import Lake
from orchestration.settings import REPOSITORY
from orchestration.simulate import write_study
from orchestration.study import load_study
from tests.conftest import Home, make_home
from tests.object_store import ObjectStore

VISITS = "subject_id,visit_name,visit_on\nS1,C1D1,2024-02-01\n"


@pytest.fixture(scope="module")
def store():
    with ObjectStore() as store:
        yield store


@pytest.fixture(autouse=True)
def environment_of_its_own(monkeypatch):
    """A run tells its children of its buckets; later tests have none."""
    for key in ("SHER2_LANDING_URL", "SHER2_LAKE_URL"):
        monkeypatch.setenv(key, "")


@pytest.fixture
def buckets(tmp_path, store) -> tuple[str, str]:
    """URLs of a landing folder and of a lake of a test's own."""
    name = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:20]
    return store.bucket(f"landing-{name}") + "/exports", store.bucket(f"lake-{name}")


def machine(folder: Path, buckets: tuple[str, str]) -> Home:
    """A home of its own that works on the buckets."""
    home = make_home(folder, {"landing": {"settle_seconds": 0}})
    return Home(replace(home.settings, landing_url=buckets[0], lake_url=buckets[1]))


def take_in(home: Home):
    return ingest(home.settings, load_study(home.settings.study_file))


def test_a_study_in_buckets_has_the_marts_and_the_build_of_one_in_folders(tmp_path, store, buckets):
    folders = make_home(tmp_path / "folders", {"landing": {"settle_seconds": 0}})
    write_study(folders.settings.landing, 6, 3)
    for path in folders.settings.landing.rglob("*.*"):
        store.put(f"{buckets[0]}/{path.relative_to(folders.settings.landing)}", path.read_bytes())
    first, second = machine(tmp_path / "first", buckets), machine(tmp_path / "second", buckets)
    taken = take_in(first)  # one machine takes in, another one builds
    assert taken.files and taken.held == []
    folders.run()
    second.run()
    assert second.content() == folders.content()
    build = "select build_id from ops.publications"
    assert second.value(build) == folders.value(build)
    assert take_in(second).batches == []


def test_what_one_machine_has_taken_in_another_one_knows(tmp_path, store, buckets):
    first, second = machine(tmp_path / "first", buckets), machine(tmp_path / "second", buckets)
    store.put(f"{buckets[0]}/clinical/a.csv", VISITS)
    store.put(f"{buckets[0]}/clinical/.hidden.csv", VISITS)
    store.put(f"{buckets[0]}/clinical/bad.csv", "a,b\n1,2\n")
    assert sorted(verdict.status for verdict in take_in(first).files) == ["loaded", "rejected"]
    assert take_in(second).files == []
    store.put(f"{buckets[0]}/clinical/a.csv", VISITS.replace("2024-02-01", "2024-02-02"))
    assert [verdict.status for verdict in take_in(second).files] == ["loaded"]
    assert Lake(first.settings).ledger()["status"].tolist() == ["superseded", "loaded", "rejected"]
    assert Lake(first.settings).accepted_rows()["visits"] == Lake(second.settings).accepted_rows()["visits"] == 2
    refused = Lake(first.settings).ledger()["file_id"].iloc[-1]
    Lake(first.settings).reprocess(refused)
    assert [verdict.path for verdict in take_in(second).files] == ["clinical/bad.csv"]


def test_a_backup_says_that_buckets_are_not_in_it(tmp_path, store, buckets):
    home = machine(tmp_path, buckets).settings
    environment = {
        "SHER2_HOME": str(home.home), "SHER2_STUDY": str(home.study_file),
        "SHER2_LANDING_URL": home.landing_url, "SHER2_LAKE_URL": home.lake_url,
    }  # fmt: skip
    said = CliRunner().invoke(main, ["backup", str(tmp_path / "home.tar")], env=environment).output
    assert f"Not in it is what lies in {home.landing_url} and {home.lake_url}" in said


def test_an_object_counts_once_it_has_settled_or_its_sender_says_so(tmp_path, store, buckets):
    home = Home(
        replace(
            make_home(tmp_path, {"landing": {"settle_seconds": 3600}}).settings,
            landing_url=buckets[0],
            lake_url=buckets[1],
        )
    )
    store.put(f"{buckets[0]}/clinical/a.csv", VISITS)
    assert [held.path for held in take_in(home).held] == ["clinical/a.csv"]
    store.put(f"{buckets[0]}/clinical/a.csv.done", "")
    assert [verdict.path for verdict in take_in(home).files] == ["clinical/a.csv"]


def test_merged_files_are_read_by_machines_that_have_the_small_ones_and_by_those_that_have_none(
    tmp_path, store, buckets, monkeypatch
):
    from orchestration import lake as module

    first, second = machine(tmp_path / "first", buckets), machine(tmp_path / "second", buckets)
    for number in range(3):
        store.put(f"{buckets[0]}/clinical/{number}.csv", VISITS.replace("S1", f"S{number}"))
        take_in(first)
    Lake(second.settings).prepare()
    Lake(second.settings).freeze()
    monkeypatch.setattr(module, "_SMALL_FILES", 3)
    assert Lake(first.settings).compact() >= 3
    visits = [name for name in store.names(buckets[1]) if name.startswith("records/visits/")]
    assert visits == ["records/visits/merged-000000001.parquet"]
    third = machine(tmp_path / "third", buckets)
    for home, files in ((first, 1), (second, 3), (third, 1)):
        lake = Lake(home.settings)
        lake.prepare()
        lake.freeze()
        assert lake.accepted_rows()["visits"] == 3
        assert len(list((home.settings.lake / "records/visits").glob("[0-9m]*.parquet"))) == files


def test_a_name_is_given_once_and_the_one_who_has_it_is_told_so_again(store, tmp_path, buckets):
    bucket = storage.Bucket("SHER2_LAKE_URL", buckets[1])
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.write_bytes(b"mine")
    other.write_bytes(b"other")
    assert bucket.create("x", mine)
    assert bucket.create("x", mine)  # the answer to the first request was lost
    assert not bucket.create("x", other) and bucket.read("x") == b"mine"


# --- what cannot be used ----------------------------------------------------------------------------------------------


def refused(home: Path, environment: dict[str, str]) -> str:
    storage.bucket_of.cache_clear()
    study = {"SHER2_HOME": str(home), "SHER2_STUDY": str(REPOSITORY / "study.yaml")}
    done = CliRunner().invoke(main, ["run"], env=study | environment)
    assert done.exit_code == 2, done.output
    lines = done.output.strip().splitlines()
    assert len(lines) == 1, done.output
    assert not (home / "lake").exists()
    return lines[0]


@pytest.mark.parametrize("key", ["SHER2_LANDING_URL", "SHER2_LAKE_URL"])
@pytest.mark.parametrize(
    ("url", "environment", "words"),
    [
        ("/mnt/lake", {}, ["no bucket", "s3://BUCKET"]),
        ("gs://lake/x", {}, ["no bucket", "s3://BUCKET"]),
        ("s3://no-such-bucket", {}, ["no such bucket", "Create it"]),
        ("s3://any-bucket", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, ["cannot be reached", "AWS_ENDPOINT_URL"]),
    ],
)
def test_a_bucket_that_cannot_be_used_is_refused_at_start(tmp_path, store, key, url, environment, words):
    said = refused(tmp_path / "home", {key: url} | environment)
    assert all(word in said for word in [f"sher2: {key}: ", url, *words]), said


def test_a_bucket_without_permission_is_refused_at_start(tmp_path, store, buckets):
    with store.asking_for_permission():
        said = refused(tmp_path / "home", {"SHER2_LAKE_URL": buckets[1]})
    assert "access is refused" in said and "AWS_ACCESS_KEY_ID" in said


def test_a_server_that_overwrites_is_refused(store, buckets, monkeypatch):
    import s3fs

    pipe_file = s3fs.S3FileSystem.pipe_file
    monkeypatch.setattr(s3fs.S3FileSystem, "pipe_file", lambda self, path, data, mode=None: pipe_file(self, path, data))
    bucket = storage.Bucket("SHER2_LAKE_URL", buckets[1])
    with pytest.raises(UserError, match="If-None-Match"):
        bucket.refuse_unless_created_once()


def test_the_lake_of_another_place_is_not_taken_for_this_one(tmp_path, store, buckets):
    home = make_home(tmp_path)
    home.drop("clinical/a.csv", VISITS)
    take_in(home)
    with pytest.raises(UserError, match=r"SHER2_LAKE_URL: .* holds the lake of this home itself"):
        Lake(replace(home.settings, lake_url=buckets[1]))


@pytest.mark.parametrize("workers", ["0", "two", "-1", "1000"])
def test_a_number_of_processes_that_makes_no_sense_is_refused(tmp_path, workers):
    assert "SHER2_WORKERS" in refused(tmp_path / "home", {"SHER2_WORKERS": workers})


