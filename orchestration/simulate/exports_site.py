"""The study as hospitals hand it over: two laboratories' exports, a core lab's lesion tables, and EDC tables.

Every heading, code and date format of this file is declared once more in study.yaml under ``sources``, which is how
the pipeline learns to read them.
"""

import numpy as np
import pandas as pd

from orchestration.simulate import codes
from orchestration.simulate.cells import Cells, constant, day, either, label, moment, tenths, whole
from orchestration.simulate.deliveries import MONTHLY, QUARTERLY, Dialect, Export
from orchestration.simulate.records import SimulatedStudy
from orchestration.simulate.results import lab_values, lesion_names, lesion_roles, measured, response_rows, sample_ids

_EDC = Dialect(delimiter=",", encoding="utf-8")
_GERMAN = Dialect(delimiter=";", encoding="cp1252")
_EDC_DATE = "%d-%b-%Y"
_YES_NO = ["Nein", "Ja"]


def exports(study: SimulatedStudy) -> list[Export]:
    """All tables, not yet cut into deliveries."""
    return [
        _export("clinical", "edc_subjects", _subjects(study), study["subjects"], QUARTERLY, _EDC),
        _export(
            "clinical",
            "edc_infusions",
            _infusions(study),
            study["doses"],
            QUARTERLY,
            _EDC,
            {"Infusion date": "31-Feb-2023", "Start time": ""},
        ),
        _export("clinical", "edc_visits", _visits(study), study["visits"], QUARTERLY, _EDC),
        _export("clinical", "edc_events", _events(study), study["dispositions"], QUARTERLY, _EDC),
        _export("clinical", "edc_therapies", _therapies(study), study["therapies"], QUARTERLY, _EDC),
        _export("clinical", "edc_followup", _followup(study), study["survival"], QUARTERLY, _EDC),
        *_laboratories(study),
        _export("imaging", "corelab_lesions", _lesions(study), study["lesions"], QUARTERLY, _EDC),
        _export(
            "imaging",
            "corelab_measurements",
            *_measurements(study),
            QUARTERLY,
            _EDC,
            {
                "Lesion": "T01",
                "Quantity": "longest diameter",
                "Result": "12;5",
                "Unit": "mm",
                "Assessable": "yes",
                "Timepoint": "UNSCHEDULED",
            },
        ),
        _export(
            "imaging",
            "edc_response",
            *_responses(study),
            QUARTERLY,
            _EDC,
            {"Item": "Overall", "Assessment": "CHECK", "Timepoint": "UNSCHEDULED"},
        ),
    ]


def _export(
    folder: str,
    stem: str,
    columns: dict[str, Cells],
    frame: pd.DataFrame,
    months: int,
    dialect: Dialect,
    *dirt: dict[str, str],
) -> Export:
    return Export(
        folder, stem, columns, frame["known_on"].to_numpy(), frame["superseded_on"].to_numpy(), months, dialect, dirt
    )


def _subject(study: SimulatedStudy, frame: pd.DataFrame) -> Cells:
    return label(frame["subject"], study.usubjid)


