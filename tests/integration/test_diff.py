"""`sher2 diff`: which numbers changed since a publication, and through which files and rows."""

import csv
import io
import json
from datetime import date, timedelta

import duckdb
import pytest
import yaml

from orchestration.comparison import as_text, compare, find_build
from orchestration.errors import UserError
from orchestration.publication import kept_builds
from orchestration.simulate import write_study
from tests.conftest import Home, make_home


def rows_of(home: Home, pattern: str) -> list[dict]:
    found = []
    for path in sorted(home.settings.landing.glob(pattern)):
        found += csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig")))
    return found


def as_csv(*rows: dict) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


class Corrected:
    """A published study, then a death, a corrected lesion, a row that is quarantined, a corrected result of the laboratory,
    and a scan with a progression."""

    def __init__(self, home: Home):
        self.home = home
        write_study(home.settings.landing, 12, 3)
        home.run()
        self.first = home.value("select build_id from ops.publications")
        alive, progressing = (
            home.value(
                f"select min(subject_id) from marts.fct_time_to_event where endpoint = '{endpoint}' and {outcome}"
            )
            for endpoint, outcome in (("OS", "not is_event"), ("PFS", "event_description = 'progressive disease'"))
        )
        self.dead, self.corrected = alive, progressing
        demographics = [row for row in rows_of(home, "clinical/dm_*.csv") if row["USUBJID"] == alive][-1]
        home.drop("clinical/dm_2026-01-31.csv", as_csv(demographics | {"DTHDTC": "2025-03-28", "DTHFL": "Y"}))
        lesion = next(
            row
            for row in rows_of(home, "imaging/tr_*.csv")
            if row["USUBJID"] == progressing and row["VISIT"] == "SCREENING" and row["TRTESTCD"] == "LDIAM"
        )
        self.lesion = lesion
        enlarged = lesion | dict.fromkeys(("TRORRES", "TRSTRESC", "TRSTRESN"), "99.5")
        unreadable = lesion | {"TRORRES": "9x", "VISIT": "WEEK 99", "TRDTC": "2024-12-01"}
        home.drop("imaging/tr_2026-01-31.csv", as_csv(enlarged, unreadable, *self._progression(alive, progressing)))
        home.drop("lab/lb_2026-01-31.csv", as_csv(self._correction()))
        home.run()
        self.changes = compare(home.settings, find_build(home.settings, None))

    def _progression(self, *others: str) -> list[dict]:
        """Every target of a responder at thrice its baseline, three weeks after the first dose."""
        names = ", ".join(f"'{name}'" for name in others)
        (responder,) = self.home.sql(
            "select subject_id, first_dose_on from marts.dim_subject join marts.fct_best_response using (subject_id)"
            f" where is_responder and subject_id not in ({names}) order by subject_id limit 1"
        )
        self.scanned = responder["subject_id"]
        self.scanned_on = str(date.fromisoformat(responder["first_dose_on"]) + timedelta(21))
        return [
            row
            | dict.fromkeys(("TRORRES", "TRSTRESC", "TRSTRESN"), str(3 * float(row["TRORRES"])))
            | {"VISIT": "UNSCHEDULED 1", "TRDTC": self.scanned_on}
            for row in rows_of(self.home, "imaging/tr_*.csv")
            if (row["USUBJID"], row["VISIT"], row["TRGRPID"]) == (self.scanned, "SCREENING", "TARGET")
        ]

    def _correction(self) -> dict:
        """The last usable serum HER2 of a subject, twice as high and reported as corrected."""
        (sample,) = self.home.sql(
            "select subject_id, sample_id from marts.fct_her2_delta where is_usable and not is_baseline"
            f" and subject_id not in ('{self.dead}', '{self.corrected}', '{self.scanned}')"
            " order by subject_id, collected_on desc limit 1"
        )
        self.measured = sample["subject_id"]
        results = [
            row
            for row in rows_of(self.home, "lab/lb_????-??-??.csv")
            if row.get("LBREFID") == sample["sample_id"] and row["LBTESTCD"].startswith("HER2")
        ]
        self.result = max(results, key=lambda row: row["LBRPTDTC"])
        value = str(2 * float(self.result["LBORRES"].lstrip("<>")))
        corrected = dict.fromkeys(("LBORRES", "LBSTRESC", "LBSTRESN"), value)
        return self.result | corrected | {"LBRSTAT": "C", "LBRPTDTC": "2026-01-30T09:00"}

    def subject(self, subject_id: str) -> dict:
        (found,) = [subject for subject in self.changes["subjects"] if subject["subject_id"] == subject_id]
        return found


