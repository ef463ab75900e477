"""The study as SDTM: DM, MI, EX, SV, DS, CM, SS, LB, TU, TR, RS, with the standard's variables.

Only what SDTM calls things belongs here. Rows are in the order of the model's frames, a sequence number per
subject and domain.
"""

import numpy as np
import pandas as pd

from orchestration.simulate import codes
from orchestration.simulate.cells import Cells, constant, day, either, label, moment, spelled, tenths, whole
from orchestration.simulate.deliveries import MONTHLY, QUARTERLY, Dialect, Export
from orchestration.simulate.records import SimulatedStudy
from orchestration.simulate.results import lab_values, lesion_names, lesion_roles, measured, response_rows, sample_ids

STUDYID = "SHER2-LOW-01"
_DIALECT = Dialect(delimiter=",", encoding="utf-8")

_ANALYTES = [  # LBTESTCD, LBTEST, LBCAT, unit, LOINC
    ("HER2", "Human Epidermal Growth Factor Receptor 2", "TUMOR MARKERS", "ng/mL", "42914-2"),
    ("CA15_3AG", "Cancer Antigen 15-3", "TUMOR MARKERS", "U/mL", "6875-9"),
    ("CEA", "Carcinoembryonic Antigen", "TUMOR MARKERS", "ng/mL", "2039-6"),
    ("LDH", "Lactate Dehydrogenase", "CHEMISTRY", "U/L", "14804-9"),
    ("ALT", "Alanine Aminotransferase", "CHEMISTRY", "U/L", "1742-6"),
]
_LABORATORIES = ["LABOR NORD", "LABOR SUED"]
_TESTS = {
    "LDIAM": "Longest Diameter",
    "LPERP": "Longest Perpendicular",
    "TUMSTATE": "Tumor State",
    "SUMDIAM": "Sum of Diameter",
}
_RESPONSE_NAMES = ["Target Response", "Non-target Response", "New Lesion Progression", "Overall Response"]
_DISPOSITION_CATEGORIES = ["PROTOCOL MILESTONE", "DISPOSITION EVENT", "DISPOSITION EVENT"]
_DISPOSITION_PARTS = ["", "STUDY TREATMENT", "STUDY PARTICIPATION"]


def exports(study: SimulatedStudy) -> list[Export]:
    """All domains, not yet cut into deliveries."""
    return [
        _export("clinical", "dm", _dm(study), study["subjects"], QUARTERLY),
        _export("clinical", "mi", *_mi(study), QUARTERLY),
        _export(
            "clinical",
            "ex",
            _ex(study),
            study["doses"],
            QUARTERLY,
            {"EXSTDTC": "2023-02-31", "EXENDTC": "", "VISIT": "UNSCHEDULED"},
        ),
        _export("clinical", "sv", _sv(study), study["visits"], QUARTERLY),
        _export("clinical", "ds", _ds(study), study["dispositions"], QUARTERLY),
        _export("clinical", "cm", _cm(study), study["therapies"], QUARTERLY),
        _export("clinical", "ss", _ss(study), study["survival"], QUARTERLY),
        _export("lab", "lb", _lb(study), study["labs"], MONTHLY, *_LAB_DIRT),
        _export("imaging", "tu", _tu(study), study["lesions"], QUARTERLY),
        _export(
            "imaging",
            "tr",
            _tr(study),
            study["measurements"],
            QUARTERLY,
            {
                "TRLNKID": "T01",
                "TRTESTCD": "LDIAM",
                "TRTEST": _TESTS["LDIAM"],
                "TRORRES": "12;5",
                "TRORRESU": "mm",
                "TRSTRESC": "12;5",
                "TRSTRESN": "",
                "TRSTAT": "",
                "VISIT": "UNSCHEDULED",
            },
        ),
        _export(
            "imaging",
            "rs",
            *_rs(study),
            QUARTERLY,
            {
                "RSTESTCD": "OVRLRESP",
                "RSTEST": _RESPONSE_NAMES[3],
                "RSORRES": "CHECK",
                "RSSTRESC": "CHECK",
                "VISIT": "UNSCHEDULED",
            },
        ),
    ]


def _her2(**changes: str) -> dict[str, str]:
    """Cells that turn any laboratory row into an extra serum HER2 result of an unscheduled visit."""
    return {
        "LBTESTCD": "HER2",
        "LBTEST": _ANALYTES[0][1],
        "LBCAT": _ANALYTES[0][2],
        "LBLOINC": _ANALYTES[0][4],
        "LBORRES": "9.9",
        "LBORRESU": "ng/mL",
        "LBSTRESC": "9.9",
        "LBSTRESN": "9.9",
        "LBSTRESU": "ng/mL",
        "LBLLOQ": "4.5",
        "LBULOQ": "100.0",
        "VISIT": "UNSCHEDULED",
        "VISITNUM": "",
        "LBRSTAT": "F",
    } | changes


_LAB_DIRT = (
    _her2(LBREFID="X-UNIT", LBORRESU="U/mL", LBSTRESU="U/mL"),
    _her2(LBREFID="X-DATE", LBDTC="03/04/2023"),
    _her2(LBREFID="X-TEXT", LBORRES="see comment", LBSTRESC="see comment", LBSTRESN=""),
    _her2(LBREFID="X-NOBODY", USUBJID="S2-099-9999"),
)


