"""Faults of safety and of set-up that need no running server."""

import ast
import re
import subprocess

import dagster as dg
import pytest
import yaml

from orchestration.cli import _csv
from orchestration.errors import UserError
from orchestration.inspection import query_rows
from orchestration.settings import DBT_PROJECT, REPOSITORY
from orchestration.study import load_study

SECRETS = {
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "key of a cloud": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "token of a host": r"\b(gh[pousr]_[A-Za-z0-9]{36}|glpat-[\w-]{20}|xox[abprs]-[\w-]{10,})",
    "password in an address": r"://[^\s/:@]+:[^\s/:@{$]+@[\w.-]+",
    "password": r"(?i)\b(password|passwd|secret|api_?key)\b\s*[=:]\s*['\"][^'\"\s{$]{6,}['\"]",
}


PLACEHOLDERS = {  # addresses that show where a password stands, and the files that show them
    "://sher2:PASSWORD@127.0.0.1": {"deploy/README.md", "deploy/systemd/sher2.env.example"},
    "://USER:PASSWORD@HOST": {"deploy/kubernetes/sher2.yaml", "orchestration/instance.py", "tests/e2e/test_shared_history.py"},
}


def sources() -> list:
    done = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        names = [path for path in REPOSITORY.rglob("*") if ".venv" not in path.parts and "var" not in path.parts]
    else:
        names = [REPOSITORY / name for name in done.stdout.splitlines()]
    texts = {".py", ".sql", ".yml", ".yaml", ".toml", ".md", ".json", ".jinja", ".css", ".cfg", ".sh", ".example", ".service", ".csv", ""}
    return [path for path in names if path.is_file() and path.suffix in texts]


def secrets_in(kind: str, name: str, text: str) -> list[str]:
    found = [match[0] for match in re.finditer(SECRETS[kind], text)]
    return [item for item in found if name not in PLACEHOLDERS.get(item, ())]


@pytest.mark.parametrize("kind", SECRETS)
def test_no_secret_stands_in_the_project(kind):
    found = {}
    for path in sources():
        name = path.relative_to(REPOSITORY).as_posix()
        if secrets := secrets_in(kind, name, path.read_text("utf-8", errors="replace")):
            found[name] = secrets
    if kind == "password in an address":
        assert found.pop("tests/faults/test_safety.py") == [*PLACEHOLDERS]
    assert found == {}


def test_a_placeholder_passes_only_where_it_is_documented():
    for address, names in PLACEHOLDERS.items():
        assert not any(secrets_in("password in an address", name, f"postgresql{address}:5432/sher2") for name in names)
        assert secrets_in("password in an address", "study.yaml", f"postgresql{address}:5432/sher2") == [address]
        mine = address.replace("PASSWORD", "tr0ub4dor")
        assert secrets_in("password in an address", min(names), f"postgresql{mine}/sher2") == [mine]


PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "copyreg"}
WITHOUT_PICKLES = {"multiprocessing", "multiprocessing.connection.Connection"}  # as long as these are not used of them:
PICKLING = {"send", "recv", "Pool", "Queue", "JoinableQueue", "Manager", "Pipe"}


def pickled_or_evaluated(text: str) -> set[str]:
    """What a module uses that makes objects, or code, of bytes that it is given."""
    nodes = list(ast.walk(ast.parse(text)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    parts = [(node.module, alias.name) for node in nodes if isinstance(node, ast.ImportFrom) and node.module for alias in node.names]
    names |= {f"{module}.{name}" for module, name in parts}
    found = {name for name in names if name.partition(".")[0] in PICKLES or name.endswith("ProcessPoolExecutor")}
    of_processes = {name for name in names if name.partition(".")[0] == "multiprocessing"}
    found |= of_processes - WITHOUT_PICKLES
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    found |= {call.func.id for call in calls if isinstance(call.func, ast.Name)} & {"eval", "exec"}
    methods = [(call.func.attr, call.args) for call in calls if isinstance(call.func, ast.Attribute)]
    found |= {name for name, _ in methods} & {"read_pickle", "to_pickle", *(PICKLING if of_processes else ())}
    forks = [argument.value for name, arguments in methods if name == "get_context" for argument in arguments] == ["fork"]
    if "multiprocessing" in of_processes and not forks:  # a spawned process is sent its work pickled
        found.add("multiprocessing")
    return found | ({"yaml.load"} if "yaml.load(" in text else set())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import pickle", {"pickle"}),
        ("from joblib import load", {"joblib.load"}),
        ("import multiprocessing", {"multiprocessing"}),
        ("from multiprocessing import connection", {"multiprocessing.connection"}),
        ("import multiprocessing\nmultiprocessing.get_context('spawn').Process()", {"multiprocessing"}),
        ("import multiprocessing\nmultiprocessing.get_context('fork').Process()", set()),
        ("import multiprocessing\nmultiprocessing.get_context('fork').Pipe()", {"Pipe"}),
        ("from multiprocessing.connection import Connection\nConnection(1).send(2)", {"send"}),
        ("from multiprocessing.connection import Connection\nConnection(1).recv()", {"recv"}),
        ("from multiprocessing.connection import Connection\nConnection(1).send_bytes(b'')", set()),
        ("from concurrent.futures import ProcessPoolExecutor", {"concurrent.futures.ProcessPoolExecutor"}),
        ("import pandas\npandas.read_pickle('x')", {"read_pickle"}),
        ("eval('1')", {"eval"}),
        ("import yaml\nyaml.load('')", {"yaml.load"}),
    ],
)
def test_what_pickles_or_evaluates_is_recognised(text, found):
    assert pickled_or_evaluated(text) == found


