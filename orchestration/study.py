"""Typed model of study.yaml. Every rule's number enters the system here and nowhere else.

What a protocol leaves out is as the repository's study.yaml has it; a test holds the two equal.
"""

import hashlib
import json
import re
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from orchestration.errors import UserError
from orchestration.exports import privacy
from orchestration.exports.records import RECORDS

Days = Annotated[int, Field(ge=0)]
Percent = Annotated[int, Field(gt=0, le=100)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StudyIdentity(_Model):
    id: str = "STUDY"
    title: str = ""
    timezone: str = "UTC"
    drugs: list[str] = Field(default=[], description="Names under which exposures carry the study regimen")
    data_cutoff: date | None = None

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"unknown time zone {value!r}; use an IANA name such as Europe/Berlin")
        return value

    @field_validator("drugs")
    @classmethod
    def _upper(cls, value: list[str]) -> list[str]:
        return [" ".join(name.upper().split()) for name in value]


class Landing(_Model):
    settle_seconds: float = Field(1, ge=0)


class Ingest(_Model):
    max_attempts: int = Field(3, ge=1)
    max_file_mb: int = Field(512, ge=1)
    max_document_mb: int = Field(50, ge=1, description="XML and JSON documents, which are read as a whole")
    max_unpacked_mb: int = Field(200, ge=1, description="sum of the members of a ZIP archive or a workbook")
    max_members: int = Field(2_000, ge=1)
    parser_memory_mb: int = Field(2_048, ge=64, description="of the process in which files are parsed")
    parser_seconds: int = Field(300, ge=1)
    max_dicom_mb: int = Field(20, ge=1)
    max_message_mb: int = Field(10, ge=1, description="one HL7 message; a batch may hold many")
    max_message_segments: int = Field(20_000, ge=1)


class Alarms(_Model):
    max_quarantined_pct: Percent = 90
    quarantined_from_rows: int = Field(100, ge=1)
    max_vanished_pct: Percent = 10


class Schedule(_Model):
    daily_at: str = "06:00"
    cuts_from: date = Field(date(2020, 1, 1), description="the first day that the web interface offers for a data cut")

    @field_validator("daily_at", mode="before")
    @classmethod
    def _time_of_day(cls, value: object) -> object:
        # without quotes YAML reads 06:00 as a number in base 60
        if not isinstance(value, str) or not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
            raise ValueError('write the time of day as HH:MM in quotes, for example "06:00"')
        return value


class Therapies(_Model):
    anticancer_categories: list[str] = [
        "ANTICANCER",
        "ANTICANCER THERAPY",
        "CHEMOTHERAPY",
        "ENDOCRINE THERAPY",
        "TARGETED THERAPY",
        "IMMUNOTHERAPY",
        "RADIOTHERAPY",
        "SURGERY",
    ]
    ignored_categories: list[str] = []

    @field_validator("anticancer_categories", "ignored_categories")
    @classmethod
    def _upper(cls, value: list[str]) -> list[str]:
        return [" ".join(name.upper().split()) for name in value]


class Analyte(_Model):
    codes: list[str] = ["42914-2", "32996-1", "SERUM HER2"]
    codes_if_serum: list[str] = ["HER2", "HER2AG"]
    unit: Literal["ng/mL"] = "ng/mL"
    cutoff_ng_ml: float = Field(15, gt=0)
    plausible_range: tuple[float, float] = (0, 10000)

    @field_validator("plausible_range")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] >= value[1]:
            raise ValueError("the lower limit must be below the upper one")
        return value


class Analytes(_Model):
    serum_her2: Analyte = Analyte()


class Baseline(_Model):
    window_days: Days = 28


class LabVisit(_Model):
    name: str
    planned_day: int
    window_before_days: Days
    window_after_days: Days


class ImagingPhase(_Model):
    every_weeks: int = Field(gt=0)
    through_week: int | None = Field(None, gt=0)


