"""The public SDTM validation cases (sdtmchecks): what they flag, our quarantine or findings flag, or it is said why not."""

import csv
import io
import re
from collections import Counter, defaultdict

import pytest

from tests.conftest import make_home
from tests.sdtm_validation_cases import MISSING, Case, cases

ANSWERS = {
    "check_dm_age_missing": {"age_given", "age_in_range"},
    "check_dm_dthfl_dthdtc": {"death_flag_and_date"},
    "check_dm_usubjid_dup": {"conflict"},
    "check_ds_dsdecod_death": {"date_readable"},
    "check_ex_exdose_exoccur": {"required_value"},
    "check_ex_exdose_pos_exoccur_no": {"dose_that_occurred"},
    "check_ex_exdosu": {"dose_without_unit"},
    "check_ex_exoccur_exdose_exstdtc": {"given_dose_is_positive", "partial_date"},
    "check_ex_exoccur_mis_exdose_nonmis": {"dose_that_occurred"},
    "check_ex_exstdtc_after_dd": {"after_death"},
    "check_ex_exstdtc_after_exendtc": {"end_after_start", "partial_date"},
    "check_ex_extrt_exoccur": {"required_value"},
    "check_lb_lbdtc_after_dd": {"after_death"},
    "check_lb_missing_month": {"timestamp_readable", "partial_date"},
    "check_rs_rsdtc_across_visit": {"date_of_two_visits"},
    "check_rs_rsdtc_visit_ordinal_error": {"visits_out_of_order", "date_of_two_visits"},
    "check_rs_rsdtc_visit": {"required_value", "known_response"},
    "check_ss_ssdtc_dead_dthdtc": {"dead_before_death"},
    "check_tr_trdtc_across_visit": {"date_of_two_visits"},
    "check_tr_trdtc_visit_ordinal_error": {"visits_out_of_order", "date_of_two_visits"},
    "check_tr_trstresn_ldiam": {"value_readable"},
    "check_tu_rs_new_lesions": {"progression by a new lesion"},
    "check_tu_tudtc_across_visit": {"date_of_two_visits"},
    "check_tu_tudtc_visit_ordinal_error": {"visits_out_of_order", "date_of_two_visits"},
    "check_tu_tuloc_missing": {"target_without_location"},
}
OUT_OF_SCOPE = {
    "check_ex_dup": "identical rows count once: nothing is left to mend",
    "check_ex_exstdtc_visit_ordinal_error": "exposures have no visit: the dates decide",
    "check_ex_infusion_exstdtc_exendtc": "the end of an infusion is optional and decides nothing",
    "check_ex_visit": "exposures have no visit: the dates decide",
    "check_lb_lbdtc_visit_ordinal_error": "a sample's visit is found by its date, the label decides nothing",
    "check_lb_lbstnrlo_lbstnrhi": "reference ranges are not used",
    "check_lb_lbstresc_char": "the original result is read, with its comparator, never the standard number",
    "check_lb_lbstresn_missing": "the original result is read, never the standard number",
    "check_lb_lbstresu": "the original unit is read; other analytes than serum HER2 may have any",
    "check_rs_rscat_rsscat": "a response without a category is one by RECIST 1.1 (CONTRACT: where present)",
    "check_tr_dup": "identical rows count once: nothing is left to mend",
    "check_tu_tudtc": "a missing date of a lesion is taken from the full date of its visit",
}
NOT_FLAGGED = {
    14: "site numbers may repeat between sites: the subject id is the whole of it",
    53: "the time of day at which an infusion ended is not read",
}
STRICTER = {
    15: "the date of the row is the word DSDATE",
    16: "the date of the row is the word DSDATE",
    23: "the row has no treatment",
    25: "the row has no treatment",
    26: "the row has no treatment",
    27: "the row has no treatment",
    44: "a dose with EXOCCUR = N",
    47: "a dose with EXOCCUR = N",
    52: "partial dates are listed",
    115: "every evaluator is looked at",
    122: "placeholders for responses",
    125: "placeholders for responses",
    137: "every test is looked at",
    154: "letters for values",
    155: "letters for values",
    161: "every evaluator is looked at",
    169: "PMD is no code of RECIST 1.1",
    170: "PMD is no code of RECIST 1.1",
    173: "every evaluator is looked at",
}
OPTIONAL = {4: "AGE", 7: "DTHDTC", 28: "EXDOSE", 73: "VISIT", 96: "LBSTRESN, LBSTRESC"}


@pytest.fixture(scope="module")
def all_cases(shared) -> list[Case]:
    return cases(shared)


