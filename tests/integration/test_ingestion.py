"""From the landing folder into the lake: every file has one verdict, nothing is lost, nothing counts twice."""

import gzip
import hashlib
import os

import pyarrow.parquet as pq
import pytest
import yaml

from orchestration import batches, due, exports, validation
from orchestration.errors import UserError
from orchestration.exports import Rejected, delimited
from orchestration.ingestion import ingest, judge_file, pending, pending_fingerprint
from orchestration.lake import Lake
from orchestration.study import load_study
from tests.conftest import make_home

HEAD = "subject_id,sample_id,analyte,value,unit,collected_at,result_status,specimen\n"


def lab(*rows: tuple) -> str:
    """A lab export in the layout `site`: (sample, value) or (sample, value, unit)."""
    lines = [
        f"S1,{row[0]},42914-2,{row[1]},{row[2] if len(row) > 2 else 'ng/mL'},2024-03-01T08:00,F,SERUM" for row in rows
    ]
    return HEAD + "\n".join(lines) + "\n"


@pytest.fixture
def study(home):
    return load_study(home.settings.study_file)


@pytest.fixture
def take_in(home):
    def run(**options):
        return ingest(home.settings, load_study(home.settings.study_file), **options)

    return run


def verdicts(home) -> dict[str, str]:
    ledger = Lake(home.settings).ledger()
    return {f"{row.path} {row.file_id[:6]}": row.status for row in ledger.itertuples()}


def statuses(home) -> dict[str, list[str]]:
    """Path -> status of its deliveries, oldest first."""
    found: dict[str, list[str]] = {}
    for row in Lake(home.settings).ledger().itertuples():
        found.setdefault(row.path, []).append(row.status)
    return found


def test_a_table_read_from_disk_piece_by_piece_is_judged_and_kept_row_by_row(home, take_in, monkeypatch):
    monkeypatch.setattr(delimited, "SPILL_ROWS", 10)
    monkeypatch.setattr(delimited, "_BLOCK_BYTES", 512)
    monkeypatch.setattr(validation, "FRAME_ROWS", 7)
    bad = {3, 8, 19, 20, 39}
    home.drop("lab/a.csv", lab(*[(f"A{n}", "12", "U/mL" if n in bad else "ng/mL") for n in range(1, 41)]))
    assert take_in().records["lab_results"] == batches.Counts(40, 35, 5)
    assert set(Lake(home.settings).quarantine()["row_number"]) == bad
    (kept,) = (home.settings.lake / "records" / "lab_results").glob("[0-9]*.parquet")
    rows = pq.read_table(kept).to_pylist()
    assert [(row["_row_number"], row["sample_id"]) for row in rows] == [(n, f"A{n}") for n in range(1, 41)]
    assert {row["_row_number"] for row in rows if row["_rejected_by"]} == bad
    assert all(dict(row["_source"])["sample_id"] == row["sample_id"] for row in rows)


def test_rows_read_are_accepted_or_quarantined_and_the_bytes_are_kept(home, take_in):
    text = lab(("A1", "12.5"), ("A2", "12", "U/mL"), ("A3", "x"))
    source = home.drop("lab/sub/a.csv", text)
    result = take_in()
    (row,) = Lake(home.settings).ledger().itertuples()
    assert (row.path, row.status, row.rows_read, row.rows_accepted, row.rows_quarantined) == (
        "lab/sub/a.csv",
        "loaded",
        3,
        1,
        2,
    )
    assert row.file_id == hashlib.sha256(text.encode()).hexdigest()
    kept = home.settings.lake / "files" / f"{row.file_id}.gz"
    assert gzip.decompress(kept.read_bytes()) == source.read_bytes()
    counts = result.records["lab_results"]
    assert (counts.rows_read, counts.rows_accepted, counts.rows_quarantined) == (3, 1, 2)
    faults = Lake(home.settings).quarantine()
    assert dict(zip(faults["row_number"], faults["rule"], strict=True)) == {2: "known_unit", 3: "value_readable"}
    assert all("lab/sub/a.csv" in message for message in faults["message"])
    assert Lake(home.settings).accepted_rows()["lab_results"] == 1


