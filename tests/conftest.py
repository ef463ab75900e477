"""Homes, runs and references that the tests share."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from orchestration.errors import UserError
from orchestration.settings import REPOSITORY, Settings

SHARED = REPOSITORY.parent / "shared"

# One tree gives one verdict; `pytest --hypothesis-profile=default` draws other examples each time.
hypothesis_settings.register_profile("steady", derandomize=True)
hypothesis_settings.load_profile("steady")


@dataclass(frozen=True)
class Home:
    """A home of its own, driven as a user drives it."""

    settings: Settings

    def drop(self, name: str, text: str | bytes) -> Path:
        path = self.settings.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        os.utime(path, (1_700_000_000, 1_700_000_000))  # long settled
        return path

    def run(self, *, full_refresh: bool = False) -> None:
        from orchestration.pipeline import run_pipeline

        outcome = run_pipeline(self.settings, full_refresh=full_refresh)
        assert outcome.is_success, outcome.reason

    def sql(self, query: str) -> list[dict]:
        from orchestration.inspection import query_rows

        columns, rows = query_rows(self.settings, query)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def value(self, query: str):
        (row,) = self.sql(query)
        (value,) = row.values()
        return value

    def content(self) -> dict[str, list[tuple]]:
        """Every row of every mart and of all metrics, for comparing two homes or two runs."""
        from orchestration.inspection import query_rows
        from orchestration.metrics import METRICS
        from orchestration.publication import GRAIN

        columns = {f"marts.{mart}": "*" for mart in GRAIN}
        columns |= {f"metrics.{name}": "* exclude (build_id)" for name in METRICS}
        return {
            table: query_rows(self.settings, f"select {chosen} from {table} order by all")[1]
            for table, chosen in columns.items()
        }

    def sher2(self, *arguments: str) -> subprocess.CompletedProcess:
        environment = os.environ | {
            "SHER2_HOME": str(self.settings.home),
            "SHER2_STUDY": str(self.settings.study_file),
            "SHER2_HISTORY": self.settings.history,
            "PYTHONDONTWRITEBYTECODE": "",
        }  # fmt: skip
        command = [sys.executable, "-m", "orchestration.cli", *arguments]
        return subprocess.run(
            command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False
        )


def make_home(folder: Path, study_changes: dict | None = None) -> Home:
    """A prepared home below ``folder`` with the repository's study.yaml, sections updated by ``study_changes``."""
    import yaml

    study = yaml.safe_load((REPOSITORY / "study.yaml").read_text("utf-8"))
    for section, changes in (study_changes or {}).items():
        study[section] = {**study[section], **changes} if isinstance(changes, dict) else changes
    folder.mkdir(parents=True, exist_ok=True)
    study_file = folder / "study.yaml"
    study_file.write_text(yaml.safe_dump(json.loads(json.dumps(study, default=str)), sort_keys=False), "utf-8")
    settings = Settings(home=folder / "home", study_file=study_file)
    settings.prepare()
    with suppress(UserError):
        _have_compiled(settings, or_wait=not study_changes)
    return Home(settings)


_compiled: Path | None = None


@pytest.fixture(scope="session", autouse=True)
def place_of_the_compiled_project(tmp_path_factory):
    global _compiled
    base = tmp_path_factory.getbasetemp()
    _compiled = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled"
    _compiled.mkdir(exist_ok=True)


def _have_compiled(settings: Settings, or_wait: bool) -> None:
    """What dbt makes of the repository's protocol is made once for all tests."""
    from orchestration.compilation import CATALOG, Compilation
    from orchestration.study import load_study

    if _compiled is None:
        return
    made = Compilation(_compiled, "warehouse.duckdb", load_study(settings.study_file).dbt_vars())
    if or_wait:
        made.path(CATALOG)
    target = settings.build / "dbt" / made.fingerprint
    if made.is_made() and not target.exists():
        shutil.copytree(made.folder, target, copy_function=os.link)


@pytest.fixture
def home(tmp_path) -> Home:
    return make_home(tmp_path)


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.exists():
        pytest.skip("the folder ../shared with public samples and references is not on this machine")
    return SHARED