@pytest.fixture(scope="module")
def corrected(tmp_path_factory) -> Corrected:
    return Corrected(make_home(tmp_path_factory.mktemp("corrected")))


def test_only_the_data_changed(corrected):
    assert corrected.changes["before"]["build_id"] == corrected.first
    assert corrected.changes["inputs"] == ["data"]


def test_only_the_subjects_with_new_rows_changed(corrected):
    changed = {corrected.dead, corrected.corrected, corrected.scanned, corrected.measured}
    assert len(changed) == 4
    assert {subject["subject_id"] for subject in corrected.changes["subjects"]} == changed


def test_metrics_that_changed_come_first_with_their_values_before_and_after(corrected):
    assert list(corrected.changes)[4] == "metrics" and corrected.changes["parameters"] == []
    changed = {
        tuple(metric[name] for name in ("analysis", "endpoint", "population", "stratum", "term", "statistic")): metric
        for metric in corrected.changes["metrics"]
    }
    with_numbers = corrected.home.sql("select * from metrics.estimates")
    assert 0 < len(changed) < len(with_numbers)
    (death,) = [
        m
        for m in changed.values()
        if (m["analysis"], m["endpoint"], m["statistic"], m["population"])
        == ("survival", "OS", "median_months", "in_treated")
    ]
    assert death["after"]["events"] == death["before"]["events"] + 1


def test_files_that_came_are_listed_with_their_verdict(corrected):
    files = {file["path"]: file for file in corrected.changes["files"]}
    assert set(files) == {"clinical/dm_2026-01-31.csv", "imaging/tr_2026-01-31.csv", "lab/lb_2026-01-31.csv"}
    lesions = files["imaging/tr_2026-01-31.csv"]
    assert (lesions["before"], lesions["after"]) == (None, "loaded")
    assert lesions["rows_accepted"] >= 2 and lesions["rows_quarantined"] == 1


def test_a_death_is_a_new_row_of_the_subject(corrected):
    subject = corrected.subject(corrected.dead)
    cells = {(cell["mart"], cell["column"]): cell for cell in subject["cells"]}
    assert cells["dim_subject", "death_on"]["before"] is None
    assert cells["dim_subject", "death_on"]["after"] == "2025-03-28"
    (row,) = subject["rows"]
    assert (row["change"], row["path"], row["row_number"]) == ("new", "clinical/dm_2026-01-31.csv", 1)
    assert row["source"]["DTHDTC"] == "2025-03-28"


def test_a_corrected_lesion_is_shown_beside_the_row_that_it_replaces(corrected):
    rows = {row["change"]: row for row in corrected.subject(corrected.corrected)["rows"]}
    assert set(rows) == {"new", "superseded", "quarantined"}
    assert rows["new"]["source"]["TRORRES"] == "99.5"
    assert rows["superseded"]["source"] == corrected.lesion
    assert rows["superseded"]["path"] != rows["new"]["path"] == "imaging/tr_2026-01-31.csv"
    assert rows["quarantined"]["source"]["TRORRES"] == "9x"


def test_a_corrected_result_of_the_laboratory_is_shown_beside_the_one_that_it_replaces(corrected):
    subject = corrected.subject(corrected.measured)
    rows = {row["change"]: row for row in subject["rows"]}
    assert set(rows) == {"new", "superseded"}
    assert (rows["new"]["path"], rows["new"]["row_number"]) == ("lab/lb_2026-01-31.csv", 1)
    assert rows["superseded"]["source"] == corrected.result
    cells = {(cell["mart"], cell["column"]): cell for cell in subject["cells"]}
    change = cells["fct_her2_delta", "value_ng_ml"]
    assert change["key"]["sample_id"] == corrected.result["LBREFID"]
    assert float(change["after"]) == pytest.approx(2 * float(change["before"]))
    assert ("fct_her2_delta", "log2_ratio") in cells
    assert {mart for mart, _ in cells} == {"fct_her2_delta"}


def test_a_scan_that_shows_a_progression_changes_best_response_and_pfs(corrected):
    subject = corrected.subject(corrected.scanned)
    assert {row["change"] for row in subject["rows"]} == {"new"}
    assert {row["source"]["TRDTC"] for row in subject["rows"]} == {corrected.scanned_on}
    changes = {
        (cell["mart"], cell["key"].get("endpoint"), cell["column"]): (cell["before"], cell["after"])
        for cell in subject["cells"]
    }
    assert changes["fct_best_response", None, "best_overall_response"][1] == "PD"
    assert changes["fct_best_response", None, "is_responder"] == ("true", "false")
    assert changes["fct_time_to_event", "PFS", "end_on"][1] == corrected.scanned_on
    assert changes["fct_time_to_event", "DOR_UNCONFIRMED", "(row)"] == ("present", "absent")
    assert ("absent", "present") in [
        (cell["before"], cell["after"]) for cell in subject["cells"] if cell["mart"] == "fct_response"
    ]


