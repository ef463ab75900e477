"""The public SDTM validation cases (sdtmchecks) as exports that our records can take in.

Each case becomes files of its own, its subjects prefixed with the case, so that one run judges them all. The inputs hold
only what a check looks at: what our records need beyond it is filled in, and numbers that stand for dates become days.
"""

import csv
import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FILL = {
    "DM": {},
    "EX": {"EXTRT": "T-DXD", "EXSTDTC": "2017-01-01", "EXDOSE": "5.4", "EXDOSU": "mg/kg"},
    "LB": {"LBTESTCD": "HER2", "LBSPEC": "SERUM", "LBORRES": "12", "LBORRESU": "ng/mL", "LBDTC": "2017-01-01"},
    "TU": {"TULNKID": "L{row}", "TUORRES": "TARGET", "TUDTC": "2017-01-01", "TULOC": "LIVER"},
    "TR": {"TRLNKID": "L{row}", "TRTESTCD": "LDIAM", "TRORRES": "20", "TRORRESU": "mm", "TRDTC": "2017-01-01"},
    "RS": {"RSTESTCD": "OVRLRESP", "RSORRES": "SD", "RSDTC": "2017-01-01"},
    "DS": {"DSCAT": "DISPOSITION EVENT", "DSDECOD": "COMPLETED", "DSSTDTC": "2017-01-01"},
    "SS": {"SSTESTCD": "SURVSTAT", "SSSTRESC": "ALIVE", "SSDTC": "2017-01-01"},
}  # fmt: skip
DOMAINS = tuple(FILL)
MISSING = ("", "NA")


@dataclass(frozen=True)
class Case:
    number: int
    content: dict

    @property
    def check(self) -> str:
        return self.content["check"]

    @property
    def is_about_a_missing_variable(self) -> bool:
        return "missing the variable" in (self.content["message"] or "") or "is missing both" in (
            self.content["message"] or ""
        )

    @property
    def flagged(self) -> set[str]:
        """Subjects that the check flags, as our rows name them."""
        rows = self.content["flagged_rows"] or []
        return {self.subject(row["USUBJID"]) for row in rows if isinstance(row, dict) and "USUBJID" in row}

    def subject(self, usubjid: object) -> str:
        return f"C{self.number:03d}-{usubjid}"

    @cached_property
    def files(self) -> dict[str, str]:
        """Path below the landing folder -> CSV."""
        tables = {domain: rows for domain, rows in self.content["inputs"].items() if domain in DOMAINS}
        texts = {domain: self._csv(domain, rows) for domain, rows in tables.items()}
        if "DM" not in tables:  # without demographics rows only wait
            subjects = dict.fromkeys(
                self.subject(row["USUBJID"]) for rows in tables.values() for row in rows if "USUBJID" in row
            )
            texts["DM"] = "USUBJID,RFICDTC\n" + "".join(f"{subject},2014-01-01\n" for subject in subjects)
        return {f"clinical/c{self.number:03d}/{domain.lower()}.csv": text for domain, text in texts.items()}

    def _csv(self, domain: str, rows: list[dict]) -> str:
        filled = {} if self.is_about_a_missing_variable else FILL[domain]
        headings = list(dict.fromkeys([*(heading for row in rows for heading in row), *filled]))
        text = io.StringIO()
        writer = csv.DictWriter(text, headings, lineterminator="\n")
        writer.writeheader()
        for number, row in enumerate(rows, 1):
            line = {heading: self._text(heading, row.get(heading)) for heading in row}
            for heading, value in filled.items():
                line.setdefault(heading, value.format(row=number))
            if "USUBJID" in row:
                line["USUBJID"] = self.subject(row["USUBJID"])
            writer.writerow(line)
        return text.getvalue()

    @staticmethod
    def _text(heading: str, value: object) -> str:
        text = "" if value is None else str(value)
        is_placeholder = text.isdigit() and len(text) < 3
        if heading.endswith("DTC") and is_placeholder:
            return f"2017-01-{int(text):02d}"
        return "TARGET" if heading == "TUORRES" and is_placeholder else text


def cases(shared: Path) -> list[Case]:
    content = json.loads((shared / "reference" / "sdtm_validation" / "cases.json").read_text("utf-8"))
    return [Case(number, item) for number, item in enumerate(content)]