class ImagingVisits(_Model):
    window_days: Days = 7
    sampling_window_days: Days = 14
    schedule: list[ImagingPhase] = [ImagingPhase(every_weeks=6, through_week=54), ImagingPhase(every_weeks=12)]

    @model_validator(mode="after")
    def _phases_follow(self) -> "ImagingVisits":
        if not self.schedule:
            raise ValueError("name at least one phase, for example {every_weeks: 6}")
        ends = [phase.through_week for phase in self.schedule]
        if ends[-1] is not None or any(end is None for end in ends[:-1]) or ends[:-1] != sorted(set(ends[:-1])):
            raise ValueError("every phase but the last needs a through_week, rising, and the last must be open")
        return self


class Visits(_Model):
    lab: list[LabVisit] = [
        LabVisit(name="C1D1", planned_day=1, window_before_days=28, window_after_days=0),
        LabVisit(name="C2D1", planned_day=22, window_before_days=5, window_after_days=5),
        LabVisit(name="C3D1", planned_day=43, window_before_days=7, window_after_days=7),
    ]
    imaging: ImagingVisits = ImagingVisits()


ResponseValue = Literal["CR", "PR", "SD", "NON-CR/NON-PD"]


class Response(_Model):
    evaluator: str = "INVESTIGATOR"
    basis: Literal["derived", "reported", "derived_else_reported"] = "derived_else_reported"
    confirm_days: Days = 28
    confirm_max_ne: Days = 1
    confirm_accept_sd: bool = False
    min_sd_days: Days = 42
    duration_window_days: Days = 7
    clinical_benefit_days: Days = 168
    carry_partial_response: bool = False
    stop_at_new_therapy: bool = True
    baseline_window_days: Days = 28
    baseline_outside_window: Literal["use", "exclude"] = "use"
    assessment_window_days: Days = 14
    disease_after_cr: Literal["finding", "pd"] = "finding"
    disease_control_values: list[ResponseValue] = ["CR", "PR", "SD", "NON-CR/NON-PD"]
    partial_response_pct: Percent = 30
    progression_pct: Percent = 20
    progression_mm: Days = 5
    node_normal_mm: Days = 10
    node_target_mm: Days = 15
    target_mm: Days = 10
    too_small_mm: Days = 5
    max_targets: Days = 5
    max_targets_per_organ: Days = 2

    @field_validator("evaluator")
    @classmethod
    def _as_in_the_data(cls, value: str) -> str:
        return " ".join(value.upper().split())


class ProgressionFreeSurvival(_Model):
    rules: Literal["fda", "ema"] = "fda"
    max_missed: int = Field(2, ge=1)


class Endpoints(_Model):
    start: Literal["first_dose", "enrolment"] = "first_dose"
    pfs: ProgressionFreeSurvival = ProgressionFreeSurvival()


class Dates(_Model):
    impute_day: Literal["first", "mid", "last"] = "first"


class ChangeThresholds(_Model):
    fall: Percent = 20
    rise: Percent = 20
    at_most_of_baseline: Percent = 77
    deep_fall: Percent = 55


class EventsPerVariable(_Model):
    """How many events a model needs for each of its terms, and a rank or log-rank test for its one contrast."""

    least: int = Field(5, ge=1, description="below it a number is not given")
    enough: int = Field(10, ge=1, description="below it a number is given with a warning")


class Analysis(_Model):
    population: Literal["in_treated", "in_efficacy", "in_response_evaluable"] = "in_efficacy"
    primary: str = "landmark_week_6"
    secondary: list[str] = ["time_dependent_cox", "mantel_byar", "response_odds"]
    landmarks_weeks: list[int] = [6, 9, 12]
    landmark_grace_days: Days = 8
    landmark_max_age_days: Days = 35
    change_thresholds_pct: ChangeThresholds = ChangeThresholds()
    rise_floor_ng_ml: float = Field(1.7, ge=0)
    lag_days: Days = 7
    events_per_variable: EventsPerVariable = EventsPerVariable()
    km_months: list[int] = [6, 12, 18, 24]
    level: float = Field(0.95, gt=0.5, lt=1)

    @model_validator(mode="after")
    def _primary_is_a_landmark(self) -> "Analysis":
        names = [f"landmark_week_{week}" for week in self.landmarks_weeks]
        if self.primary not in names:
            raise ValueError(f"primary {self.primary!r} is none of the landmark analyses: {', '.join(names)}")
        return self

    @property
    def primary_week(self) -> int:
        return int(self.primary.rsplit("_", 1)[1])

    def landmark_day(self, week: int) -> int:
        """The study day on which a landmark stands: the end of its visit windows."""
        return 7 * week + self.landmark_grace_days


