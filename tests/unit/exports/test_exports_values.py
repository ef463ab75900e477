"""Numbers, results, units and codes become canonical text, or are marked; no subject id is touched."""

import pytest

from orchestration.exports.records import UNREADABLE
from orchestration.exports.values import fold_unit, unit_factor


def lab_row(rows, value="5", unit="ng/mL", analyte="42914-2", decimal=".", **more):
    source = {
        "name": "lis",
        "record": "lab_results",
        "delimiter": ";",
        "decimal": decimal,
        **more.pop("source", {}),
        "columns": {
            name: name for name in ("subject_id", "analyte", "value", "unit", "collected_at", "specimen", "lloq")
        },
    }
    cells = {
        "subject_id": "S1",
        "analyte": analyte,
        "value": value,
        "unit": unit,
        "collected_at": "2025-03-01",
        "specimen": "",
        "lloq": "",
        **more,
    }
    [row] = rows(";".join(cells) + "\n" + ";".join(cells.values()) + "\n", sources=[source])
    return row


@pytest.mark.parametrize(
    ("decimal", "text", "canonical"),
    [
        (".", "12.5", "12.5"),
        (".", "12.50", "12.50"),
        (".", " 12 ", "12"),
        (".", "+5", "5"),
        (".", "-1", "-1"),
        (".", "0", "0"),
        (".", ".5", "0.5"),
        (".", "5.", "5"),
        (".", "1e3", "1000"),
        (".", "1.5E-2", "0.015"),
        (".", "14.999999999", "14.999999999"),
        (".", "88.39999999999999", "88.39999999999999"),
        (".", "007", "007"),
        (",", "12,5", "12.5"),
        (",", "12", "12"),
        (",", "1,5e3", "1500"),
        (".", "12,5", None),
        (".", "1,234.5", None),
        (".", "1 234", None),
        (".", "1.234,5", None),
        (".", "1,2,3", None),
        (",", "12.5", None),
        (",", "1.234", None),
        (",", "1.234,5", None),
        (",", "1,2,3", None),
        (".", "NaN", None),
        (".", "inf", None),
        (".", "-Infinity", None),
        (".", "1e309", None),
        (".", "1e-320", None),
        (".", "1e99", None),
        (".", "1e9999999", None),
        (".", "9" * 40, None),
        (".", "٣٤", None),
        (".", "１２", None),
        (".", "0x1F", None),
        (".", "1_000", None),
        (".", "twelve", None),
        (".", "--5", None),
        (".", ".", None),
        (".", "e5", None),
    ],
)
def test_numbers_read_only_as_declared(rows, decimal, text, canonical):
    row = lab_row(rows, decimal=decimal, lloq=text, value=text)
    assert row["lloq"] == (canonical or UNREADABLE + text.strip())
    assert row["value_number"] == canonical and row["value"] == text.strip()


@pytest.mark.parametrize(
    ("text", "operator", "number"),
    [
        ("<0.5", "<", "0.5"),
        ("< 0.5", "<", "0.5"),
        (">350", ">", "350"),
        ("> 350.0", ">", "350.0"),
        ("<=5", "<=", "5"),
        ("≤5", "<=", "5"),
        (">=5", ">=", "5"),
        ("≥ 5", ">=", "5"),
        ("<.5", "<", "0.5"),
        ("BLQ", "<", None),
        ("bloq", "<", None),
        ("ND", "<", None),
        ("<LLOQ", "<", None),
        ("< lloq", "<", None),
        ("BELOW LLOQ", "<", None),
        ("Not detected", "<", None),
        (">ULOQ", ">", None),
        ("above ULOQ", ">", None),
        ("5 H", None, "5"),
        ("5H", None, "5"),
        ("5 L", None, "5"),
        ("5 HH", None, "5"),
        ("5 LL", None, "5"),
        ("5*", None, "5"),
        ("5 *", None, "5"),
        ("<5 L", "<", "5"),
        ("5 A", None, None),
        ("5 HL", None, None),
        ("5**", None, None),
        ("* 5", None, None),
        ("5 mm", None, None),
        ("<", None, None),
        ("< abc", None, None),
        ("<<5", None, None),
        ("<1,5", None, None),
        ("< NaN", None, None),
        ("<1e309", None, None),
        ("haemolysed", None, None),
        ("5-6", None, None),
        ("", None, None),
    ],
)
def test_results_keep_their_text_and_show_operator_and_number(rows, text, operator, number):
    row = lab_row(rows, value=text)
    assert (row["value"], row["value_operator"], row["value_number"]) == (text or None, operator, number)


