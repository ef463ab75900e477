"""DICOM structured reports: which numbers become measurements, what is set aside, what is refused before it is opened."""

import zlib

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from orchestration.exports import Rejected, read
from orchestration.settings import REPOSITORY
from orchestration.study import Study

SCAN = "imaging/report.dcm"
SAMPLES = REPOSITORY.parent / "shared" / "samples" / "dicom_sr"
COMPREHENSIVE, CT_IMAGE = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.2"


def code(value: str, meaning: str = "meaning") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def item(kind: str, concept: str, **content) -> Dataset:
    found = Dataset()
    found.ValueType, found.ConceptNameCodeSequence = kind, [code(concept)]
    for keyword, value in content.items():
        setattr(found, keyword, value)
    return found


def number(concept: str, value: str, unit: str) -> Dataset:
    measured = Dataset()
    measured.NumericValue, measured.MeasurementUnitsCodeSequence = value, [code(unit)]
    return item("NUM", concept, MeasuredValueSequence=[measured])


def group(lesion: str, *numbers: Dataset) -> Dataset:
    return item("CONTAINER", "125007", ContentSequence=[item("TEXT", "112039", TextValue=lesion), *numbers])


def report(path, *groups: Dataset, syntax=ExplicitVRLittleEndian, sop=COMPREHENSIVE):
    """A report as a viewer writes it, names included."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop, generate_uid(entropy_srcs=["sher2"])
    meta.TransferSyntaxUID = syntax
    found = Dataset()
    found.file_meta, found.PatientID, found.PatientName, found.StudyDate = meta, "S1", "PLANTED^JANE", "20250101"
    found.SOPClassUID, found.SOPInstanceUID, found.ReferringPhysicianName = (
        sop,
        meta.MediaStorageSOPInstanceUID,
        "PLANTED",
    )
    observer = item("PNAME", "121008", PersonName="PLANTED^READER")
    modality = item("CODE", "121139", ConceptCodeSequence=[code("CT")])
    found.ContentSequence = [observer, modality, item("CONTAINER", "126010", ContentSequence=list(groups))]
    found.save_as(path, enforce_file_format=True)
    return path.read_bytes()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["explicit", "implicit"])
def test_axes_become_measurements_of_the_tracked_lesion(rows, tmp_path, syntax):
    content = report(
        tmp_path / "sr",
        group("T1", number("103339001", "25.50", "mm"), number("G-A186", "1.2", "cm")),
        group("T2", number("410668003", "31", "mm"), number("81827009", "30", "mm")),
        syntax=syntax,
    )
    keys = ("lesion_id", "test", "value", "unit_code", "assessed_on", "method", "_misread")
    assert [tuple(row[key] for key in keys) for row in rows(content, SCAN)] == [
        ("T1", "LDIAM", "25.50", "mm", "2025-01-01", "CT", None),
        ("T1", "LPERP", "1.2", "cm", "2025-01-01", "CT", None),
        ("T2", "LDIAM", "31", "mm", "2025-01-01", "CT", None),
        ("T2", "LDIAM", "30", "mm", "2025-01-01", "CT", None),
    ]


@pytest.mark.parametrize(
    ("concept", "value", "unit", "reason"),
    [
        ("103339001", "25", "1", "unit 1"),
        ("103339001", "25", "mm2", "unit mm2"),
        ("103339001", "25", "", "(none)"),
        ("103340004", "", "mm", "no value"),
        ("G-A16A", "25", "mm", "neither"),
        ("126401", "6.01", "{SUVbw}g/ml", "neither"),
    ],
)
def test_other_numbers_are_set_aside_with_the_reason(rows, tmp_path, concept, value, unit, reason):
    bad, good = rows(
        report(tmp_path / "sr", group("T1", number(concept, value or None, unit), number("G-A185", "20", "mm"))), SCAN
    )
    assert reason in bad["_misread"] and bad["subject_id"] is None
    assert (good["subject_id"], good["value"], good["_misread"]) == ("S1", "20", None)


def test_no_name_passes_the_reader(rows, tmp_path):
    content = report(tmp_path / "sr", group("T1", number("G-A185", "20", "mm")))
    assert b"PLANTED" in content and "PLANTED" not in str(rows(content, SCAN))


def test_a_report_without_measurements_is_refused(rows, tmp_path):
    with pytest.raises(Rejected) as refusal:
        rows(report(tmp_path / "sr", group("T1")), SCAN)
    assert refusal.value.rule == "no_results"


@pytest.mark.parametrize(
    ("changes", "rule", "says"),
    [
        ({"sop": CT_IMAGE}, "type_mismatch", "no structured report"),
        ({"syntax": DeflatedExplicitVRLittleEndian}, "type_mismatch", "packed"),
    ],
    ids=["image", "deflated"],
)
def test_other_objects_and_packed_ones_are_not_opened(rows, tmp_path, changes, rule, says):
    with pytest.raises(Rejected) as refusal:
        rows(report(tmp_path / "sr", group("T1", number("G-A185", "20", "mm")), **changes), SCAN)
    assert (refusal.value.rule, says in refusal.value.message) == (rule, True)
    assert refusal.value.message.startswith(SCAN)


def test_a_deflated_bomb_is_not_unpacked(rows, tmp_path):
    head = report(tmp_path / "sr", group("T1"), syntax=DeflatedExplicitVRLittleEndian)
    meta_bytes = 132 + 12 + pydicom.filereader.read_file_meta_info(tmp_path / "sr").FileMetaInformationGroupLength
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = bomb.compress(bytes(200 << 20)) + bomb.flush()
    with pytest.raises(Rejected) as refusal:
        rows(head[:meta_bytes] + packed, SCAN)
    assert refusal.value.rule == "type_mismatch"


def test_a_large_object_is_refused_before_it_is_read(rows, tmp_path):
    content = report(tmp_path / "sr", group("T1", number("G-A185", "20", "mm"))) + bytes(1 << 20)
    with pytest.raises(Rejected) as refusal:
        rows(content, SCAN, ingest={"max_dicom_mb": 1})
    assert refusal.value.rule == "too_large"


def test_nesting_is_bounded(rows, tmp_path):
    nested = number("G-A185", "20", "mm")
    for _ in range(40):
        nested = item("CONTAINER", "126010", ContentSequence=[nested])
    with pytest.raises(Rejected) as refusal:
        rows(report(tmp_path / "sr", group("T1", nested)), SCAN)
    assert refusal.value.rule in ("too_large", "damaged")


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the public samples are not beside this repository")
@pytest.mark.parametrize(("name", "count"), [("dcmqi-sr-tid1500.dcm", 22), ("highdicom-sr_document.dcm", 1)])
def test_numbers_of_public_reports_are_all_accounted_for(name, count):
    [sheet] = read(SAMPLES / name, f"imaging/{name}", Study())
    assert (sheet.table.num_rows, sheet.table["_misread"].null_count) == (count, 0)


@settings(max_examples=40, deadline=None)
@given(place=st.integers(132, 1500), junk=st.binary(max_size=6), cut=st.integers(0, 8))
def test_damaged_bytes_load_or_are_refused_but_never_break_the_reader(tmp_path_factory, place, junk, cut):
    folder = tmp_path_factory.getbasetemp()
    if not (folder / "good.dcm").exists():
        report(folder / "good.dcm", group("T1", number("G-A185", "20", "mm")))
    good = (folder / "good.dcm").read_bytes()
    (folder / "damaged.dcm").write_bytes(good[:place] + junk + good[place + cut :])
    try:
        read(folder / "damaged.dcm", SCAN, Study())
    except Rejected as refusal:
        assert refusal.message.startswith(SCAN)