class Privacy(_Model):
    pseudonymise: bool = Field(False, description="subject ids as keyed pseudonyms; the key comes from the environment")
    name_headings: list[str] = Field(
        default=[
            "patient name", "name of patient", "subject name", "participant name", "full name", "patient full name",
            "last name", "first name", "middle name", "given name", "family name", "surname", "forename",
            "maiden name", "birth name", "patient last name", "patient first name", "patient surname",
            "Patientenname", "Name des Patienten", "Patient Nachname", "Patient Vorname", "Nachname", "Vorname",
            "Familienname", "Geburtsname", "prénom", "nom de famille", "nom du patient", "apellidos", "cognome",
            "INVNAM", "investigator name", "physician name", "referring physician", "ordering physician",
            "doctor name", "Arzt", "Name des Arztes", "radiologist name", "reader name", "operator name",
            "phone", "telephone", "phone number", "Telefon", "e-mail", "email address", "street", "address",
            "street address", "Adresse", "Anschrift",
        ],
        description="headings of columns that are dropped by every reader; case, blanks and marks do not count",
    )  # fmt: skip


class Source(_Model):
    """How one vendor's export becomes rows of a record: a built-in ``layout``, or ``record`` with ``columns``."""

    name: str
    folder: Literal["clinical", "lab", "imaging"] | None = None
    match: str = Field("*", description="glob on the file's path below the folder")
    layout: Literal["sdtm", "site", "hl7v2", "fhir", "dicom_sr"] | None = None
    record: str | None = None
    columns: dict[str, str | list[str]] = Field(
        default={}, description="canonical column: heading; a list of headings takes the first one that is filled"
    )
    constants: dict[str, str] = Field(default={}, description="canonical column: a value the export does not carry")
    codes: dict[str, dict[str, str]] = Field(
        default={}, description="canonical column: {vendor's code: canonical value}"
    )
    units: dict[str, str] = Field(default={}, description="vendor's spelling: UCUM unit")
    subject_id: str | None = Field(
        None, description="template over the export's headings, for example '{site}-{subject}'"
    )
    date_format: str = Field("iso8601", description="iso8601, or a strptime format; a timestamp adds the time")
    datetime_format: str | None = None
    decimal: Literal[".", ","] = "."
    delimiter: str = ","
    encoding: str = "utf-8"
    sheet: str | None = Field(None, description="title of the sheet of a workbook; without it any sheet that fits")
    heading_row: int = Field(1, ge=1, le=100, description="which of the filled rows holds the headings")
    timezone: str | None = None
    subject_authority: str | None = Field(
        None,
        description="of messages: which of a patient's identifiers is the subject id, by its assigning authority"
        " (HL7 PID-3.4) or its system (FHIR); without it the first one",
    )
    missing: list[str] = [""]
    exported_on: str | None = Field(
        None,
        description="regular expression with one group that finds the export's ISO date (or yyyymmdd) in its file"
        " name: a later export of the same row then corrects the earlier one",
    )

    @field_validator("exported_on")
    @classmethod
    def _one_group(cls, value: str | None) -> str | None:
        if value is not None and re.compile(value).groups != 1:
            raise ValueError("needs exactly one group around the date")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError:
            raise ValueError(f"unknown encoding {value!r}; use for example utf-8 or cp1252") from None
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        return value if value is None else StudyIdentity._known_zone(value)

    @model_validator(mode="after")
    def _one_way(self) -> "Source":
        if (self.layout is None) == (self.record is None):
            raise ValueError(
                "name either a built-in layout (sdtm, site, hl7v2, fhir, dicom_sr) or a record with its columns"
            )
        is_message = self.layout in ("hl7v2", "fhir", "dicom_sr")
        if is_message and (self.columns or self.subject_id):
            raise ValueError(f"layout {self.layout} has no columns; say subject_authority, constants, codes, units")
        if self.subject_authority is not None and not is_message:
            raise ValueError("subject_authority belongs to the layouts hl7v2, fhir and dicom_sr")
        if self.record is not None:
            if self.record not in RECORDS:
                raise ValueError(f"record {self.record!r} is none of: {', '.join(RECORDS)}")
            record = RECORDS[self.record]
            known = {column.name for column in record.columns}
            for key in ("columns", "constants", "codes"):
                for name in getattr(self, key):
                    if name not in known:
                        raise ValueError(
                            f"{key}.{name} is no column of {record.name}; it has {', '.join(sorted(known))}"
                        )
            given = set(self.columns) | set(self.constants) | ({"subject_id"} if self.subject_id else set())
            if absent := [name for name in record.required if name not in given]:
                raise ValueError(f"columns: {record.name} also needs {', '.join(absent)}")
        return self


