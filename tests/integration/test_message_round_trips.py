"""A simulated study whose laboratories deliver HL7 or FHIR instead of CSV: the same serum HER2 in the marts."""

import json

import pytest

from orchestration.exports import Rejected, read
from orchestration.settings import REPOSITORY
from orchestration.simulate import write_study
from orchestration.study import load_study
from tests.conftest import Home, make_home
from tests.result_messages import batch, from_sdtm

LIMITS = {"constants": {"lloq": "4.5", "uloq": "100.0"}}
SOURCES = [
    {"name": "lab-hl7", "layout": "hl7v2", "match": "*.hl7"} | LIMITS,
    {"name": "lab-fhir", "layout": "fhir", "match": "*.ndjson"} | LIMITS,
    {
        "name": "sdtm-dated",
        "match": "[a-z][a-z]_????-??-??*.csv",
        "layout": "sdtm",
        "exported_on": r"_(\d{4}-\d{2}-\d{2})",
    },
]
HER2 = "42914-2"


@pytest.fixture(scope="module")
def homes(tmp_path_factory) -> dict[str, Home]:
    """The same study three times; laboratory rows that CSV can be read at all are written as messages."""
    exports = tmp_path_factory.mktemp("exports")
    write_study(exports, 12, 7)
    found = {}
    for form in ("csv", "hl7", "ndjson"):
        home = make_home(tmp_path_factory.mktemp(form), {"sources": SOURCES, "landing": {"settle_seconds": 0}})
        for path in sorted(path for path in exports.rglob("*") if path.is_file()):
            name = path.relative_to(exports).as_posix()
            if form == "csv" or not name.startswith("lab/"):
                home.drop(name, path.read_bytes())
            elif text := written(path, name, form):
                home.drop(name.replace(".csv", f".{form}"), text)
        home.run()
        found[form] = home
    return found


def written(path, name: str, form: str) -> str:
    try:
        [sheet] = read(path, name, load_study(REPOSITORY / "study.yaml"))
    except Rejected:
        return ""
    rows = [dict(source) for source in sheet.table["_source"].to_pylist()]
    rows = [row for row in rows if row.get("LBLOINC") == HER2 and row["USUBJID"] != "USUBJID"]
    pairs = [from_sdtm(row, number) for number, row in enumerate(rows)]
    if not pairs:
        return ""
    if form == "hl7":
        return batch([message for message, _ in pairs])
    return "\n".join(json.dumps(resource) for _, resource in pairs)


@pytest.mark.parametrize("form", ["hl7", "ndjson"])
def test_serum_her2_of_messages_equals_that_of_csv(homes, form):
    columns = "* exclude (visit_name)"  # messages name no visit: the label of a draw outside all windows
    query = f"select {columns} from marts.fct_her2_delta order by subject_id, sample_id"
    expected = homes["csv"].sql(query)
    assert len(expected) > 50
    assert homes[form].sql(query) == expected


@pytest.mark.parametrize("form", ["hl7", "ndjson"])
def test_what_depends_on_serum_her2_is_equal_too(homes, form):
    query = "select analysis, endpoint, stratum, term, statistic, estimate, ci_low, ci_high, n, events from metrics.estimates order by all"
    assert homes[form].sql(query) == homes["csv"].sql(query)