def test_running_twice_changes_nothing(home, take_in):
    home.drop("lab/a.csv", lab(("A1", "1.5")))
    home.drop("lab/bad.csv", "no,header,of\nours,at,all\n")
    take_in()
    before = {path: path.read_bytes() for path in home.settings.lake.rglob("*") if path.is_file()}
    for trust_memory in (True, False):
        assert take_in(trust_memory=trust_memory).batches == []
    assert {path: path.read_bytes() for path in home.settings.lake.rglob("*") if path.is_file()} == before


def test_the_same_bytes_under_another_name_are_a_duplicate(home, take_in):
    for name in ("lab/a.csv", "lab/copy.csv"):
        home.drop(name, lab(("A1", "1.5")))
    take_in()
    home.drop("clinical/later.csv", lab(("A1", "1.5")))
    take_in()
    assert statuses(home) == {
        "lab/a.csv": ["loaded"],
        "lab/copy.csv": ["duplicate"],
        "clinical/later.csv": ["duplicate"],
    }
    assert Lake(home.settings).accepted_rows()["lab_results"] == 1


def test_other_bytes_at_the_same_path_supersede_and_may_be_taken_back(home, take_in):
    first, second = lab(("A1", "1.5")), lab(("A1", "2.5"))
    home.drop("lab/a.csv", first)
    take_in()
    home.drop("lab/a.csv", second)
    take_in()
    assert statuses(home) == {"lab/a.csv": ["superseded", "loaded"]}
    corrected = Lake(home.settings).data_hash()
    home.drop("lab/a.csv", first)
    assert len(take_in().files) == 1
    newest = Lake(home.settings).ledger().iloc[-1]
    assert newest["file_id"] == hashlib.sha256(first.encode()).hexdigest() and newest["status"] == "loaded"
    assert statuses(home) == {"lab/a.csv": ["superseded", "loaded"]}
    assert Lake(home.settings).data_hash() != corrected
    assert take_in().batches == []


def test_a_file_in_the_wrong_place_is_judged_anew_where_it_is_moved_to(tmp_path):
    source = {
        "name": "lis", "folder": "lab", "match": "vendor/*", "record": "lab_results", "delimiter": ";",
        "columns": {"subject_id": "Pat", "analyte": "Test", "value": "Erg", "unit": "Einheit", "collected_at": "Zeit"},
    }  # fmt: skip
    home = make_home(tmp_path, {"sources": [source]})
    text = "Pat;Test;Erg;Einheit;Zeit\nS1;42914-2;12.5;ng/mL;2024-03-01T08:00\n"
    home.drop("clinical/x.csv", text)
    study = load_study(home.settings.study_file)
    assert [verdict.status for verdict in ingest(home.settings, study).files] == ["rejected"]
    home.drop("lab/vendor/x.csv", text)
    assert [verdict.status for verdict in ingest(home.settings, study).files] == ["loaded"]


@pytest.mark.parametrize("size", [1, 3])
def test_arrival_order_and_batching_do_not_change_the_data_hash(tmp_path, monkeypatch, size):
    files = {f"lab/f{i}.csv": lab((f"A{i}", f"{i}.5")) for i in range(4)} | {"lab/copy.csv": lab(("A1", "1.5"))}
    hashes = []
    for number, names in enumerate([sorted(files), sorted(files, reverse=True)]):
        home = make_home(tmp_path / str(number))
        monkeypatch.setattr(due, "MAX_FILES", size if number else 2_000)
        for name in names:
            home.drop(name, files[name])
            if number:
                ingest(home.settings, load_study(home.settings.study_file))
        ingest(home.settings, load_study(home.settings.study_file))
        hashes.append((Lake(home.settings).data_hash(), Lake(home.settings).accepted_rows()["lab_results"]))
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("module", "limit", "value"), [(due, "MAX_FILES", 2), (due, "MAX_BYTES", 400), (batches, "MAX_ROWS", 3)]
)
def test_batches_are_bounded_and_nothing_is_left(home, take_in, monkeypatch, module, limit, value):
    monkeypatch.setattr(module, limit, value)
    for number in range(5):
        home.drop(f"lab/f{number}.csv", lab((f"A{number}", "1"), (f"B{number}", "2")))
    result = take_in()
    assert len(result.batches) == 3 and Lake(home.settings).accepted_rows()["lab_results"] == 10