def test_nothing_is_pickled_or_evaluated():
    """No step hands a Python object to another through a file or a pipe: a planted pickle would run as us."""
    found = {path: pickled_or_evaluated(path.read_text("utf-8")) for path in (REPOSITORY / "orchestration").rglob("*.py")}
    assert {path: names for path, names in found.items() if names} == {}


def test_no_step_asks_dagster_what_happened():
    """An event or a check result can be forged by whoever reaches the instance: nothing that decides reads one."""
    steps = ("raw", "warehouse", "efficacy", "publication")
    for name in ("publication", "ingestion", "lake", "metrics", "warehouse", *(f"defs/{step}" for step in steps)):
        assert ".instance" not in (REPOSITORY / "orchestration" / f"{name}.py").read_text("utf-8"), name


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_text('/etc/passwd')",
        "select * from read_csv('/etc/passwd')",
        "copy (select 1) to '/tmp/stolen.csv'",
        "attach '/tmp/other.duckdb'",
        "install httpfs",
        "set enable_external_access = true",
        "create table marts.x as select 1",
        "delete from marts.dim_subject",
        "drop schema marts cascade",
    ],
)
def test_a_query_reaches_nothing_but_what_is_published_and_changes_nothing(place, query):
    home = place.restore("published")
    before = home.settings.warehouse.read_bytes()
    with pytest.raises(UserError, match=r"^sql: "):
        query_rows(home.settings, query)
    assert home.settings.warehouse.read_bytes() == before


def test_cells_that_a_spreadsheet_would_run_are_defused_and_numbers_are_not():
    cells = ["=HYPERLINK(1)", "+1", "-x", "@x", "\tx", "\rx", "x", -1.5, None]
    lines = _csv([{"cell": cell, "more": "y"} for cell in cells]).replace("\r", "").splitlines()
    assert all(line.lstrip('"').startswith("'") for line in lines[1:7]), lines
    assert lines[7:] == ["x,y", "-1.5,y", ",y"]


# --- set-up --------------------------------------------------------------------------------------------------------

INSTANCE = yaml.safe_load((REPOSITORY / "orchestration" / "dagster.yaml").read_text("utf-8"))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("concurrency", "pools", "granularity"), "run"),  # or the slot of a killed worker is never freed
        (("run_monitoring", "enabled"), True),
        (("run_monitoring", "free_slots_after_run_end_seconds"), 1),
        (("run_retries", "enabled"), True),
        (("run_retries", "retry_on_asset_or_op_failure"), False),  # bad data is not tried again
        (("telemetry", "enabled"), False),
    ],
    ids=lambda item: ".".join(item) if isinstance(item, tuple) else str(item),
)
def test_the_instance_is_set_up_for_runs_that_die(keys, value):
    found = INSTANCE
    for key in keys:
        found = found[key]
    assert found == value


def test_a_run_without_an_end_is_ended_and_history_does_not_grow_for_ever():
    assert 0 < INSTANCE["run_monitoring"]["max_runtime_seconds"] <= 3600
    assert INSTANCE["retention"]["sensor"]["purge_after_days"] and INSTANCE["retention"]["schedule"]["purge_after_days"]


def test_every_run_is_one_process_so_that_no_orphan_commits_after_its_run_was_given_up(place):
    from orchestration.definitions import build_defs

    definitions = build_defs(place.restore("published").settings, with_automation=False)
    assert definitions.executor is dg.in_process_executor
    assert definitions.resolve_job_def("pipeline").executor_def is dg.in_process_executor


def test_the_database_has_a_limit_of_memory_and_never_shares_its_file_with_readers():
    profile = yaml.safe_load((DBT_PROJECT / "profiles.yml").read_text("utf-8"))["sher2"]["outputs"]["duckdb"]
    assert re.fullmatch(r"[1-7]\d%", profile["settings"]["memory_limit"])
    assert "SHER2_BUILD_DB" in profile["path"]


BROKEN_STUDIES = {
    "unknown key": ("ingest: {max_atempts: 3}", "ingest.max_atempts: unknown key"),
    "out of range": ("alarms: {max_quarantined_pct: 0}", "alarms.max_quarantined_pct"),
    "no time": ('schedule: {daily_at: "25:00"}', "schedule.daily_at"),
    "no zone": ("study: {timezone: Mars/Olympus}", "study.timezone"),
    "no YAML": ("study: [", "no valid YAML"),
    "no keys": ("- a", "holds no keys"),
}


@pytest.mark.parametrize("name", BROKEN_STUDIES)
def test_a_study_that_makes_no_sense_is_refused_with_the_key(tmp_path, name):
    text, words = BROKEN_STUDIES[name]
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(UserError, match=re.escape(words)):
        load_study(tmp_path / "study.yaml")


def test_every_requirement_is_locked_by_its_hash():
    text = (REPOSITORY / "requirements.lock").read_text("utf-8")
    requirements = re.split(r"\n(?=[a-z0-9])", "\n" + text)[1:]
    requirements = [item for item in requirements if not item.startswith("#")]
    assert len(requirements) > 100
    assert [item.splitlines()[0] for item in requirements if "--hash=sha256:" not in item] == []
