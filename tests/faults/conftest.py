"""One warm process for all runs that are disturbed, one small study, and a place where homes stand one after another."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.settings import Settings
from orchestration.simulate import write_study
from tests.conftest import Home, make_home
from tests.faults.disturbance import WHOLE_WAY, Runs
from tests.faults.invariants import content

LONG_AGO = (1_700_000_000, 1_700_000_000)
HEAD = "subject_id,sample_id,analyte,value,unit,collected_at,result_status,specimen\n"
MORE = "subject_id,visit_name,visit_on\nNEW-1,C1D1,2024-02-01\n"


def lab(*rows: tuple) -> str:
    """A lab export in the layout `site`: (sample, value) or (sample, value, unit)."""
    lines = [
        f"S1,{row[0]},42914-2,{row[1]},{row[2] if len(row) > 2 else 'ng/mL'},2024-03-01T08:00,F,SERUM" for row in rows
    ]
    return HEAD + "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def runs() -> Iterator[Runs]:
    with Runs() as warm:
        yield warm


class Place:
    """Where homes stand one after another: at one path, dbt's project is parsed once for all of them."""

    def __init__(self, folder: Path, runs: Runs):
        self.home = make_home(folder)
        self.settings: Settings = self.home.settings
        self.runs, self._folder = runs, folder

    def keep(self, name: str) -> None:
        """The home as it is now, under a name, for `restore`."""
        shutil.copytree(self.settings.home, self._folder / name)

    def restore(self, name: str) -> Home:
        shutil.rmtree(self.settings.home)
        shutil.copytree(self._folder / name, self.settings.home)
        return self.home

    def run(self, *steps: str, **disturbance):
        return self.runs.run(self.settings, *steps, **disturbance)


@pytest.fixture(scope="session")
def place(tmp_path_factory, runs) -> Place:
    """A home of six subjects: `published` as it was, `arrived` with a further file, `computed` before its publication.

    ``before`` and ``after`` are the contents that analysts see without any fault.
    """
    place = Place(tmp_path_factory.mktemp("place"), runs)
    write_study(place.settings.landing, 6, 3)
    for path in place.settings.landing.rglob("*"):
        os.utime(path, LONG_AGO)
    ended = place.run(*WHOLE_WAY)
    assert ended.code == 0, ended.error
    place.before = content(place.settings)
    place.keep("published")
    place.home.drop("clinical/more.csv", MORE)
    place.keep("arrived")
    ended = place.run("ingest", "build", "metrics")
    assert ended.code == 0, ended.error
    place.keep("computed")
    assert place.run("publish").code == 0
    place.after = content(place.settings)
    assert place.after != place.before
    return place
