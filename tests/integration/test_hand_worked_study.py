"""Seven subjects typed by hand and worked out by hand from RECIST.md and STATISTICS.md: the whole way must agree.

Nothing here is computed by the project: each expected number stands beside the arithmetic that gives it. A month is
30.4375 days, a duration is end - start + 1 days, the day of the first dose is study day 1.
"""

from decimal import ROUND_HALF_UP, Decimal

import pytest

from tests.conftest import Home, make_home

SUBJECTS = """\
subject_id,site_id,age_years,sex,enrolled_on,death_on,ihc_score,ish_status,her2_tested_on,hormone_receptor_status
H1,01,50,F,2024-01-04,,1+,NOT DONE,2023-12-01,POSITIVE
H2,01,51,F,2024-01-04,2024-07-10,2+,NEGATIVE,2023-12-01,POSITIVE
H3,01,52,F,2024-01-04,,1+,NEGATIVE,2023-12-01,NEGATIVE
H4,02,53,F,2024-01-04,,2+,NEGATIVE,2023-12-01,POSITIVE
H5,02,54,F,2024-01-04,2024-01-20,0,NOT DONE,2023-12-01,POSITIVE
H6,02,55,F,2024-01-04,,1+,POSITIVE,2023-12-01,POSITIVE
H7,02,56,F,2024-01-04,,1+,NEGATIVE,2023-12-01,POSITIVE
"""

# H4's infusion carries no time, H7 was never treated, H6's first entry is a dose of 0 and another drug is no study drug
EXPOSURES = """\
subject_id,treatment,dose,dose_unit,start_on,started_at
H1,T-DXd,350,mg,2024-01-08,2024-01-08T09:00
H1,T-DXd,350,mg,2024-01-29,2024-01-29T09:00
H2,T-DXd,350,mg,2024-01-10,2024-01-10T09:00
H3,T-DXd,350,mg,2024-01-10,2024-01-10T09:00
H4,T-DXd,350,mg,2024-01-10,
H5,T-DXd,350,mg,2024-01-10,2024-01-10T09:00
H6,T-DXd,0,mg,2024-01-05,2024-01-05T09:00
H6,PARACETAMOL,500,mg,2024-01-06,2024-01-06T09:00
H6,T-DXd,350,mg,2024-01-10,2024-01-10T09:00
"""

VISITS = """\
subject_id,visit_name,visit_number,visit_on
H1,SCREENING,0,2024-01-03
H1,C1D1,1,2024-01-08
H1,C2D1,2,2024-01-29
H1,WEEK 6,3,2024-02-19
H1,C3D1,4,2024-02-28
H1,UNSCHEDULED,4.1,2024-03-05
"""

LAB_HEAD = "subject_id,sample_id,analyte,value,unit,collected_at,reported_at,result_status,laboratory,assay,lloq,uloq\n"


def lab(*rows: str) -> str:
    """Rows as subject, sample, value, unit, collected, reported, status, assay; LLOQ 0.5 and ULOQ 350 ng/mL."""
    lines = []
    for row in rows:
        subject, sample, value, unit, collected, reported, status, assay = (part.strip() for part in row.split("|"))
        factor = 1000 if unit == "pg/mL" else 1
        limits = f"{Decimal('0.5') * factor},{350 * factor}"
        lines.append(
            f"{subject},{sample},42914-2,{value},{unit},{collected},{reported},{status},EAST,{assay},{limits}\n"
        )
    return LAB_HEAD + "".join(lines)


