"""`sher2 up`: the web interface on the loopback address, the landing sensor at work, a clean stop."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from orchestration.settings import REPOSITORY
from orchestration.simulate import write_study
from tests.conftest import make_home


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    home, port = make_home(tmp_path_factory.mktemp("up")), free_port()
    environment = os.environ | {"SHER2_HOME": str(home.settings.home), "SHER2_STUDY": str(home.settings.study_file)}
    environment["PYTHONDONTWRITEBYTECODE"] = ""
    command = [sys.executable, "-m", "orchestration.cli", "up", "--port", str(port)]
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert f"http://127.0.0.1:{port}" in line, line
    yield home, port, process
    if process.poll() is None:
        process.kill()


def ask(port: int, query: str) -> dict:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


def test_the_web_interface_shows_every_asset_from_landing_to_report(served):
    _, port, _ = served
    nodes = ask(port, "{ assetNodes { assetKey { path } groupName } }")["assetNodes"]
    groups = {node["groupName"] for node in nodes}
    assert {"landing", "raw", "staging", "intermediate", "marts", "metrics", "ops", "publication"} <= groups
    assert ["reports", "efficacy"] in [node["assetKey"]["path"] for node in nodes]


def test_only_the_loopback_address_listens(served):
    _, port, _ = served
    with open("/proc/net/tcp") as table:
        listening = [line.split()[1] for line in list(table)[1:] if line.split()[3] == "0A"]
    ours = [address for address in listening if int(address.split(":")[1], 16) == port]
    assert ours and all(address.startswith("0100007F:") for address in ours)


def test_a_dropped_file_reaches_the_published_marts(served, tmp_path):
    home, _, _ = served
    write_study(tmp_path / "out", 10, 5)
    for path in (tmp_path / "out").rglob("*.csv"):
        home.drop(path.relative_to(tmp_path / "out").as_posix(), path.read_bytes())
    deadline = time.monotonic() + 240
    while not home.settings.warehouse.exists() and time.monotonic() < deadline:
        time.sleep(1)
    assert home.value("select count(*) from marts.dim_subject") == 10


def test_a_signal_stops_it_cleanly(served):
    _, port, process = served
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