def test_text_fits_100_columns_and_puts_metrics_first(corrected):
    done = corrected.home.sher2("diff")
    assert done.returncode == 0, done.stderr
    assert done.stdout == as_text(corrected.changes) + "\n"
    assert max(map(len, done.stdout.splitlines())) <= 100
    parts = [done.stdout.index(part) for part in ("metrics that changed", "files that came", "subjects whose numbers")]
    assert parts == sorted(parts)


def test_json_holds_every_change(corrected):
    done = corrected.home.sher2("diff", corrected.first[:6], "--json")
    assert json.loads(done.stdout) == corrected.changes


def test_a_build_that_is_not_kept_is_answered_with_those_that_are(corrected):
    done = corrected.home.sher2("diff", "nothing")
    assert done.returncode == 2 and corrected.first in done.stderr


def test_without_an_earlier_build_diff_says_so(home):
    with pytest.raises(UserError, match="no build before the published one is kept"):
        find_build(home.settings, None)


def test_a_change_of_the_study_changes_numbers_through_no_row(corrected):
    home = corrected.home
    study = yaml.safe_load(home.settings.study_file.read_text("utf-8"))
    study["response"]["progression_pct"] = 60
    home.settings.study_file.write_text(yaml.safe_dump(study), "utf-8")
    home.run()
    assert len(kept_builds(home.settings)) == 3
    changes = compare(home.settings, find_build(home.settings, None))
    assert changes["inputs"] == ["study"] and changes["files"] == []
    assert changes["subjects"] and all(subject["rows"] == [] for subject in changes["subjects"])
    (parameter,) = changes["parameters"]
    assert parameter == {"key": "response.progression_pct", "before": "20", "after": "60"}
    text = as_text(changes)
    assert "changed: study\n  study.yaml response.progression_pct: 20 -> 60\n" in text
    assert "through no row of its own, but what changed for all (above)" in text


def test_against_what_is_published_nothing_changed(corrected):
    home = corrected.home
    current = home.value("select build_id from ops.publications order by published_at desc limit 1")
    done = home.sher2("diff", current)
    assert (done.returncode, done.stdout) == (0, f"nothing changed: build {current} is what is published\n")


def test_a_change_of_the_code_is_named_by_its_version(corrected, tmp_path):
    """A build of another version, whose one number differs: what an update of ours leaves behind."""
    settings = corrected.home.settings
    earlier = tmp_path / "000001_other.duckdb"
    earlier.write_bytes(settings.warehouse.read_bytes())
    subject = corrected.dead
    with duckdb.connect(str(earlier)) as connection:
        connection.execute("update ops.publications set build_id = 'other', code_version = '0.0.1+old'")
        connection.execute("update marts.dim_subject set her2_status = 'unknown' where subject_id = ?", [subject])
        (version,) = connection.execute("select max(code_version) from ops.publications").fetchone()
    changes = compare(settings, earlier)
    assert version == "0.0.1+old" and changes["inputs"] == ["code"]
    assert [changed["subject_id"] for changed in changes["subjects"]] == [subject]
    assert f"changed: code\n  sher2 0.0.1+old -> {changes['after']['code_version']}\n" in as_text(changes)


def test_files_that_change_no_number_are_told_so(corrected):
    home = corrected.home
    home.drop("clinical/cm_2026-02-28.csv", as_csv(*rows_of(home, "clinical/cm_*.csv")[:1]))
    home.run()
    changes = compare(home.settings, find_build(home.settings, None))
    assert [file["path"] for file in changes["files"]] == ["clinical/cm_2026-02-28.csv"]
    assert "no number changed" in as_text(changes)


def test_a_build_that_recorded_no_protocol_says_so(corrected, tmp_path):
    earlier = tmp_path / "000001_old.duckdb"
    earlier.write_bytes(corrected.home.settings.warehouse.read_bytes())
    with duckdb.connect(str(earlier)) as connection:
        connection.execute("drop table ops.parameters")
        connection.execute("update ops.publications set build_id = 'old', study_hash = 'another'")
    text = as_text(compare(corrected.home.settings, earlier))
    assert "study.yaml, in keys that the earlier build did not record" in text