LAB_FIRST = lab(
    "H1|L01|6.0  |ng/mL|2024-01-02T08:00||F|CLIA",
    "H1|L02|5.5  |ng/mL|2024-01-08T08:00||F|CLIA",
    "H1|L03|5.0  |ng/mL|2024-01-08T10:30||F|CLIA",
    "H1|L04|4.4  |ng/mL|2024-01-29T08:00||F|CLIA",
    "H1|L05|6.6  |ng/mL|2024-02-19T08:00||F|CLIA",
    "H1|L06|<0.5 |ng/mL|2024-03-11T08:00||F|CLIA",
    "H1|L07|5.0  |ng/mL|2024-04-01T08:00||F|EIA",
    "H1|L08|>350 |ng/mL|2024-04-22T08:00||F|CLIA",
    "H1|L09|4.235|ug/L |2024-05-13T08:00||F|CLIA",
    "H1|L10|2.475|ng/mL|2024-06-03T08:00||F|CLIA",
    "H1|L11|5500 |pg/mL|2024-06-24T08:00||F|CLIA",
    # corrected: the correction comes in the file that is read first
    "H1|K1 |5.0  |ng/mL|2024-07-01T08:00|2024-07-03T08:00|C|CLIA",
    # two corrections out of order: the later reported one counts
    "H1|K2 |3.0  |ng/mL|2024-07-02T08:00|2024-07-09T08:00|C|CLIA",
    # deleted; and deleted, then told again
    "H1|K3 |     |     |2024-07-03T08:00|2024-07-09T08:00|D|CLIA",
    "H1|K4 |     |     |2024-07-04T08:00|2024-07-06T08:00|D|CLIA",
    # a preliminary value yields to the final one
    "H1|K5 |8.0  |ng/mL|2024-07-05T08:00||P|CLIA",
    # the tube of H7, told of H1 first
    "H1|M1 |9.9  |ng/mL|2024-01-06T08:00||F|CLIA",
    "H2|L01|20.0 |ng/mL|2023-12-12T08:00||F|CLIA",
    "H2|L02|10.0 |ng/mL|2024-01-31T08:00||F|CLIA",
    "H3|L01|20.0 |ng/mL|2023-12-13T08:00||F|CLIA",
    "H3|L02|14.9 |ng/mL|2024-01-31T08:00||F|CLIA",
    "H3|L03|15.0 |ng/mL|2024-02-21T08:00||F|CLIA",
    "H3|L04|8.9  |ng/mL|2024-02-22T08:00||F|CLIA",
    "H4|L01|8.0  |ng/mL|2024-01-10||F|CLIA",
    "H4|L02|7.0  |ng/mL|2024-01-31T08:00||F|CLIA",
    "H4|L03|0.3  |ng/mL|2024-02-21T08:00||F|CLIA",
    "H7|L01|9.0  |ng/mL|2024-01-05T08:00||F|CLIA",
)
LAB_SECOND = lab(
    "H1|K1 |9.0  |ng/mL|2024-07-01T08:00|2024-07-02T08:00|F|CLIA",
    "H1|K2 |7.0  |ng/mL|2024-07-02T08:00|2024-07-07T08:00|C|CLIA",
    "H1|K3 |4.0  |ng/mL|2024-07-03T08:00|2024-07-05T08:00|F|CLIA",
    "H1|K4 |4.0  |ng/mL|2024-07-04T08:00|2024-07-05T08:00|F|CLIA",
    "H1|K4 |5.5  |ng/mL|2024-07-04T08:00|2024-07-08T08:00|F|CLIA",
    "H1|K5 |5.5  |ng/mL|2024-07-05T08:00||F|CLIA",
    "H4|L02|6.0  |ng/mL|2024-01-31T08:00||F|CLIA",
    "H7|M1 |9.9  |ng/mL|2024-01-06T08:00||C|CLIA",
)

LESIONS = """\
subject_id,lesion_id,role,location,method,identified_on,visit_name
H1,T1,TARGET,LIVER,CT SCAN,2024-01-03,SCREENING
H1,T2,TARGET,LYMPH NODE,CT SCAN,2024-01-03,SCREENING
H2,T1,TARGET,LIVER,CT SCAN,2024-01-05,SCREENING
H3,T1,TARGET,LUNG,CT SCAN,2024-01-08,SCREENING
H4,NT1,NON-TARGET,PLEURA,CT SCAN,2024-01-05,SCREENING
H4,N1,NEW,LIVER,CT SCAN,2024-04-03,WEEK 12
H5,T1,TARGET,LUNG,CT SCAN,2024-01-05,SCREENING
H6,T1,TARGET,LUNG,CT SCAN,2024-01-05,SCREENING
"""

