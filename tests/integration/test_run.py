"""`sher2 run` from a landing folder to published marts: nothing lost, nothing twice, in whatever order it arrives."""

import os
import random
import re
import shutil

import duckdb
import pytest

from orchestration import warehouse
from orchestration.simulate import write_study
from tests.conftest import Home, make_home

ESTIMATES = "select * exclude (build_id) from metrics.estimates order by all"


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    write_study(folder, 40, 7)
    return folder


def copy_exports(exports, home: Home, names: list | None = None) -> None:
    for path in sorted(exports.rglob("*")) if names is None else names:
        if path.is_file():
            home.drop(path.relative_to(exports).as_posix(), path.read_bytes())


@pytest.fixture(scope="module")
def simulated(tmp_path_factory, exports) -> Home:
    home = make_home(tmp_path_factory.mktemp("simulated"))
    copy_exports(exports, home)
    home.run()
    return home


def test_every_file_has_a_verdict(simulated, exports):
    paths = {path.relative_to(exports).as_posix() for path in exports.rglob("*") if path.is_file()}
    assert {row["path"] for row in simulated.sql("select path from ops.files")} == paths


def test_every_row_read_is_accepted_or_quarantined(simulated):
    totals = simulated.sql(
        "select sum(rows_read) as r, sum(rows_accepted) as a, sum(rows_quarantined) as q from ops.files"
    )[0]
    assert totals["r"] == totals["a"] + totals["q"] > 0
    listed = simulated.value("select count(distinct (file_id, row_number)) from ops.quarantine")
    assert listed == simulated.value(
        "select sum(rows_quarantined) from ops.files where status in ('loaded', 'superseded')"
    )


def test_quarantined_rows_name_file_row_field_value_rule_and_mend(simulated):
    rows = simulated.sql("select * from ops.quarantine")
    assert rows
    for row in rows:
        assert (
            row["path"] and row["row_number"] >= 1 and row["record"] and row["field"] and row["rule"] and row["message"]
        )


def test_landing_files_are_left_as_they_were(simulated, exports):
    for path in exports.rglob("*"):
        if path.is_file():
            assert (simulated.settings.landing / path.relative_to(exports)).read_bytes() == path.read_bytes()


def test_running_twice_changes_nothing(simulated):
    before = simulated.content(), simulated.sql("select build_id, published_at from ops.publications")
    ledger = sorted((simulated.settings.lake / "ledger").iterdir())
    simulated.run()
    assert (simulated.content(), simulated.sql("select build_id, published_at from ops.publications")) == before
    assert sorted((simulated.settings.lake / "ledger").iterdir()) == ledger


