"""A home with a running `sher2 up`, and what a user does with it: for the tests that need the servers."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestration.settings import REPOSITORY
from tests.conftest import Home

PATIENCE_SECONDS = 240
HEADING = "subject_id,sample_id,analyte,value,unit,collected_at,reported_at,result_status,specimen,laboratory"

RUNS = "{ runsOrError { ... on Runs { results { runId status } } } }"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(is_so, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.3)


class Served:
    """A home with a running `sher2 up`.

    Args:
        command: how it is started, without its port. Default: as tests start any command.
        surroundings: the environment that it is started in.
    """

    def __init__(
        self, home: Home, port: int, command: Sequence[str] | None = None, surroundings: Mapping[str, str] = os.environ
    ):
        self.home, self.port = home, port
        environment = {**surroundings} | {
            "SHER2_HOME": str(home.settings.home),
            "SHER2_STUDY": str(home.settings.study_file),
            "SHER2_HISTORY": home.settings.history,
            "PYTHONDONTWRITEBYTECODE": "",
        }
        command = [*(command or (sys.executable, "-m", "orchestration.cli", "up", "--port")), str(port)]
        self.process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.line = self.process.stdout.readline()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, body: str = "") -> tuple[int, str]:
        """Status and text of an answer. Header ``Host`` is ours unless given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, path, skip_host=True)
        for name, value in ({"Host": self.host, "Content-Length": str(len(body))} | (headers or {})).items():
            connection.putheader(name, value)
        connection.endheaders(body.encode())
        answer = connection.getresponse()
        text = "" if answer.status == 101 else answer.read().decode(errors="replace")
        connection.close()
        return answer.status, text

    def ask(self, query: str) -> dict:
        status, text = self.request(
            "POST", "/graphql", {"Content-Type": "application/json"}, json.dumps({"query": query})
        )
        assert status == 200, text
        return json.loads(text)["data"]

    def runs(self) -> dict[str, str]:
        return {run["runId"]: run["status"] for run in self.ask(RUNS)["runsOrError"]["results"]}

    def processes(self) -> dict[int, str]:
        """Everything below `sher2 up`: process number and command."""
        parents, found = {}, {self.process.pid: ""}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
        for pid in (family := list(found)):
            family += [child for child, parent in parents.items() if parent == pid]
        for pid in family:
            try:
                found[pid] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            except FileNotFoundError:
                found.pop(pid, None)
        return found

    def pid_of(self, word: str) -> int | None:
        return next((pid for pid, command in self.processes().items() if word in command), None)


def put(home: Home, name: str, content: bytes) -> None:
    """As a careful sender does: under another name first, then one rename."""
    target = home.settings.landing / name
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.write_bytes(content)
    temporary.rename(target)


def put_sample(home: Home, name: str) -> None:
    """A file with one laboratory result whose sample has the name."""
    subject = home.value("select min(subject_id) from marts.dim_subject where first_dose_on is not null")
    row = f"{subject},{name},42914-2,17,ng/mL,2024-03-01T08:00,2024-03-02T08:00,F,SERUM,NORTH\n"
    put(home, f"lab/{name}.csv", f"{HEADING}\n{row}".encode())


def has_sample(home: Home, name: str) -> bool:
    return home.value(f"select count(*) from marts.fct_her2_delta where sample_id = '{name}'") == 1