def test_a_decimal_comma_holds_behind_an_operator(rows):
    row = lab_row(rows, value="< 0,5", decimal=",")
    assert (row["value"], row["value_operator"], row["value_number"]) == ("< 0,5", "<", "0.5")


@pytest.mark.parametrize(
    ("spelling", "code"),
    [
        ("ng/mL", "ng/mL"),
        (" NG/ML ", "ng/mL"),
        ("ng/ml", "ng/mL"),
        ("ng / mL", "ng/mL"),
        ("ng/mL^^UCUM", "ng/mL"),
        ("ug/L", "ug/L"),
        ("\u00b5g/L", "ug/L"),
        ("\u03bcg/L", "ug/L"),
        ("mcg/L", "ug/L"),
        ("pg/mL", "pg/mL"),
        ("ug/mL", "ug/mL"),
        ("mg/L", "mg/L"),
        ("ng/dL", "ng/dL"),
        ("mm", "mm"),
        ("cm", "cm"),
        ("U/mL", None),
        ("HNU/mL", None),
        ("kU/L", None),
        ("fmol/mL", None),
        ("nmol/L", None),
        ("%", None),
        ("", None),
    ],
)
def test_units_fold_by_the_table_only(rows, spelling, code):
    row = lab_row(rows, unit=spelling)
    assert row["unit_code"] == code and row["unit"] == (spelling.strip() or None)


def test_a_declared_unit_spelling_is_followed(rows):
    row = lab_row(rows, unit="Nanogramm/ml", source={"units": {"nanogramm/ml": "ng/mL"}})
    assert row["unit_code"] == "ng/mL"


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("ng/mL", "1"), ("µg/L", "1"), ("pg/mL", "0.001"), ("ug/mL", "1000"), ("mg/L", "1000"), ("ng/dL", "0.01")],
)
def test_factors_to_ng_ml_are_exact(unit, factor):
    quantity, found = unit_factor(unit)
    assert quantity == "mass_concentration" and str(found) == factor


def test_fold_unit_is_stable():
    assert {fold_unit(text) for text in ("ug/l", "UG/L", "\u00b5g/L", "\u03bcg / l", "ug/L^^UCUM")} == {"ug/l"}


@pytest.mark.parametrize(
    ("analyte", "specimen", "key"),
    [
        ("42914-2", "", "serum_her2"),
        ("32996-1", "PLASMA", "serum_her2"),
        ("serum  her2", "", "serum_her2"),
        ("HER2", "SERUM", "serum_her2"),
        ("HER2AG", "serum or plasma", "serum_her2"),
        ("HER2", "", None),
        ("HER2", "TISSUE", None),
        ("HER2", "NON-SERUM", None),
        ("48676-1", "SERUM", None),
        ("CEA", "SERUM", None),
    ],
)
def test_serum_her2_is_told_from_tissue(rows, analyte, specimen, key):
    assert lab_row(rows, analyte=analyte, specimen=specimen)["analyte_key"] == key


@pytest.mark.parametrize("subject", ["007", "NA", "None", "null", "1E5", "TRUE", "s-o0O", "#12", "=1+1", "nan", "1.0"])
def test_subject_ids_are_text(rows, subject):
    [row] = rows(f"subject_id,site_id\n {subject} ,NA\n", "clinical/subjects.csv")
    assert (row["subject_id"], row["site_id"]) == (subject, "NA")


