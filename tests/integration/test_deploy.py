"""What stands in deploy/ fits together, and the instance that it configures is the one that Dagster loads."""

import re
import shutil
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

from orchestration.cli import main
from orchestration.instance import prepare_instance
from orchestration.settings import REPOSITORY
from tests.conftest import make_home

DEPLOY = REPOSITORY / "deploy"
UNIT = DEPLOY / "systemd" / "sher2.service"

# --- systemd --------------------------------------------------------------------------------------------------------


def test_systemd_finds_no_fault_in_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    (tmp_path / "sher2").write_text("#!/bin/sh\n")
    (tmp_path / "sher2").chmod(0o755)
    unit = tmp_path / "sher2.service"
    unit.write_text(UNIT.read_text().replace("/opt/sher2/.venv/bin/sher2", str(tmp_path / "sher2")))
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    security = ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit]  # tenths of its 0 to 10
    scored = subprocess.run(security, capture_output=True, text=True, check=False)
    assert scored.returncode == 0, scored.stdout.splitlines()[-1]


def test_the_unit_lets_readers_limit_themselves():
    """exports.confined sets resource limits, which a stricter filter would refuse."""
    assert "@resources" not in UNIT.read_text()


# --- kubernetes -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes" / "sher2.yaml").read_text())
    return {f"{document['kind']}/{document['metadata']['name']}": document for document in documents}


@pytest.fixture(scope="module")
def launcher() -> dict:
    return yaml.safe_load((DEPLOY / "kubernetes" / "instance.yaml").read_text())["run_launcher"]["config"]


@pytest.fixture(scope="module")
def pod(manifests) -> dict:
    return manifests["Deployment/sher2"]["spec"]["template"]["spec"]


def test_a_run_sees_what_the_servers_see(pod, launcher):
    [container] = pod["containers"]
    assert launcher["volumes"] == pod["volumes"]
    assert launcher["volume_mounts"] == container["volumeMounts"]
    assert launcher["service_account_name"] == pod["serviceAccountName"]
    assert launcher["run_k8s_config"]["pod_spec_config"]["security_context"] == pod["securityContext"]
    assert [{"configMapRef": {"name": name}} for name in launcher["env_config_maps"]] + [
        {"secretRef": {"name": name}} for name in launcher["env_secrets"]
    ] == container["envFrom"]


def test_a_run_is_on_the_node_of_the_servers(manifests, launcher):
    [rule] = launcher["run_k8s_config"]["pod_spec_config"]["affinity"]["podAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert rule["labelSelector"]["matchLabels"] == manifests["Deployment/sher2"]["spec"]["template"]["metadata"]["labels"]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    assert manifests["PersistentVolumeClaim/sher2-home"]["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_a_pod_gets_more_time_to_start_than_a_process_and_nothing_else_is_watched_otherwise():
    ours = yaml.safe_load((REPOSITORY / "orchestration" / "dagster.yaml").read_text())["run_monitoring"]
    theirs = yaml.safe_load((DEPLOY / "kubernetes" / "instance.yaml").read_text())["run_monitoring"]
    assert theirs.pop("start_timeout_seconds") > ours.pop("start_timeout_seconds")
    assert theirs == ours


def test_a_home_has_one_server(manifests):
    spec = manifests["Deployment/sher2"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_names_and_paths_are_the_same_everywhere(manifests, pod, launcher):
    environment = manifests["ConfigMap/sher2"]["data"]
    [container] = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert environment["SHER2_HOME"] == mounts["home"] == str(Path(launcher["dagster_home"]).parent)
    assert {str(Path(environment[name]).parent) for name in ("SHER2_STUDY", "SHER2_INSTANCE")} == {mounts["study"]}
    assert environment["SHER2_IMAGE"] == container["image"]
    assert {document["metadata"].get("namespace") for document in manifests.values()} == {launcher["job_namespace"]}


def test_the_image_copies_what_is_there_and_what_a_run_needs():
    text = (DEPLOY / "kubernetes" / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert all((REPOSITORY / name).exists() for name in copied)
    assert {"orchestration", "dbt_project", "expectations", "study.yaml"} <= set(copied)


def pins(path: Path) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;]+)", path.read_text(), re.MULTILINE)
    return {normalised(name): version for name, version in found}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_images_lock_is_that_of_the_tests_without_their_tools():
    tested, shipped = pins(REPOSITORY / "requirements.lock"), pins(DEPLOY / "requirements.lock")
    mend = "deploy/README.md says how deploy/requirements.lock is made"
    assert {name: version for name, version in shipped.items() if tested.get(name, version) != version} == {}, mend
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    needed = {normalised(re.match(r"[\w.-]+", requirement)[0]) for requirement in project["dependencies"]}
    assert needed - set(shipped) == set(), mend
    assert {"dagster-k8s", "dagster-postgres"} <= set(shipped) and "pytest" not in shipped


# --- SHER2_INSTANCE -------------------------------------------------------------------------------------------------


def test_sections_of_ones_own_replace_those_of_the_instance(tmp_path, monkeypatch):
    for name in ("DAGSTER_HOME", "SHER2_INSTANCE"):
        monkeypatch.setenv(name, "")  # restored afterwards; preparing an instance sets them
    own = tmp_path / "own.yaml"
    own.write_text("run_monitoring: {enabled: true, max_runtime_seconds: 7200}\n")
    prepare_instance(replace(make_home(tmp_path).settings, instance=str(own)))
    with dg.DagsterInstance.get() as instance:
        assert instance.run_monitoring_max_runtime_seconds == 7200
        assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"
        assert type(instance.event_log_storage).__module__ == "orchestration.history"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["cannot be read", "No such file", "Name a YAML file"]),
        ("run_launcher: {module: [}\n", ["cannot be read", "Name a YAML file"]),
        ("- run_launcher\n", ["holds no sections"]),
        ("run_luncher: {}\n", ["run_luncher"]),
        ("run_monitoring: {enabled: maybe}\n", ["enabled"]),
    ],
    ids=["missing", "torn", "a list", "a section that is none", "a value that is none"],
)
def test_an_instance_that_makes_no_sense_is_told_before_any_work(tmp_path, text, words):
    own = tmp_path / "own.yaml"
    if text is not None:
        own.write_text(text)
    home = make_home(tmp_path).settings
    environment = {"SHER2_HOME": str(home.home), "SHER2_STUDY": str(home.study_file), "SHER2_INSTANCE": str(own)}
    done = CliRunner().invoke(main, ["run"], env=environment)
    assert done.exit_code == 2, done.output
    [line] = done.output.strip().splitlines()
    assert line.startswith(f"sher2: SHER2_INSTANCE: {own}") and all(word in line for word in words), line
    assert not home.warehouse.exists()
