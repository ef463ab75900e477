"""What a run on Spark needs is looked at before any work starts; what it lacks is one line with the mend."""

import importlib.metadata
import socket
from importlib.metadata import PackageNotFoundError

import dagster as dg
import pytest

from orchestration import engines
from orchestration.definitions import build_defs
from orchestration.engines import Engine, require_spark
from orchestration.errors import UserError

EXTRA = "the extra sher2[spark] is not installed (make setup-spark)"


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_run_says_first_what_is_missing_and_takes_nothing_in(home, monkeypatch, closed_port):
    pytest.importorskip("pyspark", reason=EXTRA)
    pytest.importorskip("dbt.adapters.spark", reason=EXTRA)
    monkeypatch.setenv("SPARK_REMOTE", f"sc://127.0.0.1:{closed_port}")
    home.drop("clinical/dm.csv", "subject_id\nS1\n")
    done = home.sher2("run", "--engine", "spark")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert f"SPARK_REMOTE: 127.0.0.1:{closed_port} does not answer" in line and "unset SPARK_REMOTE" in line
    assert not list((home.settings.lake).rglob("*.parquet"))


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch):
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(engines, "version", missing)
    with pytest.raises(UserError, match=r"the package pyspark is not installed. Install the extra: make setup-spark"):
        require_spark()


@pytest.fixture
def installed(monkeypatch):
    """The packages are there or taken to be: the rest is looked at."""
    monkeypatch.setattr(engines, "version", importlib.metadata.version if _has_extra() else str)
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    monkeypatch.delenv("JAVA_HOME", raising=False)


def _has_extra() -> bool:
    try:
        return bool(importlib.metadata.version("pyspark") and importlib.metadata.version("dbt-spark"))
    except PackageNotFoundError:
        return False


def test_a_machine_without_java_is_told_which_to_install(monkeypatch, installed, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"no Java in PATH. Install Java 17 or later .*openjdk-17-jre-headless"):
        require_spark()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    with pytest.raises(UserError, match=r"no Java in JAVA_HOME \(.*jdk\)"):
        require_spark()


@pytest.mark.parametrize(
    ("told", "is_enough"),
    [
        ('openjdk version "17.0.15" 2025-04-15', True),
        ('java version "21" 2023-09-19 LTS', True),
        ('openjdk version "11.0.2" 2019-01-15', False),
        ('java version "1.8.0_402"', False),
        ("something else", False),
    ],
)
def test_an_old_java_is_told_from_a_new_one(monkeypatch, installed, tmp_path, told, is_enough):
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\necho '{told}' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    if is_enough:
        require_spark()
    else:
        with pytest.raises(UserError, match=f"{java} is .*Install Java 17 or later"):
            require_spark()


@pytest.mark.parametrize("remote", ["local[2]", "http://127.0.0.1:15002", "sc://", "sc://host:port", "127.0.0.1:15002"])
def test_a_server_that_is_no_address_of_spark_connect_is_refused(monkeypatch, installed, remote):
    monkeypatch.setenv("SPARK_REMOTE", remote)
    with pytest.raises(UserError, match=r"names no Spark Connect server. Write it as sc://host:15002"):
        require_spark()


def test_the_web_interface_offers_both_engines_and_no_other(home):
    job = build_defs(home.settings).resolve_job_def("pipeline")

    def asked(engine: str) -> dict:
        return {"resources": {"marts": {"config": {"engine": engine}}}}

    for engine in Engine:
        assert dg.validate_run_config(job, asked(engine.value))["resources"]["marts"]["config"]["engine"] == engine
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(job, asked("oracle"))
