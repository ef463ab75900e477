"""The layout `sdtm`, domain by domain."""

import pytest

from orchestration.exports import Rejected


def test_dm_keeps_informed_consent_and_reference_start_apart(rows):
    found = rows(
        "DOMAIN,USUBJID,SITEID,AGE,SEX,ARM,ACTARM,RFICDTC,RFSTDTC,DTHDTC\n"
        "DM,S1,701,63.0,F,A,B,2025-01-02,2025-01-10,\nDM,S2,702,70,m,A,,,2025-01-11T08:00,2025-06\n",
        "clinical/dm.csv",
    )
    keys = ("subject_id", "site_id", "age_years", "sex", "regimen", "enrolled_on", "reference_start_on", "death_on")
    assert [tuple(row[key] for key in keys) for row in found] == [
        ("S1", "701", "63.0", "F", "B", "2025-01-02", "2025-01-10", None),
        ("S2", "702", "70", "M", "A", None, "2025-01-11", "2025-06"),
    ]


def test_mi_tells_score_ish_and_hormone_receptors_by_test_and_method(rows):
    found = rows(
        "DOMAIN,USUBJID,MITESTCD,MIMETHOD,MIORRES,MISTRESC,MIDTC\n"
        "MI,S1,HER2,IHC,2+,,2025-01-02\n"
        "MI,S1,HER2,Fluorescence in situ hybridization,NEGATIVE,,2025-01-03\n"
        "MI,S1,ESTRCPT,IHC,POSITIVE,,2025-01-02\n"
        "MI,S1,PROGESTR,IHC,NEGATIVE,,2025-01-02\n"
        "MI,S2,ESTRCPT,IHC,NEGATIVE,,2025-01-02\n"
        "MI,S2,HER2,,1+,,2025-01-02\n"
        "MI,S2,KI67,IHC,20,,2025-01-02\n",
        "clinical/mi.csv",
    )
    keys = ("subject_id", "ihc_score", "ish_status", "her2_tested_on", "hormone_receptor_status")
    assert [tuple(row[key] for key in keys) for row in found] == [
        ("S1", "2+", None, "2025-01-02", None),
        ("S1", None, "NEGATIVE", "2025-01-03", None),
        ("S1", None, None, None, "POSITIVE"),
        ("S1", None, None, None, "POSITIVE"),  # one receptor is enough
        ("S2", None, None, None, "NEGATIVE"),
        ("S2", "1+", None, "2025-01-02", None),
        ("S2", None, None, None, None),
    ]


def test_suppdm_gives_the_named_qualifiers(rows, sheet):
    text = (
        "RDOMAIN,USUBJID,QNAM,QVAL\nDM,S1,IHCSCORE,2+\nDM,S1,ISHSTAT,Negative\nDM,S1,HRSTAT,POSITIVE\n"
        "DM,S1,RACE1,X\nAE,S1,IHCSCORE,3+\n"
    )
    found = rows(text, "clinical/suppdm.csv")
    assert [(row["ihc_score"], row["ish_status"], row["hormone_receptor_status"]) for row in found] == [
        ("2+", None, None),
        (None, "NEGATIVE", None),
        (None, None, "POSITIVE"),
        (None, None, None),
        (None, None, None),
    ]
    assert [row["subject_id"] for row in found] == ["S1"] * 4 + [None]
    assert found[4]["_misread"] == "RDOMAIN is not DM"
    assert sheet(text, "clinical/export.csv").record == "subjects"


def test_ex_has_a_start_time_only_where_one_is_written(rows):
    found = rows(
        "DOMAIN,USUBJID,EXTRT,EXDOSE,EXDOSU,EXSTDTC,EXENDTC\nEX,S1,t-dxd,5.4,mg/kg,2025-03-01T09:15,2025-03-01\n"
        "EX,S1,T-DXD,0.0,mg/kg,2025-03-22,\n",
        "clinical/ex.csv",
    )
    assert [(row["treatment"], row["start_on"], row["started_at"], row["started_at_on"]) for row in found] == [
        ("T-DXD", "2025-03-01", "2025-03-01T09:15:00Z", "2025-03-01"),
        ("T-DXD", "2025-03-22", None, None),
    ]


