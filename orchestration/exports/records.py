"""The ten canonical records, shaped after SDTM. What a column means belongs here; how a vendor spells it does not.

A *derived* column is computed by the reader from the canonical one beside it: the parts of a value,
the UCUM code of a unit, the local calendar day of a timestamp. Every column is text in the lake;
dbt's staging models cast.
"""

from dataclasses import dataclass

UNREADABLE = "\ufffd"
"""Put before a value that is outside the layout's declaration, so that its expectation fails on it."""

META_COLUMNS = {
    "_file_id": "string",
    "_row_number": "int64",
    "_batch": "int64",
    "_received_at": "timestamp[us, UTC]",
    "_rejected_by": "string",  # rules that quarantined the row, comma separated; null for an accepted row
    "_source": "map<string, string>",  # heading -> untouched text
}


@dataclass(frozen=True)
class Column:
    name: str
    kind: str = "text"  # text | code (folded to upper case) | date | timestamp | number
    required: bool = False
    derived: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    name: str
    domain: str  # the SDTM domain it is shaped after
    folder: str  # the landing folder it usually arrives in
    columns: tuple[Column, ...]

    @property
    def column_names(self) -> list[str]:
        """Canonical and derived columns, in lake order."""
        return [name for column in self.columns for name in (column.name, *column.derived)]

    @property
    def required(self) -> list[str]:
        return [column.name for column in self.columns if column.required]

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def _required(name: str, kind: str = "text", *derived: str) -> Column:
    return Column(name, kind, True, derived)


def _optional(name: str, kind: str = "text", *derived: str) -> Column:
    return Column(name, kind, False, derived)


_SUBJECT = _required("subject_id")
_READ = (_optional("evaluator", "code"), _optional("reader"), _optional("accepted", "code"))

RECORDS: dict[str, Record] = {
    record.name: record
    for record in (
        Record(
            "subjects",
            "DM",
            "clinical",
            (
                _SUBJECT,
                _optional("site_id"),
                _optional("age_years", "number"),
                _optional("sex", "code"),
                _optional("regimen"),
                _optional("enrolled_on", "date"),
                _optional("reference_start_on", "date"),  # RFSTDTC: for enrolled_on where nothing better is known
                _optional("death_on", "date"),
                _optional("death_flag", "code"),  # DTHFL: Y, N, or BLANK where it is asked for and not answered
                _optional("ihc_score", "code"),
                _optional("ihc_membrane_staining", "code"),
                _optional("ish_status", "code"),
                _optional("her2_tested_on", "date"),
                _optional("hormone_receptor_status", "code"),
            ),
        ),
        Record(
            "exposures",
            "EX",
            "clinical",
            (
                _SUBJECT,
                _required("treatment", "code"),
                _optional("dose", "number"),
                _optional("dose_unit"),
                _required("start_on", "date"),
                _optional("started_at", "timestamp", "started_at_on"),
                _optional("end_on", "date"),
                _optional(
                    "occurred", "code"
                ),  # EXOCCUR: Y, N (no dose), or BLANK where it is asked for and not answered
            ),
        ),
        Record(
            "visits",
            "SV",
            "clinical",
            (
                _SUBJECT,
                _required("visit_name"),
                _optional("visit_number", "number"),
                _required("visit_on", "date"),
            ),
        ),
        Record(
            "lab_results",
            "LB",
            "lab",
            (
                _SUBJECT,
                _optional("sample_id"),
                _required("analyte", "text", "analyte_key"),
                _required("value", "text", "value_operator", "value_number"),
                _required("unit", "text", "unit_code"),
                _required("collected_at", "timestamp", "collected_at_on"),
                _optional("reported_at", "timestamp", "reported_at_on"),
                _optional("result_status", "code"),
                _optional("visit_name"),
                _optional("specimen", "code"),
                _optional("laboratory"),
                _optional("assay"),
                _optional("lloq", "number"),
                _optional("uloq", "number"),
                _optional("result_id"),  # of messages: what a retraction names, whatever the sample
                _optional("version"),  # of messages: orders versions that were reported at the same second
            ),
        ),
        Record(
            "tumor_identifications",
            "TU",
            "imaging",
            (
                _SUBJECT,
                _required("lesion_id"),
                _required("role", "code"),
                _optional("location", "code"),
                _optional("method", "code"),
                _required("identified_on", "date"),
                _optional("visit_name"),
                *_READ,
            ),
        ),
        Record(
            "tumor_measurements",
            "TR",
            "imaging",
            (
                _SUBJECT,
                _required("lesion_id"),
                _required("test", "code"),
                _required("value", "text", "value_number", "value_code"),
                _optional("unit", "text", "unit_code"),
                _required("assessed_on", "date"),
                _optional("visit_name"),
                *_READ,
                _optional("status", "code"),
                _optional("method", "code"),
            ),
        ),
        Record(
            "tumor_responses",
            "RS",
            "imaging",
            (
                _SUBJECT,
                _required("test", "code"),
                _required("value", "text", "value_code"),
                _required("assessed_on", "date"),
                _optional("visit_name"),
                *_READ,
                _optional("lesion_id"),
            ),
        ),
        Record(
            "dispositions",
            "DS",
            "clinical",
            (
                _SUBJECT,
                _required("category", "code"),
                _required("term", "code"),
                _required("occurred_on", "date"),
            ),
        ),
        Record(
            "therapies",
            "CM",
            "clinical",
            (
                _SUBJECT,
                _required("treatment", "code"),
                _optional("category", "code"),
                _required("started_on", "date"),
            ),
        ),
        Record(
            "survival_status",
            "SS",
            "clinical",
            (
                _SUBJECT,
                _required("status", "code"),
                _required("assessed_on", "date"),
            ),
        ),
    )
}