MEASUREMENTS = """\
subject_id,lesion_id,test,value,unit,assessed_on,visit_name
H1,T1,LDIAM,60,mm,2024-01-03,SCREENING
H1,T2,LPERP,40,mm,2024-01-03,SCREENING
H1,T1,LDIAM,40,mm,2024-02-19,WEEK 6
H1,T2,LPERP,3.0,cm,2024-02-19,WEEK 6
H1,T1,LDIAM,35,mm,2024-04-01,WEEK 12
H1,T2,LPERP,30,mm,2024-04-01,WEEK 12
H1,T1,LDIAM,0,mm,2024-05-13,WEEK 18
H1,T2,LPERP,9,mm,2024-05-13,WEEK 18
H1,T1,LDIAM,0,mm,2024-06-24,WEEK 24
H1,T2,LPERP,14,mm,2024-06-24,WEEK 24
H2,T1,LDIAM,50,mm,2024-01-05,SCREENING
H2,T1,LDIAM,50,mm,2024-02-21,WEEK 6
H3,T1,LDIAM,30,mm,2024-01-08,SCREENING
H3,T1,LDIAM,20,mm,2024-02-21,WEEK 6
H3,T1,LDIAM,50,mm,2024-04-03,WEEK 12
H4,NT1,TUMSTATE,PRESENT,,2024-01-05,SCREENING
H4,NT1,TUMSTATE,PRESENT,,2024-02-21,WEEK 6
H4,NT1,TUMSTATE,PRESENT,,2024-04-03,WEEK 12
H5,T1,LDIAM,30,mm,2024-01-05,SCREENING
H6,T1,LDIAM,30,mm,2024-01-05,SCREENING
"""

THERAPIES = """\
subject_id,treatment,category,started_on
H3,ANASTROZOLE,ENDOCRINE THERAPY,2022-05-01
H3,CAPECITABINE,CHEMOTHERAPY,2024-03-15
"""

# the last date in the data, so the data cut-off
FOLLOW_UP = "subject_id,status,assessed_on\nH1,ALIVE,2024-12-01\nH6,ALIVE,2024-03-01\n"

FILES = {
    "clinical/subjects.csv": SUBJECTS,
    "clinical/exposures.csv": EXPOSURES,
    "clinical/visits.csv": VISITS,
    "clinical/therapies.csv": THERAPIES,
    "clinical/survival_status.csv": FOLLOW_UP,
    "lab/lab_results_1.csv": LAB_FIRST,
    "lab/lab_results_2.csv": LAB_SECOND,
    "imaging/tumor_identifications.csv": LESIONS,
    "imaging/tumor_measurements.csv": MEASUREMENTS,
}


def land(home: Home) -> None:
    for path, text in FILES.items():
        home.drop(path, text)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    home = make_home(tmp_path_factory.mktemp("hand"))
    land(home)
    home.run()
    return home


