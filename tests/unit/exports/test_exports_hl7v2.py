"""ORU^R01: which fields become which columns, how files are framed, what is refused, and what is never kept."""

import hl7
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.exports import Rejected, read
from orchestration.settings import REPOSITORY
from orchestration.study import Study
from tests.result_messages import batch, oru

LAB = "lab/results.hl7"
SAMPLES = REPOSITORY.parent / "shared" / "samples" / "hl7v2"
KEYS = ("subject_id", "sample_id", "analyte_key", "value_operator", "value_number", "unit_code", "result_status")
PLAIN = ("S1", "F1", "serum_her2", None, "12.5", "ng/mL", "F")


def brief(row: dict) -> tuple:
    return tuple(row[key] for key in KEYS)


def test_a_result_with_all_its_columns(rows):
    [row] = rows(oru(), LAB)
    assert brief(row) == PLAIN
    assert (row["collected_at"], row["reported_at"]) == ("2025-01-01T07:30:00Z", "2025-01-02T09:15:00Z")
    assert (row["specimen"], row["laboratory"], row["assay"]) == ("SERUM", "LABOR NORD", "ELISA")
    assert (row["_row_number"], row["_misread"]) == (1, None)
    assert row["_source"]["OBX-5"] == "12.5" and row["_source"]["OBX-6"] == "ng/mL^^UCUM"


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r\n", "\n\n"], ids=["CR", "LF", "CRLF", "CRCRLF", "LFLF"])
@pytest.mark.parametrize(
    "frame",
    ["{}", "\ufeff{}", "\x0b{}\x1c\r", "\r\n{}", "{}\x1c"],
    ids=["plain", "byte order mark", "MLLP", "blank line first", "file separator last"],
)
def test_line_ends_and_frames_make_no_difference(rows, end, frame):
    assert [brief(row) for row in rows(frame.format(oru(end)), LAB)] == [PLAIN]


@pytest.mark.parametrize(
    ("kind", "value", "unit", "expected"),
    [
        ("NM", "12.50", "ng/mL", (None, "12.50", "ng/mL")),
        ("SN", "<^5.0", "ng/mL", ("<", "5.0", "ng/mL")),
        ("SN", "^182", "ng/mL", (None, "182", "ng/mL")),
        ("SN", "=^182", "ng/mL", (None, "182", "ng/mL")),
        ("SN", "10^-^20", "ng/mL", (None, None, "ng/mL")),
        ("SN", "^10^-^20", "ng/mL", (None, None, "ng/mL")),
        ("ST", "> 350", "ng/mL", (">", "350", "ng/mL")),
        ("ST", "<5.0 ng/mL", "", ("<", "5.0", "ng/mL")),
        ("TX", "<5.0", "ng/mL", ("<", "5.0", "ng/mL")),
        ("NM", "60~120", "ng/mL", (None, None, "ng/mL")),
        ("NM", "12.5", "", (None, "12.5", None)),
        ("NM", "12.5", "^nanogram^L^ng/mL^^UCUM", (None, "12.5", "ng/mL")),
        ("NM", "12.5", "x^y^L^ug/L^microgram^UCUM", (None, "12.5", "ug/L")),
        ("NM", '""', "ng/mL", (None, None, "ng/mL")),
    ],
)
def test_value_types_carry_operator_number_and_unit(rows, kind, value, unit, expected):
    [row] = rows(oru(type=kind, value=value, unit=unit), LAB)
    assert (row["value_operator"], row["value_number"], row["unit_code"]) == expected


@pytest.mark.parametrize(
    ("code", "analyte", "key"),
    [
        ("42914-2^HER2 Ag^LN", "42914-2", "serum_her2"),
        ("HER2S^HER2^L^42914-2^HER2 Ag^LN", "42914-2", "serum_her2"),
        ("32996-1^HER2^LN^HER2S^HER2^L", "32996-1", "serum_her2"),
        ("X1^SERUM HER2^L", "SERUM HER2", "serum_her2"),
        ("48676-1^HER2 tissue^LN^HER2^HER2^L", "48676-1", None),  # the LOINC code says tissue
        ("51981-9^HER2 ordinal^LN", "51981-9", None),
        ("2039-6^CEA^LN", "2039-6", None),
        ("GLU^GLUCOSE", "GLU", None),
    ],
)
def test_the_loinc_code_decides_in_either_triple(rows, code, analyte, key):
    [row] = rows(oru(code=code), LAB)
    assert (row["analyte"], row["analyte_key"]) == (analyte, key)


@pytest.mark.parametrize(
    ("specimen", "key"), [("SER^Serum", "serum_her2"), ("119364003^^SCT", "serum_her2"), ("TISS^Tissue", None)]
)
def test_a_code_that_also_names_tissue_counts_only_in_serum(rows, specimen, key):
    [row] = rows(oru(code="HER2^HER2^L", specimen=specimen), LAB)
    assert row["analyte_key"] == key


