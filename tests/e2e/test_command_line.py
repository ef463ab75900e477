"""The commands as a user types them: exit codes, one-line errors, formats."""

import json
import os
import sys
from contextlib import suppress

import duckdb
import pytest

from orchestration import progress
from orchestration.cli import _shown_progress
from orchestration.simulate import write_study
from tests.conftest import Home, make_home


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Home:
    home = make_home(tmp_path_factory.mktemp("cli"))
    write_study(home.settings.landing, 12, 2)
    done = home.sher2("run")
    assert done.returncode == 0, done.stderr
    return home


def test_run_ends_with_the_headline_numbers_and_where_to_look(published):
    done = published.sher2("run")
    for word in (
        "loaded",
        "quarantined",
        "confirmed ORR",
        "median PFS",
        "hazard ratio",
        "warehouse.duckdb",
        "efficacy.html",
    ):
        assert word in done.stdout


def test_a_run_goes_on_when_nobody_reads_its_messages_any_more(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    gone = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stderr", gone)
    with _shown_progress():
        progress.tell("reading files")
        progress.tell("building the marts")
    with suppress(BrokenPipeError):
        gone.close()


@pytest.mark.parametrize(
    "mart", ["dim_subject", "fct_visit", "fct_her2_delta", "fct_response", "fct_best_response", "fct_time_to_event"]
)
def test_sql_reads_each_mart_as_json(published, mart):
    done = published.sher2("sql", f"select * from marts.{mart} limit 2", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert all(isinstance(row, dict) and row["subject_id"] for row in json.loads(done.stdout))


def test_sql_json_has_plain_types(published):
    done = published.sher2(
        "sql", "select true as b, date '2024-01-02' as d, 1.50::decimal(9,2) as n, null as m", "--format", "json"
    )
    assert json.loads(done.stdout) == [{"b": True, "d": "2024-01-02", "n": 1.5, "m": None}]


@pytest.mark.parametrize(
    "query",
    ["drop table marts.dim_subject", "select * from read_csv('/etc/passwd')", "attach '/tmp/x.duckdb' as x",
     "copy marts.dim_subject to '/tmp/x.csv'", "select nothing from nowhere"],
)  # fmt: skip
def test_sql_can_neither_write_nor_leave_the_warehouse(published, query):
    done = published.sher2("sql", query)
    assert done.returncode == 2 and done.stderr.startswith("sher2: sql: ") and "Traceback" not in done.stderr


def test_status_counts_files_and_rows(published):
    content = json.loads(published.sher2("status", "--json").stdout)
    assert content["files"]["loaded"] > 0 and content["files"]["pending"] == 0
    assert content["rows"]["read"] == content["rows"]["accepted"] + content["rows"]["quarantined"]
    assert content["last_publication"]["build_id"]


def test_quarantine_lists_file_row_field_value_rule_and_mend(published):
    rows = json.loads(published.sher2("quarantine", "--json").stdout)
    assert rows and all({"path", "row_number", "field", "value", "rule", "message"} <= set(row) for row in rows)


def test_check_says_what_would_happen_and_takes_nothing_in(published, tmp_path):
    good, bad = tmp_path / "visits_x.csv", tmp_path / "visits_y.csv"
    good.write_text("subject_id,visit_name,visit_on\nA,C1D1,2024-01-01\n")
    bad.write_text("subject_id,visit_on\nA,2024-01-01\n")
    assert published.sher2("check", str(good)).returncode == 0
    refused = published.sher2("check", str(bad))
    assert refused.returncode == 2 and "visit_name" in refused.stdout
    assert (
        json.loads(published.sher2("status", "--json").stdout)["files"]["rejected"] == 2
    )  # the two that the study planted


def test_export_writes_every_table_as_parquet(published, tmp_path):
    done = published.sher2("export", "--parquet", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "marts.fct_response.parquet").exists()
    assert (tmp_path / "out" / "metrics.estimates.parquet").exists()


def test_a_data_cut_knows_only_what_had_come_and_happened_by_its_day(published):
    done = published.sher2("cut", "2023-06-30", "--received-from", "filename")
    assert done.returncode == 0, done.stderr
    with duckdb.connect(done.stdout.strip(), read_only=True) as cut:
        assert cut.execute("select max(collected_on) <= date '2023-06-30' from marts.fct_her2_delta").fetchone()[0]
        assert cut.execute("select max(end_on) <= date '2023-06-30' from marts.fct_time_to_event").fetchone()[0]
        assert cut.execute("select max(exported_on) <= date '2023-06-30' from ops.files").fetchone()[0]
    assert published.value("select max(collected_on) > '2023-06-30' from marts.fct_her2_delta")


@pytest.mark.parametrize(
    ("section", "changes", "words"),
    [
        ("response", {"confirm_days": -1}, ["response.confirm_days"]),
        ("response", {"confirm_dayz": 28}, ["response.confirm_dayz", "unknown key"]),
        ("study", {"timezone": "Mars/Olympus"}, ["study.timezone", "Europe/Berlin"]),
        ("analysis", {"primary": "best_cut"}, ["analysis", "landmark_week_6"]),
        ("sources", [{"name": "x", "record": "lab_results", "columns": {"value": "v"}}], ["sources.0", "subject_id"]),
    ],
)
def test_an_invalid_study_is_refused_with_the_key_and_the_mend(tmp_path, section, changes, words):
    home = make_home(tmp_path, {section: changes})
    done = home.sher2("run")
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert all(word in done.stderr for word in ["study.yaml", *words])


def test_errors_before_anything_is_published_say_what_to_do(home):
    done = home.sher2("sql", "select 1")
    assert done.returncode == 2 and "sher2 run" in done.stderr


def test_rollback_publishes_the_earlier_build(published):
    first = published.value("select build_id from ops.publications order by published_at desc limit 1")
    published.drop("clinical/visits_more.csv", "subject_id,visit_name,visit_on\nS2-001-0001,EXTRA,2023-01-01\n")
    assert published.sher2("run").returncode == 0
    second = published.value("select build_id from ops.publications order by published_at desc limit 1")
    assert second != first
    done = published.sher2("rollback")
    assert done.returncode == 0 and first in done.stdout
    assert published.value("select build_id from ops.publications order by published_at desc limit 1") == first
