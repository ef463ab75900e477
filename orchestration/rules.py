"""What is checked: the expectations of each record as their files state them, and what stands for their parameters.

Great Expectations is not imported here; judging rows by them is `validation`'s.
"""

import csv
import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from orchestration.exports import READER_VERSION, layouts
from orchestration.exports.records import RECORDS
from orchestration.settings import DBT_PROJECT, EXPECTATIONS
from orchestration.study import Ingest, Study

SEEDS = ("ucum_units", "result_status", "tumor_states", "response_codes")
"""Code lists that the readers and the expectations share with dbt."""


@dataclass(frozen=True)
class Check:
    """One expectation of a suite, as its file states it."""

    suite: str
    expectation: str
    column: str  # what is judged
    field: str  # the record's column that a person has to mend
    rule: str
    severity: str  # critical: refuses the file; warning: quarantines the row; info: a finding
    category: str  # Kahn: conformance, completeness, plausibility
    owner: str
    mend: str


def suites() -> dict[str, list[dict]]:
    """Every expectation by record, as a mapping of `Check`'s fields; read without Great Expectations."""
    return {record: [asdict(check) for check in checks_of(record)] for record in RECORDS}


def rules_hash(study: Study, path: str | None = None) -> str:
    """sha256 of all that decides how bytes are read and judged: when it changes, what was refused is judged again.

    With ``path``, only of what concerns a whole file there, that is of the sources those that fit its path: when this
    changes, what was accepted may read differently and is judged again, too.
    """
    if path is not None:
        study = study.model_copy(update={"sources": layouts.declared(path, study), "ingest": Ingest()})
    digest = hashlib.sha256(f"{READER_VERSION}\n{study.reading_hash}\n".encode())
    files = [EXPECTATIONS / f"{record}.json" for record in RECORDS] + [_seed_file(name) for name in SEEDS]
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def suite_of(record: str) -> dict:
    return json.loads((EXPECTATIONS / f"{record}.json").read_text("utf-8"))


def checks_of(record: str) -> list[Check]:
    return [_check(record, item) for item in suite_of(record)["expectations"]]


def _check(record: str, item: dict) -> Check:
    kwargs, meta = item["kwargs"], item["meta"]
    column = kwargs.get("column") or kwargs["column_A"]
    return Check(
        record,
        item["type"],
        column,
        meta["field"] or column,
        meta["rule"],
        item["severity"],
        meta["kahn"]["category"],
        meta["owner"],
        meta["mend"],
    )


def _seed_file(name: str) -> Path:
    return DBT_PROJECT / "seeds" / f"{name}.csv"


@cache
def _seed(name: str) -> tuple[dict[str, str], ...]:
    with _seed_file(name).open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def units(quantity: str) -> dict[str, float]:
    """UCUM code -> factor to the base unit of the quantity."""
    return {
        row["ucum_code"]: float(row["factor_to_base"]) for row in _seed("ucum_units") if row["quantity"] == quantity
    }


def no_value_statuses() -> list[str]:
    return [row["spelling"] for row in _seed("result_status") if row["carries_value"] == "false"]


def parameters(study: Study) -> dict:
    """What ``$PARAMETER`` stands for in the suites: numbers of study.yaml, code lists of the seeds."""
    low, high = study.analytes.serum_her2.plausible_range
    return {
        "her2_units": sorted(units("mass_concentration")),
        "her2_plausible_low": low,
        "her2_plausible_high": high,
        "length_units": sorted(units("length")),
        "result_statuses": sorted({row["spelling"] for row in _seed("result_status")}),
        "tumor_states": sorted({row["state_code"] for row in _seed("tumor_states")}),
        "response_codes": sorted({row["value_code"] for row in _seed("response_codes")}),
    }