def _subjects(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["subjects"]
    return {
        "Subject": _subject(study, frame),
        "Site": label(frame["subject"], study.site),
        "Age": whole(frame["age"]),
        "Sex": label(frame["male"], ["Female", "Male"]),
        "Study treatment": label(frame["first_dose"] < codes.NEVER, ["", "Trastuzumab deruxtecan"]),
        "Consent": day(frame["consent"], _EDC_DATE),
        "Date of death": day(frame["death"], _EDC_DATE),
        "HER2 IHC": label(frame["ihc"], ["negative", "1 plus", "2 plus", "3 plus"]),
        "HER2 ISH": label(frame["ish"], ["not amplified", "amplified", "not performed"]),
        "HER2 tested": day(frame["tested"], _EDC_DATE),
        "Hormone receptor": label(frame["estrogen"] | frame["progesterone"], _YES_NO),
    }


def _infusions(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["doses"]
    rows = len(frame)
    return {
        "Subject": _subject(study, frame),
        "Cycle": whole(frame["cycle"]),
        "Drug": constant("T-DXd", rows),
        "Dose": tenths(frame["dose"]),
        "Unit": constant("mg/kg", rows),
        "Infusion date": day(frame["day"], _EDC_DATE),
        "Start time": moment(frame["day"], frame["minute"], _EDC_DATE, " "),
    }


def _visits(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["visits"]
    return {
        "Subject": _subject(study, frame),
        "Visit no.": label(frame["visit"], [str(number) for number in codes.VISIT_NUMBERS]),
        "Visit": label(frame["visit"], codes.VISITS),
        "Visit date": day(frame["day"], _EDC_DATE),
    }


def _events(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["dispositions"]
    words = [
        "consent given",
        "enrolled",
        "screen failure",
        "disease progression",
        "adverse event",
        "death",
        "withdrew consent",
        "lost",
        "physician's decision",
    ]
    return {
        "Subject": _subject(study, frame),
        "Form": label(frame["category"], ["Milestone", "End of treatment", "End of study"]),
        "Event": label(frame["term"], words),
        "Event date": day(frame["day"], _EDC_DATE),
    }


def _therapies(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["therapies"]
    names, categories = zip(*codes.THERAPIES, strict=True)
    return {
        "Subject": _subject(study, frame),
        "Therapy": label(frame["therapy"], [name.capitalize() for name in names]),
        "Kind": label(frame["therapy"], [category.lower() for category in categories]),
        "Started": either(frame["vague"], day(frame["day"], "UNK-%b-%Y"), day(frame["day"], _EDC_DATE)),
    }


def _followup(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["survival"]
    return {
        "Subject": _subject(study, frame),
        "Alive": label(frame["dead"], ["Ja", "Nein"]),
        "Contact date": day(frame["day"], _EDC_DATE),
    }


def _laboratories(study: SimulatedStudy) -> list[Export]:
    """The northern laboratory prints German numbers and dates and reports in µg/L; the southern one does not."""
    frame = study["labs"]
    is_north = (frame["laboratory"] == codes.NORTH).to_numpy()
    north, south = frame[is_north], frame[~is_north]
    result, _, low, high = lab_values(north, ",")
    # The subject's number stands in two columns here, so the source declares how they make a subject_id.
    number = np.array([usubjid.rsplit("-", 1)[1] for usubjid in study.usubjid], dtype=object)
    german = {
        "Zentrum": label(north["subject"], study.site),
        "Patient": label(north["subject"], number),
        "Auftrag": sample_ids(north),
        "Analyt": label(north["analyte"], ["HER2S", "CA153", "CEA", "LDH", "GPT"]),
        "Ergebnis": result,
        "Einheit": label(north["analyte"], ["µg/L", "U/mL", "µg/L", "U/L", "U/L"]),
        "Material": constant("Serum", len(north)),
        "Methode": label(north["assay"], codes.ASSAYS),
        "Untergrenze": low,
        "Obergrenze": high,
        "Visite": label(north["visit"], codes.VISITS),
        "Entnahme": moment(north["day"], north["minute"], "%d.%m.%Y", " "),
        "Befund": moment(north["reported_day"], north["reported_minute"], "%d.%m.%Y", " "),
        "Status": label(north["status"], ["E", "K", "V", "S"]),
    }
    result, _, low, high = lab_values(south)
    plain = {
        "patient_id": _subject(study, south),
        "accession": sample_ids(south),
        "loinc": label(south["analyte"], ["42914-2", "6875-9", "2039-6", "14804-9", "1742-6"]),
        "result": result,
        "units": label(south["analyte"], ["ng/ml", "U/mL", "ng/ml", "U/L", "U/L"]),
        "specimen": constant("SER", len(south)),
        "platform": label(south["assay"], codes.ASSAYS),
        "lower_limit": low,
        "upper_limit": high,
        "event": label(south["visit"], codes.VISITS),
        "drawn": moment(south["day"], south["minute"], "%Y/%m/%d", " "),
        "released": moment(south["reported_day"], south["reported_minute"], "%Y/%m/%d", " "),
        "flag": label(south["status"], ["final", "corrected", "preliminary", "cancelled"]),
    }
    return [
        _export(
            "lab",
            "lis_nord",
            german,
            north,
            MONTHLY,
            _GERMAN,
            _german(Auftrag="X-UNIT", Einheit="U/mL"),
            _german(Auftrag="X-DATE", Entnahme="03/04/2023"),
            _german(Auftrag="X-NOBODY", Zentrum="099", Patient="9999"),
        ),
        _export(
            "lab",
            "lis_sued",
            plain,
            south,
            MONTHLY,
            _EDC,
            {
                "accession": "X-TEXT",
                "loinc": "42914-2",
                "result": "see comment",
                "units": "ng/ml",
                "event": "UNSCHEDULED",
            },
        ),
    ]


def _german(**changes: str) -> dict[str, str]:
    """Cells that turn any row of the northern laboratory into an extra serum HER2 result of an unscheduled visit."""
    return {
        "Analyt": "HER2S",
        "Ergebnis": "9,9",
        "Einheit": "µg/L",
        "Methode": codes.ASSAYS[codes.ELISA],
        "Untergrenze": "4,5",
        "Obergrenze": "100,0",
        "Visite": "UNSCHEDULED",
        "Status": "E",
    } | changes


def _lesions(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["lesions"]
    roles = {"TARGET": "target", "NON-TARGET": "non-target", "NEW": "new lesion"}
    return {
        "Subject": _subject(study, frame),
        "Lesion": label(frame["lesion"], lesion_names()),
        "Role": label(frame["lesion"], [roles[role] for role in lesion_roles()]),
        "Organ": label(frame["organ"], [organ.capitalize() for organ in codes.ORGANS]),
        "Modality": constant("CT", len(frame)),
        "Timepoint": label(frame["visit"], codes.VISITS),
        "Scan date": day(frame["day"]),
    }


def _measurements(study: SimulatedStudy) -> tuple[dict[str, Cells], pd.DataFrame]:
    """A hospital's core lab hands over lesions; sums are left to whoever derives them."""
    frame = study["measurements"]
    frame = frame[frame["test"] != codes.SUM]
    result, _, unit = measured(frame)
    return {
        "Subject": _subject(study, frame),
        "Lesion": label(frame["lesion"], lesion_names()),
        "Quantity": label(frame["test"], ["longest diameter", "short axis", "state"]),
        "Result": result,
        "Unit": unit,
        "Assessable": label(frame["state"] == codes.NOT_DONE, ["yes", "no"]),
        "Modality": constant("CT", len(frame)),
        "Timepoint": label(frame["visit"], codes.VISITS),
        "Scan date": day(frame["day"]),
    }, frame


def _responses(study: SimulatedStudy) -> tuple[dict[str, Cells], pd.DataFrame]:
    frame, _, _ = response_rows(study)
    values = ["complete", "partial", "stable", "progression", "not evaluable", "neither", "none", *_YES_NO]
    return {
        "Subject": _subject(study, frame),
        "Item": label(frame["test"], ["Target", "Non-target", "New lesion", "Overall"]),
        "Assessment": label(frame["value"], values),
        "Timepoint": label(frame["visit"], codes.VISITS),
        "Assessment date": day(frame["day"], _EDC_DATE),
    }, frame