LB = "DOMAIN,USUBJID,LBTESTCD,LBLOINC,LBORRES,LBORRESU,LBSTRESU,LBLLOQ,LBSPEC,LBNAM,LBREFID,LBSPID,LBSTAT,LBDTC\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "LB,S1,HER2,,<40,ng/mL,ng/mL,4,SERUM,LAB,R1,P1,,2025-03-01T08:00",
            {
                "value": "<40",
                "value_operator": "<",
                "value_number": "40",
                "lloq": "4",
                "sample_id": "R1",
                "analyte_key": "serum_her2",
            },
        ),
        (
            "LB,S1,HER2,,4000,pg/mL,ng/mL,4,SERUM,LAB,,P1,,2025-03-01",
            {"value": "4000", "lloq": "4000", "sample_id": "P1"},
        ),
        ("LB,S1,HER2,,4,mg/L,ng/mL,4,SERUM,LAB,,P1,,2025-03-01", {"lloq": "0.004"}),
        ("LB,S1,ALB,,4,g/dL,g/L,4,SERUM,LAB,,P1,,2025-03-01", {"lloq": "4", "analyte_key": None, "unit_code": None}),
        (
            "LB,S1,HER2,42914-2,4,ng/mL,,,,LAB,,,,2025-03-01",
            {"analyte": "42914-2", "analyte_key": "serum_her2", "sample_id": "LAB|2025-03-01|serum_her2"},
        ),
        ("LB,S1,HER2,48676-1,4,ng/mL,,,,LAB,,,,2025-03-01", {"analyte": "HER2", "analyte_key": None}),
        ("LB,S1,HER2,,,,,,SERUM,,,,NOT DONE,2025-03-01", {"value": None, "result_status": "NOT DONE"}),
    ],
)
def test_lb_takes_the_original_result_and_its_limits(rows, line, expected):
    [row] = rows(LB + line + "\n", "lab/lb.csv")
    assert {key: row[key] for key in expected} == expected


def test_tu_may_do_without_a_date_where_it_has_a_visit(rows):
    head = "DOMAIN,USUBJID,TULNKID,TUSTRESC,TULOC,TUEVAL,TUEVALID,TUACPTFL"
    [row] = rows(f"{head},VISIT\nTU,S1,T01,TARGET,liver,Independent Assessor,R1,Y,SCREENING\n", "imaging/tu_onco.csv")
    assert (
        row["identified_on"],
        row["visit_name"],
        row["evaluator"],
        row["reader"],
        row["accepted"],
        row["location"],
    ) == (None, "SCREENING", "INDEPENDENT ASSESSOR", "R1", "Y", "LIVER")
    with pytest.raises(Rejected) as refusal:
        rows(head + "\n", "imaging/tu_onco.csv")
    assert "TUDTC" in refusal.value.message


def test_tr_never_puts_one_columns_unit_to_anothers_number(rows):
    head, line = "DOMAIN,USUBJID,TRLNKID,TRTESTCD,TRDTC,TRSTAT", "TR,S1,T01,LDIAM,2014-01,"
    [row] = rows(f"{head},TRORRES,TRORRESU,TRSTRESC,TRSTRESU\n{line},2.5,,25,mm\n", "imaging/tr.csv")
    assert (row["value_number"], row["unit_code"], row["assessed_on"]) == ("2.5", None, "2014-01")
    [row] = rows(f"{head},TRSTRESC,TRSTRESU\n{line}NOT DONE,,mm\n", "imaging/tr.csv")
    assert (row["value"], row["unit_code"], row["status"]) == (None, "mm", "NOT DONE")