def test_any_order_of_arrival_gives_the_same_marts(simulated, exports, tmp_path):
    home = make_home(tmp_path)
    files = sorted(path for path in exports.rglob("*") if path.is_file())
    random.Random(3).shuffle(files)
    for part in (files[: len(files) // 3], files[len(files) // 3 :]):
        copy_exports(exports, home, part)
        home.run()
    assert home.content() == simulated.content()


def test_a_full_refresh_gives_the_same_marts(simulated):
    before = simulated.content()
    simulated.run(full_refresh=True)
    assert simulated.content() == before


def test_marts_and_metrics_after_a_small_delivery_are_those_of_a_full_refresh(tmp_path, monkeypatch):
    refresh, rested = warehouse.refresh, []

    def heard(*arguments):
        results = refresh(*arguments)
        rested.extend(result.unique_id for result in results if not result.is_rebuilt)
        return results

    monkeypatch.setattr(warehouse, "refresh", heard)
    home = make_home(tmp_path / "home")
    write_study(tmp_path / "exports", 12, 7)
    last = max((tmp_path / "exports" / "lab").glob("*.csv"))
    copy_exports(tmp_path / "exports", home, [path for path in (tmp_path / "exports").rglob("*") if path != last])
    home.run()
    estimates = home.sql(ESTIMATES)
    copy_exports(tmp_path / "exports", home, [last])
    home.run()
    assert rested, "everything was built anew"
    content = home.content()
    assert estimates and home.sql(ESTIMATES) != estimates
    home.run(full_refresh=True)
    assert home.content() == content


def test_a_lost_warehouse_is_rebuilt_from_the_lake(simulated):
    before = simulated.content()
    simulated.settings.warehouse.unlink()
    shutil.rmtree(simulated.settings.build)
    shutil.rmtree(simulated.settings.builds)
    simulated.run()
    assert simulated.content() == before


def test_the_published_file_is_replaced_not_written(simulated):
    with open(simulated.settings.warehouse, "rb") as reader:
        before = reader.read()
        simulated.drop(
            "clinical/ss_more.csv", "USUBJID,SSTESTCD,SSORRES,SSDTC,DOMAIN\nSIM-X,SURVSTAT,ALIVE,2024-01-01,SS\n"
        )
        simulated.run()
        reader.seek(0)
        assert reader.read() == before
    assert oct(simulated.settings.warehouse.stat().st_mode)[-3:] == "444"


@pytest.mark.parametrize(
    "folders", [(), ("lab",), ("imaging",), ("clinical",)], ids=["nothing", "lab", "imaging", "clinical"]
)
def test_a_study_with_parts_missing_runs_and_says_what_is_missing(exports, tmp_path, folders):
    home = make_home(tmp_path)
    for folder in folders:
        copy_exports(exports, home, [path for path in (exports / folder).rglob("*") if path.is_file()])
    home.run()
    missing = {"lab": "no_serum_her2", "imaging": "no_imaging", "clinical": "no_clinical_data"}
    kinds = {row["kind"] for row in home.sql("select kind from ops.findings where subject_id is null")}
    assert {kind for folder, kind in missing.items() if folder not in folders} <= kinds
    page = (home.settings.reports / "efficacy.html").read_text("utf-8")
    assert "not estimable" in page


def test_the_home_is_held_by_one_run_at_a_time(home):
    from orchestration.errors import UserError
    from orchestration.locking import writer_lock

    with (
        writer_lock(home.settings.home),
        pytest.raises(UserError, match=str(os.getpid())),
        writer_lock(home.settings.home, timeout_seconds=0.2),
    ):
        pass


def test_a_study_told_as_sdtm_or_as_hospital_exports_has_the_same_results(tmp_path):
    """The layouts share no heading, code, date format or decimal mark, so a field mapped to the wrong column shows."""
    results = []
    for layout in ("sdtm", "site"):
        home = make_home(tmp_path / layout)
        write_study(home.settings.landing, 25, 7, layout=layout)
        home.run()
        content = home.content()
        results.append({mart: content[f"marts.{mart}"] for mart in ("fct_best_response", "fct_time_to_event")})
        results[-1]["changes"] = home.sql(
            "select subject_id, sample_id, collected_at, value_ng_ml, pct_change, change_category, is_usable"
            " from marts.fct_her2_delta order by all"
        )
    assert results[0]["fct_best_response"] and results[0]["changes"]
    assert results[0] == results[1]


def test_results_that_share_a_hash_are_put_in_order_as_others_are(simulated):
    """Every result with the same hash: none may be lost, doubled or told otherwise."""
    from orchestration.study import load_study
    from orchestration.warehouse import Dbt

    settings = simulated.settings
    statements = Dbt(settings, load_study(settings.study_file))._compilation()
    [model] = [n for n in statements.nodes(settings.lake, settings.frozen) if n.unique_id.endswith(".stg_lab_results")]
    query, replaced = re.subn(r"\bhash\([^()]*\)", "length('')", model.query)
    assert replaced == 3
    with duckdb.connect(str(settings.build / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute("set time zone 'UTC'")
        table = connection.execute(f"select * from {model.relation} order by all").fetchall()
        assert table and connection.execute(f"select * from ({query}) order by all").fetchall() == table