def test_collection_is_spm_17_else_obr_7_and_never_obx_14(rows):
    whole = oru()
    earlier = whole.replace("|||||||||||||20250101083000", "|||||||||||||20250101073000")
    without = "\r".join(line for line in whole.split("\r") if not line.startswith("SPM"))
    neither = without.replace("|||20250101083000+0100|", "||||")
    assert [row["collected_at"] for text in (earlier, without, neither) for row in rows(text, LAB)] == [
        "2025-01-01T06:30:00Z",
        "2025-01-01T07:30:00Z",
        None,
    ]


@pytest.mark.parametrize(
    ("stamp", "collected_at", "day"),
    [
        ("20250101083000.1234+0100", "2025-01-01T07:30:00Z", "2025-01-01"),
        ("202501010830+0100", "2025-01-01T07:30:00Z", "2025-01-01"),
        ("20250101083000", "2025-01-01T07:30:00Z", "2025-01-01"),  # the offset of MSH-7
        ("20250101", "2025-01-01", "2025-01-01"),
        ("202501", "2025-01", "2025-01"),
        ("2025", "2025", "2025"),
        ("20250230", "\ufffd2025-02-30", "\ufffd2025-02-30"),
        ("01.02.2025", "\ufffd01.02.2025", "\ufffd01.02.2025"),
    ],
)
def test_time_stamps_are_as_precise_as_they_are_written(rows, stamp, collected_at, day):
    [row] = rows(oru(drawn=stamp), LAB)
    assert (row["collected_at"], row["collected_at_on"]) == (collected_at, day)


def test_control_ids_order_messages_of_one_second_as_numbers(rows):
    versions = [rows(oru(control=control), LAB)[0]["version"] for control in ("M9", "M10", "M100")]
    versions.append(rows(oru(control="M1", sent="20250102101500.5+0100"), LAB)[0]["version"])
    assert versions == sorted(versions) and len(set(versions)) == 4


@pytest.mark.parametrize(
    ("status", "value", "expected"),
    [("U", "", "U"), ("U", "12.5", "F"), ("C", "12.5", "C"), ("", "12.5", None), ("X", "", "X")],
)
def test_result_status(rows, status, value, expected):
    assert rows(oru(status=status, value=value), LAB)[0]["result_status"] == expected


def test_several_orders_each_have_their_own_specimen_and_number(rows):
    message = oru().rstrip("\r") + "\r" + "\r".join(oru(sample="F2", drawn="20250201083000+0100").split("\r")[2:])
    found = rows(message, LAB)
    assert [(row["sample_id"], row["collected_at_on"]) for row in found] == [("F1", "2025-01-01"), ("F2", "2025-02-01")]


def test_the_sub_id_belongs_to_the_identity_of_a_result(rows):
    assert rows(oru(sub="2"), LAB)[0]["sample_id"] == "F1/2"


def test_specimens_of_different_times_in_one_order_set_the_result_aside(rows):
    text = oru() + "SPM|2|S-F1||SER^Serum|||||||||||||20250109\r"
    [row] = rows(text, LAB)
    assert row["subject_id"] is None and "SPM-17" in row["_misread"]


def test_pid_3_is_chosen_by_assigning_authority(rows):
    text = oru().replace("S1^^^STUDY&1.2.3&ISO^PI", "MRN7^^^HOSPITAL^MR~S1^^^STUDY&1.2.3&ISO^PI")
    source = {"name": "h", "layout": "hl7v2", "match": "*.hl7"}
    chosen = {
        authority: rows(text, LAB, sources=[source | ({"subject_authority": authority} if authority else {})])[0]
        for authority in (None, "STUDY", "1.2.3", "HOSPITAL", "ELSEWHERE")
    }
    assert {authority: row["subject_id"] for authority, row in chosen.items()} == {
        None: "MRN7", "STUDY": "S1", "1.2.3": "S1", "HOSPITAL": "MRN7", "ELSEWHERE": None,
    }  # fmt: skip
    assert "MRN7" not in str(chosen["STUDY"]["_source"])