def test_mended_rules_judge_refused_files_and_quarantined_rows_again(home, take_in):
    home.drop("lab/a.csv", lab(("A1", "1.5"), ("A2", "3,5")).replace("3,5", '"3,5"'))
    home.drop("lab/b.csv", HEAD.replace(",", ";") + "S1;B1;42914-2;3,5;ng/mL;2024-03-01T08:00;F;SERUM\n")
    home.drop("lab/clean.csv", lab(("C1", "1.5")))
    take_in()
    before = Lake(home.settings).ledger().set_index("path")
    assert before["status"].to_dict() == {"lab/a.csv": "loaded", "lab/b.csv": "rejected", "lab/clean.csv": "loaded"}
    assert before.loc["lab/a.csv", "rows_quarantined"] == 1
    study = yaml.safe_load(home.settings.study_file.read_text("utf-8"))
    study["sources"] = [
        {"name": "comma", "match": "b.csv", "delimiter": ";", "decimal": ",", "record": "lab_results",
         "columns": {name: name for name in HEAD.strip().split(",")}},
    ]  # fmt: skip
    home.settings.study_file.write_text(yaml.safe_dump(study), "utf-8")
    again = {verdict.path: verdict.status for verdict in take_in().files}
    assert again == {"lab/a.csv": "loaded", "lab/b.csv": "loaded"}
    after = Lake(home.settings).ledger().set_index("path")
    assert (after["received_at"] == before["received_at"]).all() and (after["sequence"] == before["sequence"]).all()
    assert Lake(home.settings).accepted_rows()["lab_results"] == 3
    assert take_in().batches == []


def test_the_lake_alone_is_enough_to_judge_everything_again(home, take_in):
    paths = [home.drop("lab/a.csv", lab(("A1", "1.5"), ("A2", "x"))), home.drop("lab/b.csv", lab(("B1", "1.5")))]
    take_in()
    lake = Lake(home.settings)
    before, received = lake.data_hash(), lake.ledger()["received_at"].tolist()
    for path in paths:
        path.unlink()
    lake.forget()
    assert sorted(verdict.path for verdict in take_in().files) == ["lab/a.csv", "lab/b.csv"]
    assert (lake.data_hash(), lake.ledger()["received_at"].tolist()) == (before, received)
    assert lake.accepted_rows()["lab_results"] == 2 and len(lake.quarantine()) == 1
    assert take_in().batches == []


def test_reprocess_judges_one_file_again(home, take_in):
    home.drop("lab/a.csv", "nothing\n1\n")
    home.drop("lab/b.csv", lab(("B1", "1.5")))
    take_in()
    lake = Lake(home.settings)
    refused = lake.ledger().set_index("path").loc["lab/a.csv", "file_id"]
    assert lake.reprocess(refused[:10]) == "lab/a.csv"
    assert [verdict.path for verdict in take_in().files] == ["lab/a.csv"]
    assert take_in().batches == []
    for unknown in ("", "zz"):
        with pytest.raises(UserError, match="sher2 quarantine"):
            lake.reprocess(unknown)