@pytest.fixture(scope="module")
def after(all_cases, tmp_path_factory):
    """A home that took in the files of all cases in one run."""
    source = {"name": "checks", "layout": "sdtm", "missing": list(MISSING)}
    home = make_home(tmp_path_factory.mktemp("sdtm"), {"sources": [source], "landing": {"settle_seconds": 0}})
    for case in all_cases:
        for name, text in case.files.items():
            home.drop(name, text)
    home.run()
    return home


@pytest.fixture(scope="module")
def said(after, all_cases) -> dict[str, dict[str, set[str]]]:
    """By kind of finding or rule of quarantine, the subjects of each case."""
    rows = {name: list(csv.DictReader(io.StringIO(text))) for case in all_cases for name, text in case.files.items()}

    def subject(path: str, number: int) -> str:
        return rows[path][number - 1].get("USUBJID", "")

    found: dict[str, set[str]] = defaultdict(set)
    for row in after.sql("select path, row_number, rule from ops.quarantine"):
        found[row["rule"]].add(subject(row["path"], row["row_number"]))
    for row in after.sql("select kind, subject_id, detail from ops.findings"):
        remark = re.match(r"(\S+) row (\d+), \S+: .*? \((\w+)\)\. ", row["detail"])
        if row["kind"] == "validation_remark" and remark:
            found[remark[3]].add(subject(remark[1], int(remark[2])))
        elif row["subject_id"]:
            found[row["kind"]].add(row["subject_id"])
    progressions = """
        select distinct subject_id from marts.fct_response
        where derived_response = 'PD' and reported_response is distinct from 'PD'
    """
    found["progression by a new lesion"] = {row["subject_id"] for row in after.sql(progressions)}
    return found


def flagged_by_us(case: Case, said) -> set[str]:
    subjects = set().union(*(said[kind] for kind in ANSWERS[case.check]))
    return {subject for subject in subjects if subject.startswith(f"C{case.number:03d}-")}


def test_every_check_is_answered_or_out_of_scope_with_a_reason(all_cases):
    assert {case.check for case in all_cases} == ANSWERS.keys() | OUT_OF_SCOPE.keys()
    assert not ANSWERS.keys() & OUT_OF_SCOPE.keys()


def test_what_a_check_flags_is_flagged(all_cases, said):
    missed = {
        case.number: sorted(case.flagged - flagged_by_us(case, said))
        for case in all_cases
        if case.check in ANSWERS and case.number not in NOT_FLAGGED and not case.flagged <= flagged_by_us(case, said)
    }
    assert missed == {}


def test_what_a_check_lets_pass_is_not_flagged(all_cases, said):
    cried = {
        case.number: sorted(flagged_by_us(case, said))
        for case in all_cases
        if case.check in ANSWERS
        and case.content["expected_pass"]
        and case.number not in STRICTER
        and flagged_by_us(case, said)
    }
    assert cried == {}
    needless = {case.number for case in all_cases if case.number in STRICTER and not flagged_by_us(case, said)}
    assert needless == set()


def test_a_table_without_a_column_that_we_need_is_refused(all_cases, after):
    refused = {row["path"].split("/")[1] for row in after.sql("select path from ops.files where status = 'rejected'")}
    lacking = {case.number for case in all_cases if case.is_about_a_missing_variable}
    assert {number for number in lacking if f"c{number:03d}" not in refused} == OPTIONAL.keys()


def test_an_infusion_that_did_not_take_place_is_no_dose(all_cases, after):
    [case] = [case for case in all_cases if case.number == 30]
    told = {row["USUBJID"]: row["EXOCCUR"] for row in csv.DictReader(io.StringIO(case.files["clinical/c030/ex.csv"]))}
    kept = {row["subject_id"] for row in after.sql("select subject_id from staging.stg_exposures")}
    assert "N" in told.values()
    assert {subject for subject in told if subject not in kept} == {item for item in told if told[item] == "N"}


def test_how_many_cases_are_flagged_pass_or_are_out_of_scope(all_cases):
    def outcome(case: Case) -> str:
        if case.is_about_a_missing_variable:
            return "a variable is missing"
        if case.check in OUT_OF_SCOPE:
            return "out of scope"
        if case.content["expected_pass"]:
            return "nothing to flag"
        if not case.flagged:
            return "the check does not apply"
        return "not flagged" if case.number in NOT_FLAGGED else "flagged"

    assert Counter(outcome(case) for case in all_cases) == {
        "flagged": 41,
        "not flagged": 2,
        "nothing to flag": 54,
        "the check does not apply": 22,
        "a variable is missing": 35,
        "out of scope": 44,
    }