def _export(
    folder: str, domain: str, columns: dict[str, Cells], frame: pd.DataFrame, months: int, *dirt: dict[str, str]
) -> Export:
    rows = len(frame)
    columns = {"STUDYID": constant(STUDYID, rows), "DOMAIN": constant(domain.upper(), rows)} | columns
    return Export(
        folder, domain, columns, frame["known_on"].to_numpy(), frame["superseded_on"].to_numpy(), months, _DIALECT, dirt
    )


def _subject(study: SimulatedStudy, frame: pd.DataFrame) -> Cells:
    return label(frame["subject"], study.usubjid)


def _sequence(frame: pd.DataFrame) -> Cells:
    return whole(frame.groupby("subject").cumcount() + 1)


def _visit(frame: pd.DataFrame) -> dict[str, Cells]:
    numbers = np.array([str(number) for number in codes.VISIT_NUMBERS], dtype=object)
    return {"VISITNUM": label(frame["visit"], numbers), "VISIT": label(frame["visit"], codes.VISITS)}


def _dm(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["subjects"]
    rows, treated = len(frame), frame["first_dose"] < codes.NEVER
    dead = frame["death"] < codes.NEVER
    arm = label(treated, ["Not Treated", "Trastuzumab deruxtecan"])
    return {
        "USUBJID": _subject(study, frame),
        "SUBJID": spelled(frame["subject"] + 1, lambda number: f"{number:04d}"),
        "RFSTDTC": day(frame["first_dose"]),
        "RFXSTDTC": day(frame["first_dose"]),
        "RFICDTC": day(frame["consent"]),
        "DTHDTC": day(frame["death"]),
        "DTHFL": label(dead, ["", "Y"]),
        "SITEID": label(frame["subject"], study.site),
        "AGE": whole(frame["age"]),
        "AGEU": constant("YEARS", rows),
        "SEX": label(frame["male"], ["F", "M"]),
        "ARMCD": label(treated, ["NOTTRT", "TDXD"]),
        "ARM": arm,
        "ACTARM": arm,
        "COUNTRY": constant("DEU", rows),
    }


def _mi(study: SimulatedStudy) -> tuple[dict[str, Cells], pd.DataFrame]:
    """HER2 by IHC, by ISH where it was done, and the hormone receptors, one row each."""
    people = study["subjects"].drop_duplicates("subject")
    parts = [
        people.assign(test=0, result=people["ihc"]),
        people[people["ish"] != codes.ISH.index("NOT DONE")].assign(test=1, result=lambda tested: tested["ish"] + 4),
        people.assign(test=2, result=4 + people["estrogen"].astype(int)),
        people.assign(test=3, result=4 + people["progesterone"].astype(int)),
    ]
    frame = pd.concat(parts, ignore_index=True).assign(superseded_on=codes.NEVER)
    result = label(frame["result"], [*codes.IHC, "NEGATIVE", "POSITIVE"])
    method = ["IMMUNOHISTOCHEMISTRY", "IN SITU HYBRIDIZATION", "IMMUNOHISTOCHEMISTRY", "IMMUNOHISTOCHEMISTRY"]
    names = ["Human Epidermal Growth Factor Receptor 2"] * 2 + ["Estrogen Receptor", "Progesterone Receptor"]
    return {
        "USUBJID": _subject(study, frame),
        "MISEQ": whole(frame["test"] + 1),
        "MITESTCD": label(frame["test"], ["HER2", "HER2", "ESTRCPT", "PROGESTR"]),
        "MITEST": label(frame["test"], names),
        "MIORRES": result,
        "MISTRESC": result,
        "MISPEC": constant("TISSUE", len(frame)),
        "MILOC": constant("BREAST", len(frame)),
        "MIMETHOD": label(frame["test"], method),
        "MIDTC": day(frame["tested"]),
    }, frame


def _ex(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["doses"]
    rows = len(frame)
    return {
        "USUBJID": _subject(study, frame),
        "EXSEQ": _sequence(frame),
        "EXTRT": constant("TRASTUZUMAB DERUXTECAN", rows),
        "EXDOSE": tenths(frame["dose"]),
        "EXDOSU": constant("mg/kg", rows),
        "EXDOSFRM": constant("INFUSION", rows),
        "EXROUTE": constant("INTRAVENOUS", rows),
        "VISITNUM": whole(frame["cycle"]),
        "VISIT": spelled(frame["cycle"], lambda cycle: f"C{cycle}D1"),
        "EXSTDTC": moment(frame["day"], frame["minute"]),
        "EXENDTC": moment(frame["day"], frame["minute"] + np.where(frame["cycle"] == 1, 90, 30)),
    }


def _sv(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["visits"]
    return {
        "USUBJID": _subject(study, frame),
        **_visit(frame),
        "SVSTDTC": day(frame["day"]),
        "SVENDTC": day(frame["day"]),
    }


def _ds(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["dispositions"]
    return {
        "USUBJID": _subject(study, frame),
        "DSSEQ": _sequence(frame),
        "DSTERM": label(frame["term"], codes.DISPOSITIONS),
        "DSDECOD": label(frame["term"], codes.DISPOSITIONS),
        "DSCAT": label(frame["category"], _DISPOSITION_CATEGORIES),
        "DSSCAT": label(frame["category"], _DISPOSITION_PARTS),
        "DSSTDTC": day(frame["day"]),
    }


def _cm(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["therapies"]
    names, categories = zip(*codes.THERAPIES, strict=True)
    return {
        "USUBJID": _subject(study, frame),
        "CMSEQ": _sequence(frame),
        "CMTRT": label(frame["therapy"], names),
        "CMCAT": label(frame["therapy"], categories),
        "CMSTDTC": either(frame["vague"], day(frame["day"], "%Y-%m"), day(frame["day"])),
    }


def _ss(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["survival"]
    status = label(frame["dead"], ["ALIVE", "DEAD"])
    return {
        "USUBJID": _subject(study, frame),
        "SSSEQ": _sequence(frame),
        "SSTESTCD": constant("SURVSTAT", len(frame)),
        "SSTEST": constant("Survival Status", len(frame)),
        "SSORRES": status,
        "SSSTRESC": status,
        "SSDTC": day(frame["day"]),
    }


def _lb(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["labs"]
    tests, names, categories, units, loincs = zip(*_ANALYTES, strict=True)
    result, number, low, high = lab_values(frame)
    unit = label(frame["analyte"], units)
    return {
        "USUBJID": _subject(study, frame),
        "LBSEQ": _sequence(frame),
        "LBREFID": sample_ids(frame),
        "LBTESTCD": label(frame["analyte"], tests),
        "LBTEST": label(frame["analyte"], names),
        "LBCAT": label(frame["analyte"], categories),
        "LBORRES": result,
        "LBORRESU": unit,
        "LBSTRESC": result,
        "LBSTRESN": number,
        "LBSTRESU": unit,
        "LBNAM": label(frame["laboratory"], _LABORATORIES),
        "LBLOINC": label(frame["analyte"], loincs),
        "LBSPEC": constant("SERUM", len(frame)),
        "LBMETHOD": label(frame["assay"], codes.ASSAYS),
        "LBLLOQ": low,
        "LBULOQ": high,
        **_visit(frame),
        "LBDTC": moment(frame["day"], frame["minute"]),
        "LBRPTDTC": moment(frame["reported_day"], frame["reported_minute"]),
        "LBRSTAT": label(frame["status"], codes.RESULT_STATES),
    }


def _tu(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["lesions"]
    rows, role = len(frame), label(frame["lesion"], lesion_roles())
    return {
        "USUBJID": _subject(study, frame),
        "TUSEQ": _sequence(frame),
        "TULNKID": label(frame["lesion"], lesion_names()),
        "TUTESTCD": constant("TUMIDENT", rows),
        "TUTEST": constant("Tumor Identification", rows),
        "TUORRES": role,
        "TUSTRESC": role,
        "TULOC": label(frame["organ"], codes.ORGANS),
        "TUMETHOD": constant("CT SCAN", rows),
        "TUEVAL": constant("INVESTIGATOR", rows),
        **_visit(frame),
        "TUDTC": day(frame["day"]),
    }


def _tr(study: SimulatedStudy) -> dict[str, Cells]:
    frame = study["measurements"]
    rows = len(frame)
    result, number, unit = measured(frame)
    lesion = frame["lesion"].to_numpy() % len(lesion_names())
    not_done = frame["state"] == codes.NOT_DONE
    return {
        "USUBJID": _subject(study, frame),
        "TRSEQ": _sequence(frame),
        "TRGRPID": label(lesion, lesion_roles()),
        "TRLNKID": label(lesion, lesion_names()),
        "TRTESTCD": label(frame["test"], list(_TESTS)),
        "TRTEST": label(frame["test"], list(_TESTS.values())),
        "TRORRES": result,
        "TRORRESU": unit,
        "TRSTRESC": result,
        "TRSTRESN": number,
        "TRSTRESU": unit,
        "TRSTAT": label(not_done, ["", "NOT DONE"]),
        "TRREASND": label(not_done, ["", "NOT ASSESSABLE"]),
        "TRMETHOD": constant("CT SCAN", rows),
        "TREVAL": constant("INVESTIGATOR", rows),
        **_visit(frame),
        "TRDTC": day(frame["day"]),
    }


def _rs(study: SimulatedStudy) -> tuple[dict[str, Cells], pd.DataFrame]:
    frame, test, value = response_rows(study)
    rows = len(frame)
    return {
        "USUBJID": _subject(study, frame),
        "RSSEQ": _sequence(frame),
        "RSTESTCD": test,
        "RSTEST": label(frame["test"], _RESPONSE_NAMES),
        "RSCAT": constant("RECIST 1.1", rows),
        "RSORRES": value,
        "RSSTRESC": value,
        "RSEVAL": constant("INVESTIGATOR", rows),
        **_visit(frame),
        "RSDTC": day(frame["day"]),
    }, frame