def test_what_is_no_whole_regular_file_is_held_and_others_go_on(home, take_in, tmp_path):
    home.drop("lab/good.csv", lab(("A1", "1.5")))
    landing = home.settings.landing
    (tmp_path / "outside.csv").write_text(lab(("A2", "1.5")))
    (landing / "lab" / "link.csv").symlink_to(tmp_path / "outside.csv")
    (landing / "lab" / "dangling.csv").symlink_to(tmp_path / "nowhere.csv")
    os.mkfifo(landing / "lab" / "pipe.csv")
    home.drop("lab/folder.csv/inner.csv", lab(("A3", "1.5")))
    for name in (
        ".hidden.csv",
        "~a.csv",
        "a.csv.tmp",
        "a.csv.part",
        "a.csv.filepart",
        "a.csv.crdownload",
        "good.csv.done",
    ):
        home.drop(f"lab/{name}", lab(("A4", "1.5")))
    result = take_in()
    assert {held.path for held in result.held} == {f"lab/{n}.csv" for n in ("link", "dangling", "pipe", "folder")}
    assert sorted(verdict.path for verdict in result.files) == ["lab/folder.csv/inner.csv", "lab/good.csv"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_held(home, take_in):
    home.drop("lab/a.csv", lab(("A1", "1.5"))).chmod(0)
    home.drop("lab/b.csv", lab(("B1", "1.5")))
    result = take_in()
    assert [held.path for held in result.held] == ["lab/a.csv"] and [verdict.path for verdict in result.files] == [
        "lab/b.csv"
    ]


def test_a_file_that_changes_while_it_is_read_is_held(home, take_in, monkeypatch):
    path = home.drop("lab/a.csv", lab(("A1", "1.5")))
    keep = Lake.keep

    def grow(lake, parts):
        def growing():
            for part in parts:
                with path.open("a") as file:
                    file.write("S1,A2,42914-2,2,ng/mL,2024-03-01,F,SERUM\n")
                yield part

        return keep(lake, growing())

    monkeypatch.setattr(Lake, "keep", grow)
    result = take_in()
    assert result.files == [] and "changed while it was read" in result.held[0].reason
    assert list((home.settings.lake / "files").iterdir()) == []
    monkeypatch.undo()
    assert [verdict.status for verdict in take_in().files] == ["loaded"]


def test_a_fresh_file_waits_until_it_has_settled_or_its_sender_says_so(tmp_path):
    home = make_home(tmp_path, {"landing": {"settle_seconds": 3600}})
    study = load_study(home.settings.study_file)
    for name in ("a.csv", "b.csv", "c.csv"):
        home.drop(f"lab/{name}", lab((name, "1.5")))
    os.utime(home.settings.landing / "lab/a.csv")
    os.utime(home.settings.landing / "lab/b.csv")
    home.drop("lab/b.csv.done", "")
    assert pending_fingerprint(home.settings, study) is not None
    result = ingest(home.settings, study)
    assert [held.path for held in result.held] == ["lab/a.csv"]
    assert [verdict.path for verdict in result.files] == ["lab/b.csv", "lab/c.csv"]
    assert [item.path for item in pending(home.settings, study)] == ["lab/a.csv"]
    assert pending_fingerprint(home.settings, study) is None


def test_a_run_waits_a_moment_for_a_file_that_has_just_been_dropped(home, take_in):
    os.utime(home.drop("lab/a.csv", lab(("A1", "1.5"))))
    assert [verdict.status for verdict in take_in().files] == ["loaded"]


def test_empty_and_heading_only_files_have_a_verdict(home, take_in):
    home.drop("lab/empty.csv", "")
    home.drop("lab/head.csv", HEAD)
    by_path = {verdict.path: (verdict.status, verdict.reason) for verdict in take_in().files}
    assert by_path["lab/empty.csv"][0] == "rejected" and by_path["lab/empty.csv"][1].startswith("empty: ")
    assert by_path["lab/head.csv"] == ("loaded", "no rows")


@pytest.mark.parametrize("name", ["x[1]*.csv", "a'; drop table x;--.csv", "-rf.csv", "é.csv", b"\xff\xfe.csv"])
def test_any_file_name_is_only_data(home, take_in, name):
    path = os.path.join(os.fsencode(home.settings.landing), b"lab", os.fsencode(name))
    with open(path, "wb") as file:
        file.write(lab(("A1", "1.5")).encode())
    os.utime(path, (1_700_000_000, 1_700_000_000))
    home.drop("lab/x1b.csv", lab(("A2", "x")))
    assert [verdict.rows_accepted for verdict in sorted(take_in().files, key=lambda item: -item.rows_accepted)] == [
        1,
        0,
    ]
    assert take_in().batches == []


def test_what_is_pending_is_known_without_taking_it_in(home, study):
    assert pending_fingerprint(home.settings, study) is None
    home.drop("lab/a.csv", lab(("A1", "1.5")))
    first = pending_fingerprint(home.settings, study)
    assert first == pending_fingerprint(home.settings, study) and len(pending(home.settings, study)) == 1
    home.drop("lab/b.csv", lab(("B1", "1.5")))
    assert pending_fingerprint(home.settings, study) not in {None, first}
    assert list(home.settings.lake.iterdir()) == []


def test_check_says_what_would_happen_and_takes_nothing_in(home, study, tmp_path):
    path = tmp_path / "lis.csv"
    path.write_text(lab(("A1", "1.5"), ("A2", "x")))
    judgement = judge_file(home.settings, study, path, path.name)
    assert (judgement.status, judgement.rows_accepted, judgement.rows_quarantined) == ("loaded", 1, 1)
    assert judgement.faults["rule"].tolist() == ["value_readable"]
    path.write_text("a,b\n1,2\n")
    assert judge_file(home.settings, study, path, path.name).status == "rejected"
    with pytest.raises(UserError):
        judge_file(home.settings, study, tmp_path, "folder.csv")
    assert list(home.settings.lake.iterdir()) == []


def test_a_reader_that_fails_on_one_file_does_not_keep_others_out(home, take_in, monkeypatch):
    read = exports.read

    def fail(path, name, study):
        if name.endswith("a.csv"):
            raise ZeroDivisionError
        return read(path, name, study)

    monkeypatch.setattr(exports, "read", fail)
    home.drop("lab/a.csv", lab(("A1", "1.5")))
    home.drop("lab/b.csv", lab(("B1", "1.5")))
    assert {verdict.path: verdict.status for verdict in take_in().files} == {
        "lab/a.csv": "rejected",
        "lab/b.csv": "loaded",
    }


def test_an_interrupted_run_costs_no_attempt(home, take_in, monkeypatch):
    home.drop("lab/a.csv", lab(("A1", "1.5")))

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(exports, "read", interrupt)
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            take_in()
    assert Lake(home.settings).dead_attempts() == {}
    monkeypatch.setattr(exports, "read", lambda *_: (_ for _ in ()).throw(Rejected("header_mismatch", "told so")))
    assert take_in().files[0].reason == "header_mismatch: told so"


def test_progress_counts_up_to_all_files(home, take_in):
    for number in range(3):
        home.drop(f"lab/f{number}.csv", lab((f"A{number}", "1")))
    told = []
    take_in(progress=lambda done, total, text: told.append((done, total, text)))
    assert all(done <= total for done, total, _ in told) and told[-1][:2] == (3, 3)


def test_data_docs_name_every_suite_and_no_value(home, take_in):
    from orchestration.datadocs import write_docs

    home.drop("lab/a.csv", lab(("A1", "-987.125")))
    take_in()
    index = write_docs(home.settings)
    pages = [path.read_text("utf-8") for path in index.parent.rglob("*.html")]
    assert len(pages) == 12 and not any("987.125" in page for page in pages)


def test_a_mended_mapping_reads_accepted_rows_again_and_ends_like_a_clean_run(tmp_path):
    source = {
        "name": "lis", "match": "lis_*", "record": "lab_results", "timezone": "Europe/Berlin",
        "columns": {"subject_id": "Pat", "analyte": "Test", "value": "Erg", "unit": "Einheit", "collected_at": "Zeit"},
    }  # fmt: skip
    mended = source | {"timezone": "America/New_York"}
    files = {
        "lab/lis_1.csv": "Pat,Test,Erg,Einheit,Zeit\nS1,42914-2,12.5,ng/mL,2024-03-01T08:00\n",
        "lab/own.csv": lab(("A1", "1.5")),
    }
    grown = make_home(tmp_path / "grown", {"sources": [source]})
    clean = make_home(tmp_path / "clean", {"sources": [mended]})
    for home in (grown, clean):
        for path, text in files.items():
            home.drop(path, text)
        ingest(home.settings, load_study(home.settings.study_file))
    grown.settings.study_file.write_bytes(clean.settings.study_file.read_bytes())
    study = load_study(grown.settings.study_file)
    again = [verdict.path for verdict in ingest(grown.settings, study).files]
    assert again == ["lab/lis_1.csv"]  # the other is not concerned
    assert ingest(grown.settings, study).batches == []
    assert Lake(grown.settings).data_hash() == Lake(clean.settings).data_hash()


def test_a_further_code_of_the_analyte_finds_the_results_that_were_accepted_as_others(tmp_path):
    home = make_home(tmp_path)
    home.drop("lab/a.csv", lab(("A1", "1.5")).replace("42914-2", "HER2SER"))
    ingest(home.settings, load_study(home.settings.study_file))
    content = yaml.safe_load(home.settings.study_file.read_text("utf-8"))
    content["analytes"]["serum_her2"]["codes"].append("HER2SER")
    home.settings.study_file.write_text(yaml.safe_dump(content), "utf-8")
    again = ingest(home.settings, load_study(home.settings.study_file)).files
    assert [verdict.status for verdict in again] == ["loaded"]
    content["analytes"]["serum_her2"]["cutoff_ng_ml"] = 20  # a matter of analysis: no file is read again for it
    home.settings.study_file.write_text(yaml.safe_dump(content), "utf-8")
    assert ingest(home.settings, load_study(home.settings.study_file)).batches == []