def test_only_declared_codes_are_missing(rows):
    source = {
        "name": "edc",
        "record": "subjects",
        "missing": ["-99", "n.k."],
        "columns": {"subject_id": "id", "age_years": "age", "sex": "sex", "site_id": "site"},
    }
    [row] = rows("id,age,sex,site\nS1,-99, n.k. ,NA\n", "clinical/edc.csv", sources=[source])
    assert (row["age_years"], row["sex"], row["site_id"]) == (None, None, "NA")
    assert row["_source"]["age"] == "-99"


def test_codes_fold_and_declared_codes_translate(rows):
    source = {
        "name": "edc",
        "record": "subjects",
        "codes": {"sex": {"w": "F"}, "regimen": {"1": "T-DXd"}},
        "columns": {"subject_id": "id", "sex": "sex", "regimen": "arm"},
    }
    found = rows("id,sex,arm\nS1,W,1\nS2, m,2\n", "clinical/edc.csv", sources=[source])
    assert [(row["sex"], row["regimen"]) for row in found] == [("F", "T-DXd"), ("M", "2")]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("Y", "Y"), ("yes", "Y"), ("1", "Y"), ("N", None), ("no", None), ("", None), ("Maybe", UNREADABLE + "MAYBE")],
)
def test_accepted_reads(rows, text, canonical):
    content = f"subject_id,lesion_id,role,identified_on,accepted\nS1,T01,Target,2025-03-01,{text}\n"
    [row] = rows(content, "imaging/tumor_identifications.csv")
    assert (row["accepted"], row["role"], row["evaluator"]) == (canonical, "TARGET", "INVESTIGATOR")


@pytest.mark.parametrize(
    ("value", "number", "code"),
    [
        ("21", "21", None),
        ("32.32", "32.32", None),
        ("0", "0", None),
        ("present", None, "PRESENT"),
        ("ABSENT", None, "ABSENT"),
        ("Too small to measure", None, "TOO SMALL TO MEASURE"),
        ("UNEQUIVOCAL", None, "UNEQUIVOCAL"),
        ("EQUIVOCAL", None, "EQUIVOCAL"),
        ("NOT ASSESSED", None, "NOT ASSESSED"),
        ("12,5", None, None),
        ("<5", None, None),
        ("gone?", None, None),
        ("", None, None),
    ],
)
def test_lesion_values_are_a_number_or_a_state(rows, value, number, code):
    content = f'subject_id,lesion_id,test,value,unit,assessed_on\nS1,T01,LDIAM,"{value}",CM,2025-03-01\n'
    [row] = rows(content, "imaging/tumor_measurements.csv")
    assert (row["value"], row["value_number"], row["value_code"]) == (value or None, number, code)
    assert row["unit_code"] == "cm"


@pytest.mark.parametrize(
    ("test", "value", "code"),
    [
        ("OVRLRESP", "PR", "PR"),
        ("ovrlresp", " cr ", "CR"),
        ("OVRLRESP", "Non-CR/Non-PD", "NON-CR/NON-PD"),
        ("TRGRESP", "SD", "SD"),
        ("NTRGRESP", "NON-CR/NON-PD", "NON-CR/NON-PD"),
        ("NTRGRESP", "NA", "NA"),
        ("NEWLPROG", "Y", "YES"),
        ("NEWLPROG", "UNEQUIVOCAL", "YES"),
        ("NEWLPROG", "EQUIVOCAL", "EQUIVOCAL"),
        ("NEWLPROG", "N", "NO"),
        ("OVRLRESP", "CHECK", None),
        ("NTRGRESP", "PR", None),
        ("OVRLRESP", "Y", None),
        ("OVRLRESP", "", None),
    ],
)
def test_responses_answer_their_test(rows, test, value, code):
    [row] = rows(f"subject_id,test,value,assessed_on\nS1,{test},{value},2025-03-01\n", "imaging/tumor_responses.csv")
    assert row["value_code"] == code
