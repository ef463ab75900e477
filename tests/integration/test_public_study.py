"""The public SDTM oncology study (pharmaversesdtm, Apache-2.0) through the whole pipeline."""

import gzip

import pytest

from tests.conftest import Home, make_home

CLINICAL = ("dm", "ds", "ex", "sv")
STUDY = {"study": {"drugs": ["PLACEBO", "XANOMELINE"], "timezone": "UTC"}}


LARGE = ("tu_onco.csv", "tr_onco.csv.gz", "rs_onco.csv")


def public_exports(folder, shared, tumour: tuple[str, ...]) -> Home:
    """A home with the study in its landing folder."""
    home = make_home(folder, STUDY)
    sdtm = shared / "samples" / "sdtm"
    for name in CLINICAL:
        home.drop(f"clinical/{name}.csv", (sdtm / f"{name}.csv").read_bytes())
    home.drop("lab/lb.csv", (sdtm / "lb.csv").read_bytes())
    for name in tumour:
        path = sdtm / name
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        home.drop(f"imaging/{name.removesuffix('.gz')}", content)
    return home


def public_home(folder, shared, tumour: tuple[str, ...]) -> Home:
    home = public_exports(folder, shared, tumour)
    home.run()
    return home


@pytest.fixture(scope="module")
def small(tmp_path_factory, shared) -> Home:
    return public_home(
        tmp_path_factory.mktemp("small"), shared, ("tu_onco_recist.csv", "tr_onco_recist.csv", "rs_onco_recist.csv")
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory, shared) -> Home:
    return public_home(tmp_path_factory.mktemp("large"), shared, LARGE)


def test_every_file_of_the_small_set_loads(small):
    assert small.sql("select status, count(*) as n from ops.files group by status") == [{"status": "loaded", "n": 8}]


def test_no_row_of_the_small_set_disappears(small):
    assert small.value("select count(*) from ops.files where rows_read <> rows_accepted + rows_quarantined") == 0


def test_derived_overall_response_equals_the_reported_one_at_all_66_time_points(small):
    rows = small.sql(
        "select evaluator, reader, count(*) as points,"
        " count(*) filter (where derived_response = reported_response) as equal"
        " from marts.fct_response where reported_response is not null group by all order by all"
    )
    assert [(row["points"], row["equal"]) for row in rows] == [(22, 22)] * 3


def test_without_serum_her2_its_parts_are_empty_and_say_why(small):
    assert small.value("select count(*) from marts.fct_her2_delta") == 0
    caveats = small.sql(
        "select distinct estimate, caveat from metrics.estimates"
        " where analysis = 'landmark' and statistic = 'hazard_ratio'"
    )
    assert caveats and all(row["estimate"] is None and row["caveat"] for row in caveats)


def test_every_file_of_the_large_set_loads(large):
    assert large.sql("select status, count(*) as n from ops.files group by status") == [{"status": "loaded", "n": 8}]


def test_the_unknown_response_code_of_the_large_set_is_quarantined_with_its_rows(large):
    rows = large.sql("select path, row_number, field, value, message from ops.quarantine where value = 'CHECK'")
    assert len(rows) == 3
    assert all(row["path"] == "imaging/rs_onco.csv" and row["field"] == "value" and row["message"] for row in rows)


def test_non_target_responses_of_the_large_set_follow_from_the_lesions(large):
    followed = large.value(
        "select count(*) from staging.stg_tumor_responses as reported where test = 'NTRGRESP' and exists ("
        "  select 1 from marts.fct_response as derived"
        "  where derived.subject_id = reported.subject_id and derived.evaluator = reported.evaluator"
        "  and derived.reader = reported.reader and derived.visit_name = reported.visit_name"
        "  and derived.non_target_response = reported.response)"
    )
    assert followed == 1896


def test_partial_dates_of_the_large_set_are_listed(large):
    assert large.value("select count(*) from ops.findings where kind like '%partial%date%'") > 0


def test_every_subject_with_a_dose_is_treated(large):
    assert large.value("select count(*) from marts.dim_subject where in_treated") == 254
