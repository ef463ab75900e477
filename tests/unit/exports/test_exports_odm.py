"""ODM-XML 1.3 snapshots: an item group becomes a record by declaration; DTDs, changes and other versions are refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.exports import Rejected, read
from orchestration.settings import REPOSITORY
from orchestration.study import Study

EDC = "clinical/snapshot.xml"
SAMPLE = REPOSITORY.parent / "shared" / "samples" / "odm" / "odm-data-snapshot.xml"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
ROOT = '<ODM xmlns="http://www.cdisc.org/ns/odm/v1.3" ODMVersion="1.3.2" FileType="Snapshot" FileOID="F1">'
DEFINITIONS = """
<AdminData><User OID="U1"><FullName>PLANTED JANE</FullName><FirstName>PLANTED</FirstName></User></AdminData>
<Study OID="S"><BasicDefinitions>
<MeasurementUnit OID="MU.1" Name="x"><Symbol><TranslatedText>ng/mL</TranslatedText></Symbol></MeasurementUnit>
</BasicDefinitions><MetaDataVersion OID="v1" Name="v1">
<StudyEventDef OID="SE.1" Name="C1D1" Repeating="No" Type="Scheduled"/>
<ItemDef OID="IT.NAME" Name="Q1" DataType="text"><Question><TranslatedText>Patient name</TranslatedText></Question></ItemDef>
<ItemDef OID="IT.X2" Name="Last Name" DataType="text"/>
</MetaDataVersion></Study>"""
SOURCE = {
    "name": "edc-labs",
    "match": "*.xml",
    "sheet": "IG.LB",
    "record": "lab_results",
    "columns": {
        "subject_id": "SubjectKey", "visit_name": "StudyEventName", "value": "IT.RES", "unit": "IT.RES.unit",
        "collected_at": "IT.DATE", "sample_id": "IT.TUBE",
    },
    "constants": {"analyte": "42914-2", "specimen": "SERUM"},
}  # fmt: skip


def item(oid: str, value: str, unit: str = "") -> str:
    inner = f'<MeasurementUnitRef MeasurementUnitOID="{unit}"/>' if unit else ""
    return f'<ItemData ItemOID="{oid}" Value="{value}">{inner}</ItemData>'


def snapshot(*groups: str, root: str = ROOT, definitions: str = DEFINITIONS) -> str:
    return (
        f'{HEAD}{root}{definitions}<ClinicalData StudyOID="S" MetaDataVersionOID="v1"><SubjectData SubjectKey="S1">'
        '<SiteRef LocationOID="SITE7"/><StudyEventData StudyEventOID="SE.1" StudyEventRepeatKey="1"><FormData FormOID="F.LB">'
        + "".join(groups)
        + "</FormData></StudyEventData></SubjectData></ClinicalData></ODM>"
    )


def labs(key: str, *items: str) -> str:
    return f'<ItemGroupData ItemGroupOID="IG.LB" ItemGroupRepeatKey="{key}">{"".join(items)}</ItemGroupData>'


HEADER = (
    '<ItemGroupData ItemGroupOID="IG.HEAD">'
    + item("IT.DATE", "2025-01-01")
    + item("IT.NAME", "PLANTED")
    + "</ItemGroupData>"
)
TWO = snapshot(
    HEADER,
    labs("1", item("IT.RES", "12.5", "MU.1"), item("IT.TUBE", "F1"), item("IT.X2", "PLANTED")),
    labs("2", item("IT.RES", "&lt;5.0", "MU.1"), item("IT.TUBE", "F2")),
)


def brief(row: dict) -> tuple:
    return tuple(
        row[key]
        for key in (
            "subject_id",
            "sample_id",
            "visit_name",
            "value_operator",
            "value_number",
            "unit_code",
            "collected_at",
        )
    )


def test_rows_of_an_item_group_with_the_units_events_and_date_of_their_form(rows):
    found = rows(TWO, EDC, sources=[SOURCE])
    assert [brief(row) for row in found] == [
        ("S1", "F1", "C1D1", None, "12.5", "ng/mL", "2025-01-01"),
        ("S1", "F2", "C1D1", "<", "5.0", "ng/mL", "2025-01-01"),
    ]
    assert found[0]["_source"]["IT.RES"] == "12.5" and found[0]["_source"]["SiteOID"] == "SITE7"


def test_typed_item_data_reads_the_same(rows):
    typed = snapshot(
        HEADER,
        labs(
            "1",
            '<ItemDataDouble ItemOID="IT.RES">12.5<MeasurementUnitRef MeasurementUnitOID="MU.1"/></ItemDataDouble>',
            '<ItemDataString ItemOID="IT.TUBE">F1</ItemDataString>',
        ),
    )
    assert [brief(row) for row in rows(typed, EDC, sources=[SOURCE])] == [
        ("S1", "F1", "C1D1", None, "12.5", "ng/mL", "2025-01-01")
    ]


def test_item_groups_that_nobody_declared_are_named(sheet):
    assert "item group IG.HEAD" in sheet(TWO, EDC, sources=[SOURCE]).note


def test_no_name_passes_the_reader(rows):
    assert "PLANTED" in TWO and "PLANTED" not in str(rows(TWO, EDC, sources=[SOURCE]))


@pytest.mark.parametrize(
    ("text", "rule", "says"),
    [
        (TWO.replace(HEAD, HEAD + '<!DOCTYPE x [<!ENTITY a "b">]>'), "xml", "DTD"),
        (TWO.replace(HEAD, HEAD + '<!DOCTYPE ODM SYSTEM "http://127.0.0.1/x.dtd">'), "xml", "DTD"),
        (TWO.replace("Snapshot", "Transactional"), "transactional", "snapshot"),
        (TWO.replace("odm/v1.3", "odm/v2.0").replace("1.3.2", "2.0"), "version", "ODM 1.3"),
        (snapshot(), "no_results", "ItemGroupData"),
        (TWO[:-40], "xml", "no valid XML"),
        (TWO.replace("<SiteRef", "<a>" * 60 + "</a>" * 60 + "<SiteRef"), "xml", "50 deep"),
        (TWO + f"<!--{'x' * (1 << 20)}-->", "too_large", "1 MB"),
    ],
    ids=["entity", "outside DTD", "changes", "version 2", "no data", "cut off", "deep", "large"],
)
def test_a_document_that_cannot_be_trusted_is_refused(rows, text, rule, says):
    with pytest.raises(Rejected) as refusal:
        rows(text, EDC, sources=[SOURCE], ingest={"max_document_mb": 1})
    assert (refusal.value.rule, says in refusal.value.message) == (rule, True)


def test_without_a_declaration_the_file_is_refused_as_an_unknown_table(rows):
    with pytest.raises(Rejected) as refusal:
        rows(TWO, EDC)
    assert refusal.value.rule == "header_mismatch" and "PLANTED" not in refusal.value.message


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the public samples are not beside this repository")
def test_the_public_snapshot_reads_by_its_declaration():
    columns = SOURCE["columns"] | {"value": "IT.LBORRES", "collected_at": "IT.VISITDTC", "unit": "IT.LBORRESU"}
    columns = {key: heading for key, heading in columns.items() if key != "sample_id"}
    source = SOURCE | {"sheet": "IG.LB.LB_ARRAY1", "columns": columns}
    with pytest.raises(Rejected) as refusal:  # its laboratory form has no date and no unit of its own
        read(SAMPLE, "clinical/odm-data-snapshot.xml", Study.model_validate({"sources": [source]}))
    assert refusal.value.rule == "header_mismatch"
    vital = {"name": "dm", "match": "*.xml", "sheet": "IG.DM", "record": "subjects"} | {
        "columns": {"subject_id": "SubjectKey", "age_years": "IT.AGE", "sex": "IT.SEX", "enrolled_on": "IT.DMDTC"}
    }
    [sheet] = read(SAMPLE, "clinical/odm-data-snapshot.xml", Study.model_validate({"sources": [vital]}))
    assert sheet.table["subject_id"].to_pylist() == ["SS_0001", "SS_0002"]
    assert sheet.table["age_years"].to_pylist()[0] == "56" and "IG.LB.LB_ARRAY1" in sheet.note


@settings(max_examples=60, deadline=None)
@given(place=st.integers(60, 2200), junk=st.binary(max_size=6), cut=st.integers(0, 8))
def test_damaged_bytes_load_or_are_refused_but_never_break_the_reader(tmp_path_factory, place, junk, cut):
    path = tmp_path_factory.getbasetemp() / "damaged.xml"
    good = TWO.encode()
    path.write_bytes(good[:place] + junk + good[place + cut :])
    try:
        read(path, EDC, Study.model_validate({"sources": [SOURCE]}))
    except Rejected as refusal:
        assert refusal.message.startswith(EDC)


@pytest.mark.parametrize("version", ["", "2.0", "x"])
def test_a_version_that_is_none_is_refused_as_one(rows, version):
    with pytest.raises(Rejected) as refusal:
        rows(TWO.replace('ODMVersion="1.3.2"', f'ODMVersion="{version}"'), EDC, sources=[SOURCE])
    assert refusal.value.rule == "version"


@pytest.mark.parametrize("encoding", ["null", "big5", "x-none"])
def test_an_encoding_that_no_parser_knows_is_refused_with_the_mend(rows, encoding):
    with pytest.raises(Rejected) as refusal:
        rows(TWO.replace('encoding="UTF-8"', f'encoding="{encoding}"'), EDC, sources=[SOURCE])
    assert refusal.value.rule == "xml" and "Export it as UTF-8" in refusal.value.message
