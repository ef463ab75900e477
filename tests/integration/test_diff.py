"""`sher2 diff`: which numbers changed since a publication, and through which files and rows."""

import csv
import io
import json

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
    """A published study, then a death, a corrected lesion, a row that is quarantined, and a file sent anew."""

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
        home.drop("imaging/tr_2026-01-31.csv", as_csv(enlarged, unreadable))
        home.run()
        self.changes = compare(home.settings, find_build(home.settings, None))

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
    assert {subject["subject_id"] for subject in corrected.changes["subjects"]} == {corrected.dead, corrected.corrected}


def test_metrics_that_changed_come_first_with_their_values_before_and_after(corrected):
    assert list(corrected.changes)[3] == "metrics"
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
    assert set(files) == {"clinical/dm_2026-01-31.csv", "imaging/tr_2026-01-31.csv"}
    lesions = files["imaging/tr_2026-01-31.csv"]
    assert (lesions["before"], lesions["after"]) == (None, "loaded")
    assert (lesions["rows_accepted"], lesions["rows_quarantined"]) == (1, 1)


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
    assert "through no row of its own" in as_text(changes)