class Study(_Model):
    study: StudyIdentity = StudyIdentity()
    landing: Landing = Landing()
    ingest: Ingest = Ingest()
    alarms: Alarms = Alarms()
    schedule: Schedule = Schedule()
    therapies: Therapies = Therapies()
    analytes: Analytes = Analytes()
    baseline: Baseline = Baseline()
    visits: Visits = Visits()
    response: Response = Response()
    endpoints: Endpoints = Endpoints()
    dates: Dates = Dates()
    analysis: Analysis = Analysis()
    privacy: Privacy = Privacy()
    sources: list[Source] = []

    @field_validator("sources")
    @classmethod
    def _unique_names(cls, value: list[Source]) -> list[Source]:
        names = [source.name for source in value]
        if double := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"source names must be unique: {', '.join(double)}")
        return value

    @model_validator(mode="after")
    def _sources_name_nobody(self) -> "Study":
        for source in self.sources:
            for column, headings in source.columns.items():
                for heading in [headings] if isinstance(headings, str) else headings:
                    if privacy.names_person(heading, self):
                        raise ValueError(
                            f"sources, {source.name}: columns.{column}: {heading!r} holds names of people"
                            " (privacy.name_headings), which are never read. Name another column"
                        )
        return self

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.study.timezone)

    def dbt_vars(self) -> dict:
        """What dbt reads: everything that a derivation needs, under the keys of study.yaml."""
        keys = {"study", "alarms", "therapies", "analytes", "baseline", "visits", "response", "endpoints", "dates"}
        return self.model_dump(mode="json", include=keys | {"analysis"})

    @property
    def study_hash(self) -> str:
        """sha256 of the protocol as read (comments and order of keys do not matter)."""
        return _hash(self.model_dump(mode="json", exclude={"landing", "ingest", "schedule"}))

    @property
    def reading_hash(self) -> str:
        """sha256 of the part that decides how an export is read and judged."""
        keys = {"study": {"timezone"}, "ingest": True, "analytes": True, "privacy": True, "sources": True}
        content = self.model_dump(mode="json", include=keys)
        if self.privacy.pseudonymise:
            content["pseudonyms"] = privacy.fingerprint()
        for analyte in content["analytes"].values():
            del analyte["cutoff_ng_ml"]  # a matter of analysis
        return _hash(content)


def _hash(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load_study(path: Path) -> Study:
    """Read and check study.yaml.

    Raises:
        UserError: the file is absent, is no YAML, or a key is unknown or out of range; names the key and the mend.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file. Point SHER2_STUDY at the study's protocol (see study.yaml in the repository)."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Save it as UTF-8 text.") from None
    study = _study(path, text)
    if study.privacy.pseudonymise:
        privacy.key()  # without it nothing may be read, and what was read would be read anew
    return study


@lru_cache(maxsize=8)
def _study(path: Path, text: str) -> Study:
    """As a text says it: who watches a folder asks again and again. A study cannot be changed."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(
            f"{path}:{where}: no valid YAML ({getattr(error, 'problem', error)}). Mend indentation or quoting there."
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no keys. Start from the study.yaml of the repository.")
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: " + "; ".join(_explain(item) for item in error.errors())) from None


def _explain(item: dict) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "(top level)"
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key. Remove it or mend its spelling"
    return f"{key}: {item['msg'].removeprefix('Value error, ')} (found {item['input']!r})"