@pytest.mark.parametrize(
    ("pid_2", "pid_3", "authority", "expected"),
    [
        ("S1^^^STUDY", "", None, ("S1", "PID-2")),
        ("S1^^^STUDY", "^^^HOSPITAL", None, ("S1", "PID-2")),
        ("OLD9", "S1", None, ("S1", "PID-3")),
        ("S1^^^STUDY", "MRN7^^^HOSPITAL", "STUDY", ("S1", "PID-2")),
        ("S1^^^STUDY", "MRN7^^^HOSPITAL", None, ("MRN7", "PID-3")),
        ("S1", "", "STUDY", (None, None)),  # nobody says that it is the study's
        ("", "", None, (None, None)),
    ],
)
def test_pid_2_of_older_senders_is_asked_where_pid_3_holds_no_identifier(rows, pid_2, pid_3, authority, expected):
    text = oru().replace("PID|1||S1^^^STUDY&1.2.3&ISO^PI|", f"PID|1|{pid_2}|{pid_3}|")
    source = {"name": "h", "layout": "hl7v2", "match": "*.hl7"} | ({"subject_authority": authority} if authority else {})
    [row] = rows(text, LAB, sources=[source])
    kept = next((field for field in row["_source"] if field.startswith("PID")), None)
    assert (row["subject_id"], kept) == expected


@pytest.mark.parametrize(
    ("stated", "encoding"),
    [("UNICODE UTF-8", "utf-8"), ("8859/1", "latin-1"), ("8859/15", "iso8859-15"), ("", "utf-8")],
)
def test_character_sets_of_msh_18(rows, stated, encoding):
    text = oru(unit="µg/L", laboratory="LABOR SÜD").replace("UNICODE UTF-8", stated)
    [row] = rows(text.encode(encoding), LAB)
    assert (row["unit_code"], row["laboratory"]) == ("ug/L", "LABOR SÜD")


def test_text_in_another_character_set_sets_its_message_aside_alone(rows):
    bad = oru(laboratory="LABOR SÜD", sample="F2").encode("latin-1")
    first, second = rows(oru().encode() + bad, LAB)
    assert brief(first) == PLAIN
    assert "UTF-8" in second["_misread"] and second["subject_id"] is None


def test_escapes_and_a_fifth_character_of_msh_2(rows):
    text = oru(laboratory="A\\T\\B \\X41\\ \\.br\\C").replace("|^~\\&|", "|^~\\&#|", 1)
    assert rows(text, LAB)[0]["laboratory"] == "A&B A  C"


def test_other_separators_are_those_of_msh(rows):
    text = oru().translate(str.maketrans("|^~\\&", "!*@%$"))
    assert brief(rows(text, LAB)[0]) == PLAIN


@pytest.mark.parametrize("header", ["MSH", "MSH|", "MSH|^", "MSH|^^\\&|LIS"])
def test_a_header_without_separators_sets_its_message_aside_alone(rows, header):
    first, second = rows(f"{oru()}{header}\r", LAB)
    assert brief(first) == PLAIN
    assert second["_misread"] == "message 2: MSH-2 names no separators (MSH|^~\\&|): have it sent again, whole"


def test_a_field_with_line_breaks_stays_one_field(rows):
    [row] = rows(oru("\n", type="TX", value="first\nNOTE, second"), LAB)
    assert row["value"] == "(narrative text, not kept)" and row["result_status"] == "F"


def test_a_batch_is_read_whole_and_rows_are_counted_through_it(rows):
    messages = [oru(sample=f"F{number}", control=f"M{number}") for number in range(1, 31)]
    found = rows(batch(messages), LAB)
    assert [row["_row_number"] for row in found] == list(range(1, 31))
    assert [row["sample_id"] for row in found] == [f"F{number}" for number in range(1, 31)]


def test_of_a_batch_only_what_cannot_be_read_is_set_aside(rows):
    other = oru().replace("ORU^R01^ORU_R01", "ADT^A01")
    empty = "\r".join(line for line in oru().split("\r") if not line.startswith("OBX"))
    reasons = [row["_misread"] for row in rows(batch([oru(), other, empty]), LAB)]
    assert reasons[0] is None and "ADT^A01" in reasons[1] and "no OBX" in reasons[2]


@pytest.mark.parametrize(
    ("text", "rule", "says"),
    [
        (batch([oru(), oru()], counted=3), "record_count", "BTS-1 counts 3"),
        (batch([oru()]).replace("FTS|1", "FTS|2"), "record_count", "FTS-1 counts 2"),
        (batch([oru()]).split("FTS")[0], "truncated", "FHS has no FTS"),
        (batch([oru()]).split("BTS")[0] + "FTS|1\r", None, ""),
        (oru().replace("ORU^R01^ORU_R01", "ADT^A01"), "no_results", "ADT^A01"),
        (oru().replace("ORU^R01^ORU_R01", "ADT^" + "A" * 500), "no_results", f"1 ADT^{'A' * 16}, no"),
        ("\r".join(line for line in oru().split("\r") if line[:3] != "OBX"), "no_results", "OBX"),
        (oru().replace("\r", " "), "no_results", "end of line"),
        (batch([oru()]) + "NTE|1||left over\r", "structure", "outside"),
        (oru() + "NTE|1||" + "x" * (1 << 20), "too_large", "max_message_mb"),
        (oru() + "NTE|1\r" * 120, "too_large", "max_message_segments"),
    ],
    ids=range(11),
)
def test_a_file_that_is_not_whole_or_no_result_is_refused(rows, text, rule, says):
    limits = {"max_message_mb": 1, "max_message_segments": 100}
    if rule is None:
        assert len(rows(text, LAB, ingest=limits)) == 1
        return
    with pytest.raises(Rejected) as refusal:
        rows(text, LAB, ingest=limits)
    assert (refusal.value.rule, says in refusal.value.message) == (rule, True)
    assert "PLANTED" not in refusal.value.message