def number(text: str | None, places: int = 6):
    return None if text is None else float(Decimal(text).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


# subject, sample, study day, baseline, change, percent, log2 ratio, nadir before, percent from nadir, category,
# at most 77 %, fall of 55 %, normalised
CHANGES = [
    # 5.5 -> 4.4: 5 x 4.4 = 22 = 4 x 5.5, so a fall of exactly 20 %; 100 x 4.4 = 440 > 77 x 5.5 = 423.5; log2(0.8)
    ("H1", "L04", 22, "5.5", "-1.1", "-20", "-0.321928095", "5.5", "-20", "FALL_20", False, False, None),
    # 5.5 -> 6.6: 5 x 6.6 = 33 = 6 x 5.5; from the nadir 4.4: 2.2 / 4.4; log2(1.2)
    ("H1", "L05", 43, "5.5", "1.1", "20", "0.263034406", "4.4", "50", "RISE_20", False, False, None),
    # <0.5 counts 0.25: -5.25 / 5.5 = -95.4545..., log2(1/22); from 4.4: -4.15 / 4.4 = -94.3181...
    ("H1", "L06", 64, "5.5", "-5.25", "-95.454545", "-4.459431619", "4.4", "-94.318182", "FALL_20", True, True, None),
    # ug/L is ng/mL; 77 x 5.5 = 423.5 = 100 x 4.235, exactly at most 77 %; from 0.25: 3.985 / 0.25 = 1594 %; log2(0.77)
    ("H1", "L09", 127, "5.5", "-1.265", "-23", "-0.377069649", "0.25", "1594", "FALL_20", True, False, None),
    # 9 x 5.5 = 49.5 = 20 x 2.475, exactly a fall of 55 %; from 0.25: 2.225 / 0.25 = 890 %; log2(0.45)
    ("H1", "L10", 148, "5.5", "-3.025", "-55", "-1.152003093", "0.25", "890", "FALL_20", True, True, None),
    # 5500 pg/mL = 5.5 ng/mL; from 0.25: 5.25 / 0.25 = 2100 %
    ("H1", "L11", 169, "5.5", "0", "0", "0", "0.25", "2100", "STABLE", False, False, None),
    # 9.0 corrected to 5.0: -0.5 / 5.5 = -9.0909...; log2(10/11); from 0.25: 1900 %
    ("H1", "K1", 176, "5.5", "-0.5", "-9.090909", "-0.137503524", "0.25", "1900", "STABLE", False, False, None),
    # the later correction, 3.0: -2.5 / 5.5 = -45.4545...; log2(6/11); 1100 %; 20 x 3 = 60 > 49.5
    ("H1", "K2", 177, "5.5", "-2.5", "-45.454545", "-0.874469118", "0.25", "1100", "FALL_20", True, False, None),
    # deleted and told again, 5.5
    ("H1", "K4", 179, "5.5", "0", "0", "0", "0.25", "2100", "STABLE", False, False, None),
    # preliminary 8.0, final 5.5
    ("H1", "K5", 180, "5.5", "0", "0", "0", "0.25", "2100", "STABLE", False, False, None),
    # baseline 28 days old; 14.9 / 20 = 0.745: 1490 <= 1540 (77 %); below 15 from 20: normalised; log2(0.745)
    ("H3", "L02", 22, "20", "-5.1", "-25.5", "-0.424687669", "20", "-25.5", "FALL_20", True, False, True),
    # 15.0 is not below 15; 0.1 / 14.9 = 0.6711... %; log2(0.75)
    ("H3", "L03", 43, "20", "-5", "-25", "-0.415037499", "14.9", "0.671141", "FALL_20", True, False, False),
    # 20 x 8.9 = 178 <= 9 x 20 = 180; -6 / 14.9 = -40.2684...; log2(0.445)
    ("H3", "L04", 44, "20", "-11.1", "-55.5", "-1.168122759", "14.9", "-40.268456", "FALL_20", True, True, True),
    # 0.3 is a number below the LLOQ of 0.5: 0.25 against 8.0 = -96.875 %; log2(1/32) = -5
    ("H4", "L03", 43, "8", "-7.75", "-96.875", "-5", "8", "-96.875", "FALL_20", True, True, None),
]  # fmt: skip


@pytest.mark.parametrize("expected", CHANGES, ids=lambda row: f"{row[0]}-{row[1]}")
def test_serum_her2_change(home, expected):
    subject, sample, day, baseline, change, percent, log2, nadir, from_nadir, category, low, deep, normal = expected
    (row,) = home.sql(f"select * from marts.fct_her2_delta where subject_id = '{subject}' and sample_id = '{sample}'")
    shown = (
        row["study_day"], row["is_usable"], row["is_baseline"], row["baseline_ng_ml"], row["change_ng_ml"], row["pct_change"],
        row["log2_ratio"], row["nadir_ng_ml"], row["pct_change_from_nadir"], row["change_category"],
        row["is_at_most_77pct"], row["is_fall_55"], row["is_normalised"],
    )  # fmt: skip
    assert shown == (
        day, True, False, number(baseline), number(change), number(percent), number(log2, 9), number(nadir), number(from_nadir),
        category, low, deep, normal,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("subject", "sample", "baseline"),
    [("H1", "L02", 5.5), ("H3", "L01", 20), ("H4", "L01", 8)],  # before the infusion; 28 days old; same day, no time
)
def test_serum_her2_baseline(home, subject, sample, baseline):
    rows = home.sql(
        f"select sample_id, baseline_ng_ml, change_ng_ml, is_usable from marts.fct_her2_delta where subject_id = '{subject}' and is_baseline"
    )
    assert rows == [{"sample_id": sample, "baseline_ng_ml": baseline, "change_ng_ml": None, "is_usable": True}]


@pytest.mark.parametrize(
    ("subject", "sample", "reason"),
    [
        ("H1", "L01", "before treatment and not the baseline"),
        ("H1", "L03", "after infusion"),
        ("H1", "L07", "different assay from baseline"),
        ("H1", "L08", "above ULOQ"),
        ("H2", "L01", "before treatment and not the baseline"),  # 29 days old
        ("H2", "L02", "no baseline"),
        ("H4", "L02", "conflicting results"),
        ("H7", "L01", "subject not treated"),
    ],
)
def test_serum_her2_that_must_not_be_analysed(home, subject, sample, reason):
    (row,) = home.sql(f"select * from marts.fct_her2_delta where subject_id = '{subject}' and sample_id = '{sample}'")
    assert (row["is_usable"], row["unusable_reason"], row["change_category"]) == (False, reason, "NOT EVALUABLE")
    assert (row["change_ng_ml"], row["pct_change"], row["log2_ratio"], row["is_baseline"]) == (None, None, None, False)


def test_every_accepted_sample_stands_once_and_the_deleted_one_not_at_all(home):
    rows = home.sql(
        "select subject_id, list(sample_id order by sample_id) as samples from marts.fct_her2_delta group by 1 order by 1"
    )
    assert {row["subject_id"]: row["samples"] for row in rows} == {
        "H1": ["K1", "K2", "K4", "K5", *(f"L{n:02}" for n in range(1, 12)), "M1"],
        "H2": ["L01", "L02"], "H3": ["L01", "L02", "L03", "L04"], "H4": ["L01", "L02", "L03"], "H7": ["L01", "M1"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("subject", "status", "sets", "first_dose_on"),
    [  # sets: treated, efficacy (and HER2-low), response evaluable (and a baseline target, and a later assessment or death)
        ("H1", "low", (True, True, True), "2024-01-08"),
        ("H2", "low", (True, True, True), "2024-01-10"),
        ("H3", "low", (True, True, True), "2024-01-10"),
        ("H4", "low", (True, True, False), "2024-01-10"),  # no target lesion
        ("H5", "zero", (True, False, False), "2024-01-10"),
        ("H6", "unknown", (True, False, False), "2024-01-10"),  # IHC 1+ with ISH positive; the dose of 0 is none
        ("H7", "low", (False, False, False), None),
    ],
)
def test_analysis_sets(home, subject, status, sets, first_dose_on):
    (row,) = home.sql(f"select * from marts.dim_subject where subject_id = '{subject}'")
    assert status in row["her2_status"] and row["is_her2_low"] == (status == "low")
    assert (row["in_treated"], row["in_efficacy"], row["in_response_evaluable"]) == sets
    assert row["first_dose_on"] == first_dose_on


def test_visits_against_their_windows(home):
    rows = home.sql(
        "select visit_name, study_day, planned_day, window_start_day, window_end_day, is_in_window, has_serum_her2, has_imaging"
        " from marts.fct_visit where subject_id = 'H1' order by visit_on"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("SCREENING", -5, None, None, None, None, False, True),
        ("C1D1", 1, 1, -28, 1, True, True, False),  # 28 days before day 1 is day -28: there is no day 0
        ("C2D1", 22, 22, 17, 27, True, True, False),
        ("WEEK 6", 43, 43, 36, 50, True, True, True),
        ("C3D1", 52, 43, 36, 50, False, False, False),  # 8 January + 51 days
        ("UNSCHEDULED", 58, None, None, None, None, False, False),
    ]


# sum, baseline, nadir before, % of baseline, % of nadir, target, non-target, overall
RESPONSES = [
    ("H1", "2024-01-03", 100, 100, None, 0, None, None, None, None),
    # 40 + 30 (3.0 cm): 10 x 70 = 7 x 100, exactly 70 %: PR
    ("H1", "2024-02-19", 70, 100, 100, -30, -30, "PR", "NA", "PR"),
    ("H1", "2024-04-01", 65, 100, 70, -35, -7.1429, "PR", "NA", "PR"),
    # no liver lesion, the node's short axis 9 mm is normal: CR with a sum above 0
    ("H1", "2024-05-13", 9, 100, 65, -91, -86.1538, "CR", "NA", "CR"),
    # 9 -> 14: 5 x 14 = 70 >= 6 x 9 = 54, and exactly 5 mm: PD
    ("H1", "2024-06-24", 14, 100, 9, -86, 55.5556, "PD", "NA", "PD"),
    ("H2", "2024-02-21", 50, 50, 50, 0, 0, "SD", "NA", "SD"),
    ("H3", "2024-02-21", 20, 30, 30, -33.3333, -33.3333, "PR", "NA", "PR"),
    ("H3", "2024-04-03", 50, 30, 20, 66.6667, 150, "PD", "NA", "PD"),
    ("H4", "2024-02-21", None, None, None, None, None, None, "NON-CR/NON-PD", "NON-CR/NON-PD"),
    ("H4", "2024-04-03", None, None, None, None, None, None, "NON-CR/NON-PD", "PD"),  # a new lesion
]


@pytest.mark.parametrize("expected", RESPONSES, ids=lambda row: f"{row[0]}-{row[1]}")
def test_response_at_an_assessment(home, expected):
    subject, on, *values = expected
    (row,) = home.sql(f"select * from marts.fct_response where subject_id = '{subject}' and assessed_on = '{on}'")
    names = (
        "sum_of_diameters_mm",
        "baseline_sum_mm",
        "nadir_sum_mm",
        "pct_change_from_baseline",
        "pct_change_from_nadir",
    )
    assert [row[name] for name in names] == values[:5]
    if values[-1] is not None:
        assert [row["target_response"], row["non_target_response"], row["overall_response"]] == values[5:]


@pytest.mark.parametrize(
    (
        "subject",
        "best",
        "best_on",
        "confirmed",
        "confirmed_on",
        "first_response_on",
        "confirmed_response_on",
        "control",
        "benefit",
        "change",
    ),
    [
        # CR on day 127 is followed by PD, so it is not confirmed; PR on day 43 is, 42 days later
        ("H1", "CR", "2024-05-13", "PR", "2024-02-19", "2024-02-19", "2024-02-19", True, True, -91),
        # 42 days after the first dose are at least 42 - 7
        ("H2", "SD", "2024-02-21", "SD", "2024-02-21", None, None, True, False, 0),
        # one PR, then new therapy: unconfirmed, and as confirmed response SD
        ("H3", "PR", "2024-02-21", "SD", "2024-02-21", "2024-02-21", None, True, False, -33.3333),
        ("H4", "NON-CR/NON-PD", "2024-02-21", "NON-CR/NON-PD", "2024-02-21", None, None, True, False, None),
        ("H5", "MISSING", None, "MISSING", None, None, None, False, False, None),
        ("H6", "MISSING", None, "MISSING", None, None, None, False, False, None),
    ],
)
def test_best_overall_response(
    home,
    subject,
    best,
    best_on,
    confirmed,
    confirmed_on,
    first_response_on,
    confirmed_response_on,
    control,
    benefit,
    change,
):
    (row,) = home.sql(f"select * from marts.fct_best_response where subject_id = '{subject}'")
    assert (row["best_overall_response"], row["best_overall_response_on"]) == (best, best_on)
    assert (row["confirmed_best_overall_response"], row["confirmed_best_overall_response_on"]) == (
        confirmed,
        confirmed_on,
    )
    assert (row["first_response_on"], row["is_responder"]) == (first_response_on, first_response_on is not None)
    assert (row["confirmed_response_on"], row["is_confirmed_responder"]) == (
        confirmed_response_on,
        confirmed_response_on is not None,
    )
    assert (row["has_disease_control"], row["has_clinical_benefit"], row["best_pct_change"]) == (
        control,
        benefit,
        change,
    )


# subject, endpoint, start, end, days, months, event, words of the description or reason
TIMES = [
    # 8 January is day 8 of 2024, 24 June day 176: 168 + 1 days; 169 / 30.4375
    ("H1", "PFS", "2024-01-08", "2024-06-24", 169, "5.552361", True, "rogress"),
    ("H1", "PFS_OTHER_RULES", "2024-01-08", "2024-06-24", 169, "5.552361", True, "rogress"),
    # 1 December is day 336: 328 + 1
    ("H1", "OS", "2024-01-08", "2024-12-01", 329, "10.809035", False, ""),
    # 19 February is day 50: 126 + 1
    ("H1", "DOR", "2024-02-19", "2024-06-24", 127, "4.172485", True, "rogress"),
    ("H1", "DOR_UNCONFIRMED", "2024-02-19", "2024-06-24", 127, "4.172485", True, "rogress"),
    ("H1", "TTR", "2024-01-08", "2024-02-19", 43, "1.412731", True, ""),
    # last adequate 21 February (week 6); two later assessments fall due by 15 May + 7; death on 10 July comes after
    ("H2", "PFS", "2024-01-10", "2024-02-21", 43, "1.412731", False, "missed"),
    # ema takes the event as observed: 10 January is day 10, 10 July day 192
    ("H2", "PFS_OTHER_RULES", "2024-01-10", "2024-07-10", 183, "6.01232", True, "eath"),
    ("H2", "OS", "2024-01-10", "2024-07-10", 183, "6.01232", True, "eath"),
    # PD on 3 April lies after the new therapy of 15 March
    ("H3", "PFS", "2024-01-10", "2024-02-21", 43, "1.412731", False, "therapy"),
    ("H3", "PFS_OTHER_RULES", "2024-01-10", "2024-04-03", 85, "2.792608", True, "rogress"),
    ("H3", "OS", "2024-01-10", "2024-04-03", 85, "2.792608", False, ""),
    ("H3", "DOR_UNCONFIRMED", "2024-02-21", "2024-02-21", 1, "0.032854", False, "therapy"),
    ("H4", "PFS", "2024-01-10", "2024-04-03", 85, "2.792608", True, "rogress"),
    ("H4", "PFS_OTHER_RULES", "2024-01-10", "2024-04-03", 85, "2.792608", True, "rogress"),
    ("H4", "OS", "2024-01-10", "2024-04-03", 85, "2.792608", False, ""),
    # death on day 11, before any assessment was due
    ("H5", "PFS", "2024-01-10", "2024-01-20", 11, "0.361396", True, "eath"),
    ("H5", "PFS_OTHER_RULES", "2024-01-10", "2024-01-20", 11, "0.361396", True, "eath"),
    ("H5", "OS", "2024-01-10", "2024-01-20", 11, "0.361396", True, "eath"),
    # no assessment after baseline: censored at the start, 1 day
    ("H6", "PFS", "2024-01-10", "2024-01-10", 1, "0.032854", False, ""),
    ("H6", "PFS_OTHER_RULES", "2024-01-10", "2024-01-10", 1, "0.032854", False, ""),
    # 1 March is day 61: 51 + 1
    ("H6", "OS", "2024-01-10", "2024-03-01", 52, "1.708419", False, ""),
]  # fmt: skip


@pytest.mark.parametrize("expected", TIMES, ids=lambda row: f"{row[0]}-{row[1]}")
def test_time_to_event(home, expected):
    subject, endpoint, start, end, days, months, is_event, words = expected
    (row,) = home.sql(
        f"select * from marts.fct_time_to_event where subject_id = '{subject}' and endpoint = '{endpoint}'"
    )
    assert (row["start_on"], row["end_on"], row["duration_days"], row["is_event"]) == (start, end, days, is_event)
    assert row["duration_months"] == number(months)
    told, untold = ("event_description", "censoring_reason") if is_event else ("censoring_reason", "event_description")
    assert words in row[told] and row[untold] is None


def test_there_are_no_other_times(home):
    rows = home.sql("select subject_id, endpoint from marts.fct_time_to_event order by 1, 2")
    assert [tuple(row.values()) for row in rows] == sorted((row[0], row[1]) for row in TIMES)


@pytest.mark.parametrize(
    ("kind", "subjects", "words"),
    [
        ("treatment_of_no_study_drug", [None], "1 exposures to PARACETAMOL"),
        ("sample_of_two_subjects", ["H1", "H7"], "sample M1 of EAST"),  # numbers like L02 are each subject's own
        ("changed_without_correction", ["H1"], "sample K4"),
        ("conflict", ["H4"], "sample L02"),
        ("assay_switch", ["H1"], "baseline by CLIA"),
    ],
)
def test_findings_ask_for_what_a_person_must_settle(home, kind, subjects, words):
    rows = home.sql(f"select subject_id, detail from ops.findings where kind = '{kind}' order by 1")
    assert [row["subject_id"] for row in rows] == subjects and all(words in row["detail"] for row in rows)
