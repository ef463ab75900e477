"""Laboratory results as messages, for tests: one ORU^R01 or one Observation a result, by hand and not by our readers."""

import json
from datetime import datetime
from zoneinfo import ZoneInfo

HEADER = "MSH|^~\\&|LIS|{laboratory}|SHER2|STUDY|{sent}||ORU^R01^ORU_R01|{control}|P|2.5.1||||||UNICODE UTF-8"
RESULT = {
    "subject": "S1",
    "sample": "F1",
    "code": "42914-2^HER2 Ag^LN",
    "type": "NM",
    "value": "12.5",
    "unit": "ng/mL^^UCUM",
    "status": "F",
    "drawn": "20250101083000+0100",
    "sent": "20250102101500+0100",
    "control": "M1",
    "laboratory": "LABOR NORD",
    "assay": "ELISA",
    "specimen": "SER^Serum^HL70487",
    "sub": "",
}


def oru(end: str = "\r", **result: str) -> str:
    """One message with one result; what is not named is that of a plain final result of 12.5 ng/mL."""
    item = RESULT | result
    return end.join(
        [
            HEADER.format(**item),
            f"PID|1||{item['subject']}^^^STUDY&1.2.3&ISO^PI||PLANTED^JANE^A||19600101|F",
            f"OBR|1|P{item['sample']}|{item['sample']}^LIS|{item['code']}|||{item['drawn']}|||||||||9^PLANTED^DOCTOR",
            f"OBX|1|{item['type']}|{item['code']}|{item['sub']}|{item['value']}|{item['unit']}|0-15|N|||{item['status']}"
            f"|||20250101235900|||{item['assay']}",
            f"SPM|1|S-{item['sample']}||{item['specimen']}|||||||||||||{item['drawn']}",
            "",
        ]
    )


def batch(messages: list[str], counted: int | None = None, end: str = "\r") -> str:
    """The messages in a batch in a file, with trailers that count them."""
    told = len(messages) if counted is None else counted
    return end.join(
        ["FHS|^~\\&|LIS", "BHS|^~\\&|LIS", *(text.rstrip("\r\n") for text in messages), f"BTS|{told}", "FTS|1", ""]
    )


def observation(**changes) -> dict:
    """A plain final Observation of 12.5 ng/mL; a change of None takes an element away."""
    plain = {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "42914-2"}]},
        "subject": {"reference": "Patient/S1", "display": "Jane Planted"},
        "effectiveDateTime": "2025-01-01T08:30:00+01:00",
        "issued": "2025-01-02T10:15:00+01:00",
        "performer": [
            {"reference": "Practitioner/9", "display": "Doctor Planted"},
            {"reference": "Organization/nord", "display": "LABOR NORD"},
        ],
        "valueQuantity": {"value": 12.5, "unit": "ng/mL", "system": "http://unitsofmeasure.org", "code": "ng/mL"},
        "method": {"text": "ELISA"},
        "specimen": {"reference": "Specimen/F1", "display": "Serum"},
    }
    return {key: value for key, value in (plain | changes).items() if value is not None}


def bundle(*resources: dict, kind: str = "collection") -> str:
    return json.dumps({"resourceType": "Bundle", "type": kind, "entry": [{"resource": item} for item in resources]})


def from_sdtm(row: dict[str, str], number: int) -> tuple[str, dict]:
    """The same result of an SDTM LB row as ORU^R01 and as Observation."""
    value = row["LBORRES"]
    is_number = value.replace(".", "", 1).isdigit()
    message = oru(
        subject=row["USUBJID"], sample=row["LBREFID"], code=f"{row['LBLOINC']}^{row['LBTEST']}^LN", value=value,
        type="NM" if is_number else "ST", unit=row["LBORRESU"], status=row["LBRSTAT"] or "F",
        drawn=_stamp(row["LBDTC"]), sent=_stamp(row["LBRPTDTC"]), control=f"M{number}", laboratory=row["LBNAM"],
        assay=row["LBMETHOD"], specimen=f"^{row['LBSPEC']}",
    )  # fmt: skip
    statuses = {"F": "final", "C": "corrected", "P": "preliminary", "X": "entered-in-error"}
    result = {"valueString": value, "valueQuantity": None}
    if value[:1] in "<>" and value[1:].replace(".", "", 1).isdigit():
        result = {"valueQuantity": {"comparator": value[0], "value": float(value[1:]), "unit": row["LBORRESU"]}}
    elif is_number:
        result = {"valueQuantity": {"value": float(value), "unit": row["LBORRESU"]}}
    resource = observation(
        id=f"{row['LBREFID']}-{row['LBLOINC']}-{row['USUBJID']}",
        status=statuses[row["LBRSTAT"] or "F"],
        code={"coding": [{"system": "http://loinc.org", "code": row["LBLOINC"]}]},
        subject={"reference": f"Patient/{row['USUBJID']}"},
        effectiveDateTime=_zoned(row["LBDTC"]),
        issued=_zoned(row["LBRPTDTC"]),
        performer=[{"reference": "Organization/1", "display": row["LBNAM"]}],
        method={"text": row["LBMETHOD"]},
        specimen={"reference": f"Specimen/{row['LBREFID']}", "display": row["LBSPEC"]},
        **result,
    )
    return message, resource


def _zoned(text: str) -> str:
    """FHIR has no time of day without an offset."""
    if "T" not in text:
        return text
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).isoformat()


def _stamp(text: str) -> str:
    return text.replace("-", "").replace(":", "").replace("T", "")