@pytest.mark.parametrize(
    ("category", "test"),
    [
        ("RECIST 1.1", "OVRLRESP"),
        ("recist v1.1", "OVRLRESP"),
        ("", "OVRLRESP"),
        ("RANO", "RANO:OVRLRESP"),
        ("MADRS", "MADRS:OVRLRESP"),
    ],
)
def test_rs_by_other_criteria_is_kept_under_another_name(rows, category, test):
    [row] = rows(
        f"DOMAIN,USUBJID,RSCAT,RSTESTCD,RSORRES,RSDTC\nRS,S1,{category},OVRLRESP,PR,2025-03-01\n", "imaging/rs.csv"
    )
    assert row["test"] == test and row["value_code"] == ("PR" if test == "OVRLRESP" else None)


@pytest.mark.parametrize(
    ("name", "text", "record", "expected"),
    [
        (
            "ds",
            "USUBJID,DSCAT,DSTERM,DSDECOD,DSSTDTC\nS1,Protocol Milestone,rand.,Randomized,2025-03-01\n",
            "dispositions",
            {"category": "PROTOCOL MILESTONE", "term": "RANDOMIZED", "occurred_on": "2025-03-01"},
        ),
        (
            "cm",
            "USUBJID,CMTRT,CMCAT,CMSTDTC\nS1,Capecitabine,Chemotherapy,2025-03\n",
            "therapies",
            {"treatment": "CAPECITABINE", "category": "CHEMOTHERAPY", "started_on": "2025-03"},
        ),
        (
            "ss",
            "USUBJID,SSTESTCD,SSORRES,SSDTC\nS1,SURVSTAT,Alive,2025-03-01\n",
            "survival_status",
            {"status": "ALIVE"},
        ),
        (
            "ss",
            "USUBJID,SSTESTCD,SSORRES,SSDTC\nS1,PROGSTAT,Dead,2025-03-01\n",
            "survival_status",
            {"status": "PROGSTAT:DEAD"},
        ),
        (
            "sv",
            "USUBJID,VISIT,VISITNUM,SVSTDTC\nS1,C1D1,1.0,2025-03-01\n",
            "visits",
            {"visit_name": "C1D1", "visit_number": "1.0"},
        ),
    ],
)
def test_other_domains(rows, sheet, name, text, record, expected):
    for path in (f"clinical/{name}.csv", "clinical/export.csv"):  # their headings alone tell the domain
        [row] = rows(text, path)
        assert {key: row[key] for key in expected} == expected and sheet(text, path).record == record


@pytest.mark.parametrize(
    ("name", "domain", "record"),
    [
        ("lb", "LB", "lab_results"),
        ("LB_2026-01-05", "LB", "lab_results"),
        ("export", "LB", "lab_results"),
        ("dm", "LB", "lab_results"),
    ],
)
def test_the_domain_column_wins_over_the_name(sheet, name, domain, record):
    assert sheet(LB + f"{domain},S1,HER2,,4,ng/mL,,,,LAB,,,,2025-03-01\n", f"clinical/{name}.csv").record == record


def test_rows_of_another_domain_are_set_aside(rows):
    found = rows(
        "DOMAIN,USUBJID,VISIT,SVSTDTC\nSV,S1,C1D1,2025-03-01\nEX,S1,C1D1,2025-03-01\n,S2,C1D1,2025-03-01\n",
        "clinical/sv.csv",
    )
    assert [row["_misread"] for row in found] == [None, "DOMAIN is not SV", None]


@pytest.mark.parametrize("name", ["clinical/ae.csv", "clinical/sv.csv", "clinical/export.csv"])
def test_a_domain_that_nothing_reads_is_refused_by_its_name(rows, name):
    with pytest.raises(Rejected) as refusal:
        rows("DOMAIN,USUBJID,VISIT,VISITNUM,AETERM\nAE,S1,C1D1,1,HEADACHE\n", name)
    assert refusal.value.rule == "unknown_domain" and "'AE'" in refusal.value.message