@pytest.mark.parametrize("kind", ["TX", "FT", "ED", "RP", "ST"])
def test_prose_and_documents_are_not_kept(rows, kind):
    text = "Seen by Dr PLANTED on the ward; the patient tells that nothing has changed since the last visit"
    [row] = rows(oru(type=kind, value=text, code="11502-2^Report^LN"), LAB)
    assert row["value"] == "(narrative text, not kept)" and "PLANTED" not in str(row)


def test_no_name_passes_the_reader(rows):
    message = oru().replace("\rOBR", "\rNK1|1|PLANTED^MOTHER\rPV1|1|O|||||9^PLANTED^DOCTOR\rOBR")
    message = message.replace("ELISA", "ELISA||||||||PLANTED^DIRECTOR").replace("\rSPM", "\rNTE|1||call PLANTED\rSPM")
    assert "PLANTED" not in str(rows(message, LAB))


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the public samples are not beside this repository")
@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("ORU-R01-01.hl7", 5),
        ("ORU-R01-RMGEAD.hl7", 1),
        ("OUL-R22-01.hl7", "no_results"),
        ("athena-health-oru-example.hl7", "no_results"),
        ("lfh-ORU-multiline-short.hl7", 3),
        ("lfh-sample_unix.hl7", "no_results"),
        ("lfh-sample_win.hl7", "no_results"),
        ("nist-ORU_R01_2.5.1_SampleTestCase1.hl7", 1),
    ],
)
def test_public_messages_load_or_are_refused_with_the_reason(name, outcome):
    try:
        [sheet] = read(SAMPLES / name, f"lab/{name}", Study())
    except Rejected as refusal:
        assert refusal.rule == outcome
    else:
        assert sheet.table.num_rows == outcome


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the public samples are not beside this repository")
@pytest.mark.parametrize(
    "name", ["ORU-R01-RMGEAD.hl7", "nist-ORU_R01_2.5.1_SampleTestCase1.hl7", "lfh-ORU-multiline-short.hl7"]
)
def test_source_text_equals_the_fields_that_python_hl7_finds(name):
    text = "\r".join((SAMPLES / name).read_text("utf-8").splitlines())
    message = hl7.parse(text)
    [sheet] = read(SAMPLES / name, f"lab/{name}", Study())
    for number, source in enumerate(sheet.table["_source"].to_pylist()):
        for field, value in source:
            segment, _, place = field.partition("-")
            if segment in ("MSH", "OBR", "OBX", "SPM", "PID"):
                found = message.segments(segment)[number if segment == "OBX" else 0]
                assert str(found(int(place)) if segment == "MSH" else found[int(place)]) == value


@settings(max_examples=80, deadline=None)
@given(place=st.integers(0, 600), junk=st.binary(max_size=6), cut=st.integers(0, 8))
def test_damaged_bytes_load_or_are_refused_but_never_break_the_reader(tmp_path_factory, place, junk, cut):
    good = batch([oru(), oru(sample="F2")]).encode()
    path = tmp_path_factory.getbasetemp() / "damaged.hl7"
    path.write_bytes(b"MSH" + good[3 : place + 3] + junk + good[place + 3 + cut :])
    try:
        [sheet] = read(path, "lab/damaged.txt", Study())
    except Rejected as refusal:
        assert refusal.message.startswith("lab/damaged.txt: ")
    else:
        assert sheet.table.num_rows >= 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (oru().replace("UNICODE UTF-8", "").replace("LABOR", "LABÖR"), "MSH-18 says nothing"),
        (oru().replace("ORU^R01^ORU_R01", "ORU^R30^ORU_R30"), "holds 1 ORU^R30, no ORU^R01"),
        (oru().split("\rOBX")[0] + "\r", "no message holds a result"),
    ],
    ids=["character set", "another event", "no OBX"],
)
def test_a_file_without_results_says_what_stands_in_the_way(rows, text, says):
    with pytest.raises(Rejected) as refusal:
        rows(text.encode("latin-1"), LAB)
    assert refusal.value.rule == "no_results" and says in refusal.value.message, refusal.value.message
