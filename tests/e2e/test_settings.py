"""Settings that make no sense are refused at start: exit 2, one line with the key, the place and the mend."""

import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from orchestration.cli import main
from orchestration.settings import REPOSITORY
from tests.conftest import make_home


def refused(home: Path, study_file: Path, *command: str) -> str:
    """What a command says when it refuses to start; nothing has been made in the home then."""
    environment = {"SHER2_HOME": str(home), "SHER2_STUDY": str(study_file)}
    done = CliRunner().invoke(main, command, env=environment)
    assert done.exit_code == 2, done.output
    lines = done.output.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("sher2: "), done.output
    return lines[0]


def study_with(folder: Path, **changes: dict) -> Path:
    content = yaml.safe_load((REPOSITORY / "study.yaml").read_text("utf-8"))
    for section, values in changes.items():
        content[section] = content.get(section, {}) | values
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    return path


COMMANDS = pytest.mark.parametrize("command", ["run", "up"])


@COMMANDS
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"landing": {"setle_seconds": 1}}, ["landing.setle_seconds", "unknown key", "spelling"]),
        ({"surprise": {}}, ["surprise", "unknown key"]),
        ({"landing": {"settle_seconds": -1}}, ["landing.settle_seconds", "-1"]),
        ({"ingest": {"max_attempts": 0}}, ["ingest.max_attempts", "0"]),
        ({"schedule": {"daily_at": "25:00"}}, ["schedule.daily_at", "25:00", '"06:00"']),
        ({"schedule": {"daily_at": "6 o'clock"}}, ["schedule.daily_at", '"06:00"']),
        ({"schedule": {"daily_at": "0 6 * * *"}}, ["schedule.daily_at", "0 6 * * *", '"06:00"']),
        ({"schedule": {"daily_at": 360}}, ["schedule.daily_at", '"06:00"', "quotes"]),
        ({"schedule": {"cron": "0 6 * * *"}}, ["schedule.cron", "unknown key"]),
        ({"study": {"timezone": "Mars/Olympus"}}, ["study.timezone", "Mars/Olympus", "Europe/Berlin"]),
        ({"study": {"timezone": "CEST"}}, ["study.timezone", "CEST"]),
        ({"analysis": {"primary": "landmark_week_7"}}, ["landmark_week_7", "landmark_week_6"]),
    ],
    ids=lambda value: None if isinstance(value, list) else ",".join(f"{k}.{key}" for k, v in value.items() for key in v or ["-"]),
)  # fmt: skip
def test_a_protocol_that_makes_no_sense(tmp_path, command, changes, words):
    said = refused(tmp_path / "home", study_with(tmp_path, **changes), command)
    assert all(word in said for word in words), said
    assert not (tmp_path / "home").exists()


@COMMANDS
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["no such file", "SHER2_STUDY"]),
        ("", ["holds no keys"]),
        ("- a\n- b\n", ["holds no keys"]),
        ("study: {id: [}\n", ["line 1", "YAML"]),
        ("study:\n\tid: A\n", ["line 2", "YAML"]),
        (b"study: {title: \xff\xfe}\n", ["UTF-8"]),
    ],
    ids=["missing", "empty", "a list", "torn", "tabs", "no text"],
)
def test_a_protocol_that_cannot_be_read(tmp_path, command, content, words):
    path = tmp_path / "study.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = refused(tmp_path / "home", path, command)
    assert str(path) in said and all(word in said for word in words), said


def a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file"


def below_a_file(folder: Path) -> Path:
    return a_file(folder) / "home"


def nowhere(folder: Path) -> Path:
    return Path("/proc/sher2")


def in_a_landing_folder(folder: Path) -> Path:
    return make_home(folder).settings.landing / "lab" / "home"


def lands_on_itself(folder: Path) -> Path:
    home = folder / "home"
    home.mkdir()
    (home / "landing").symlink_to(home)
    return home


def lands_above_itself(folder: Path) -> Path:
    home = folder / "home"
    home.mkdir()
    (home / "landing").symlink_to(folder)
    return home


def read_only(folder: Path) -> Path:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    home = make_home(folder).settings.home
    home.chmod(0o500)
    return home


@COMMANDS
@pytest.mark.parametrize(
    ("place", "words"),
    [
        (a_file, ["Point", "folder you may write to"]),
        (below_a_file, ["Point", "folder you may write to"]),
        (nowhere, ["Point", "folder you may write to"]),
        (read_only, ["read-only", "Point SHER2_HOME"]),
        (in_a_landing_folder, ["landing folder", "Point SHER2_HOME"]),
        (lands_on_itself, ["landing", "holds the home itself"]),
        (lands_above_itself, ["landing", "holds the home itself"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_home_that_cannot_be_one(tmp_path, command, place, words):
    said = refused(place(tmp_path), REPOSITORY / "study.yaml", command)
    assert "SHER2_HOME" in said and all(word in said for word in words), said


@pytest.mark.parametrize("port", ["0", "-5", "80", "65536", "123456"])
def test_a_port_that_is_none(tmp_path, port):
    said = refused(tmp_path / "home", REPOSITORY / "study.yaml", "up", f"--port={port}")
    assert f"--port {port}" in said and "1024 to 65535" in said


def test_a_port_that_is_taken(tmp_path):
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = refused(tmp_path / "home", REPOSITORY / "study.yaml", "up", f"--port={port}")
    assert f"port {port} is taken" in said and "--port" in said
