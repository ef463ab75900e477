"""`python -m benchmarks.kills`: runs killed by SIGKILL at random moments and at every change of a file.

After each kill the invariants hold, whoever reads the warehouse finds a whole publication, and the next run ends with
the content of an undisturbed one. Prints how many kills fell on which part of the way, and every difference; exits
with 1 if there is one.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from orchestration.lake import Lake
from orchestration.settings import REPOSITORY, Settings
from orchestration.simulate import write_study
from tests.faults.disturbance import KILLED, WHOLE_WAY, Ended, Runs
from tests.faults.invariants import assert_invariants, content, witness

SUBJECTS, SEED = 6, 3
KILLS_IN_A_ROW = 3  # ingest.max_attempts: a file that was open in more dead runs is set aside, which is another end
PARTS = ["lake", "ingestion", "publication", "build", "random", "whole"]


class Trials:
    """One home after another at the same place, each with what dbt has made of the project, if that is made once."""

    def __init__(self, runs: Runs, folder: Path):
        self.runs, self.folder = runs, folder
        self.settings = Settings(folder / "home", REPOSITORY / "study.yaml")
        self.compiled = folder / "compiled"
        self.killed: Counter[str] = Counter()
        self.differences: list[str] = []
        self.seconds = 0.0

    def start(self, template: Path) -> None:
        shutil.rmtree(self.settings.home, ignore_errors=True)
        shutil.copytree(template, self.settings.home)
        if self.compiled.exists():
            shutil.copytree(self.compiled, self.settings.build / "dbt", dirs_exist_ok=True)

    def keep(self, name: str) -> Path:
        """The home as it is now, as a template for `start`."""
        target = self.folder / name
        shutil.copytree(self.settings.home, target)
        return target

    def run(self, *steps: str, **disturbance) -> Ended:
        ended = self.runs.run(self.settings, *steps, **disturbance)
        if ended.code not in (0, KILLED):  # neither as it should nor as it was asked for
            self.differences.append(f"{steps} {disturbance}: {ended.error}")
        return ended

    def kill(self, part: str, what: str, steps: tuple[str, ...], **disturbance) -> Ended:
        """Kill one run; what it leaves must hold the invariants and be readable."""
        before = witness(self.settings)
        ended = self.run(*steps, **disturbance)
        self.killed[part if ended.code == KILLED else f"{part}, ended before its kill"] += 1
        self._look(f"{part}, {what}, after the kill", since=before, is_at_rest=False)
        return ended

    def recover(self, part: str, what: str, steps: tuple[str, ...], expected: dict | None) -> None:
        ended = self.run(*steps)
        self.seconds += ended.seconds
        if ended.code:
            self.differences.append(f"{part}, {what}: the next run ended with {ended.code} after {ended.seconds:.0f} s")
            print(f"  DIFFERENCE {self.differences[-1]}", flush=True)
            return
        self._look(f"{part}, {what}, after the next run", undisturbed=expected)

    def tell(self, what: str) -> None:
        print(f"{what}: kills so far {dict(self.killed)}, {len(self.differences)} differences", flush=True)

    def _look(self, where: str, **expectations) -> None:
        lake_is_made = (self.settings.lake / "ledger" / "empty.parquet").exists()
        try:
            if lake_is_made:
                assert_invariants(self.settings, **expectations)
            elif self.settings.warehouse.exists():
                content(self.settings)
        except Exception as error:
            self.differences.append(f"{where}: {type(error).__name__}: {error}")
            print(f"  DIFFERENCE {self.differences[-1]}", flush=True)


def every_change_of_the_lake(trials: Trials, landing: Path) -> None:
    """Ingestion alone, of five files in batches of two, killed before each of its changes of a file."""
    template = trials.folder / "few"
    shutil.copytree(landing, template / "landing")
    files = sorted(path for path in (template / "landing").rglob("*") if path.is_file())
    kept = random.Random(1).sample(files, 5)
    for path in files:
        if path not in kept:
            path.unlink()
    shutil.copy2(kept[0], kept[0].with_name(f"copy_{kept[0].name}"))
    trials.start(template)
    ended = trials.run("ingest", files_a_batch=2)
    expected = Lake(trials.settings).data_hash()
    for number in range(1, len(ended.changes) + 1):
        trials.start(template)
        what = f"change {number} ({ended.changes[number - 1]})"
        trials.kill("ingest", what, ("ingest",), kill_at=number, files_a_batch=2)
        trials.recover("ingest", what, ("ingest",), None)
        if Lake(trials.settings).data_hash() != expected:
            trials.differences.append(f"ingest, {what}: another data hash")


def random_moments_of_ingestion(trials: Trials, template: Path, kills: int, seed: int) -> None:
    """Kills at uniformly random moments while all files are taken in, in batches of twenty."""
    chance = random.Random(seed)
    trials.start(template)
    length = trials.run("ingest", files_a_batch=20).seconds
    expected, done = Lake(trials.settings).data_hash(), 0
    while done < kills:
        trials.start(template)
        for _ in range(min(chance.randint(1, KILLS_IN_A_ROW), kills - done)):
            moment = chance.uniform(0.01, length)
            what = f"after {moment:.2f} s"
            ended = trials.kill("random moment of ingestion", what, ("ingest",), kill_after=moment, files_a_batch=20)
            if ended.code == KILLED:
                done += 1
            else:
                length = ended.seconds  # the machine has become faster
                break
        trials.recover("random moment of ingestion", f"kill {done}", ("ingest",), None)
        if Lake(trials.settings).data_hash() != expected:
            trials.differences.append(f"ingestion, kill {done}: another data hash")
        print(f"  {done} of {kills} random kills of ingestion, {len(trials.differences)} differences", flush=True)


def every_change_after(trials: Trials, template: Path, steps: tuple[str, ...], stride: int, expected: dict) -> None:
    """The later steps, killed before every change (or every ``stride``-th: dbt's own artefacts are many)."""
    trials.start(template)
    ended = trials.run(*steps)
    part = "+".join(steps)
    for number in [*range(1, len(ended.changes), stride), len(ended.changes)]:
        trials.start(template)
        what = f"change {number} ({ended.changes[number - 1]})"
        trials.kill(part, what, steps, kill_at=number)
        trials.recover(part, what, WHOLE_WAY[WHOLE_WAY.index(steps[0]) :], expected)


def random_moments(trials: Trials, template: Path, kills: int, seed: int, expected: dict) -> None:
    """Kills at uniformly random moments, one to three before a run is left alone; every fifth run is Dagster's."""
    chance = random.Random(seed)
    trials.start(template)
    length = {("run",): trials.run("run").seconds}
    trials.start(template)
    length[WHOLE_WAY] = trials.run(*WHOLE_WAY).seconds
    done = 0
    while done < kills:
        trials.start(template)
        for _ in range(min(chance.randint(1, KILLS_IN_A_ROW), kills - done)):
            steps = ("run",) if chance.random() < 0.2 else WHOLE_WAY
            moment = chance.uniform(0.01, length[steps])
            ended = trials.kill("random moment", f"{steps[0]} after {moment:.2f} s", steps, kill_after=moment)
            if ended.code == KILLED:
                done += 1
            else:
                length[steps] = ended.seconds  # the machine has become faster
                break
        steps = ("run",) if chance.random() < 0.1 else WHOLE_WAY
        trials.recover("random moment", f"kill {done}", steps, expected)
        print(f"  {done} of {kills} random kills, {len(trials.differences)} differences", flush=True)


def whole_processes(trials: Trials, template: Path, kills: int, seed: int, expected_marts: dict) -> None:
    """`sher2 run` as a user starts it, killed with its whole group while it imports, parses, runs."""
    chance = random.Random(seed)
    environment = os.environ | {"SHER2_HOME": str(trials.settings.home), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-m", "orchestration.cli", "run"]

    def start() -> subprocess.Popen:
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    trials.start(template)
    shutil.rmtree(trials.settings.build / "dbt", ignore_errors=True)  # its work is killed, too
    for _ in range(kills):
        process = start()
        time.sleep(chance.uniform(1, 30))
        trials.killed["whole process" if process.poll() is None else "whole process, ended before its kill"] += 1
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    process = start()
    _, said = process.communicate()
    if process.returncode:
        trials.differences.append(f"whole process: {said.decode()[-300:]}")
    else:
        trials._look("whole process, after the next run", undisturbed=expected_marts)


def prepare(trials: Trials) -> tuple[dict, dict]:
    """Homes to begin with: `published`, with a further file; `ingested`; `computed`, before its publication.

    Returns:
        what an undisturbed run ends with, without the further file and with it.
    """
    undisturbed = trials.run(*WHOLE_WAY)
    expected = content(trials.settings)
    shutil.copytree(trials.settings.build / "dbt", trials.compiled)
    print(f"undisturbed run {undisturbed.seconds:.1f} s, {len(undisturbed.changes)} changes of files", flush=True)
    more = trials.settings.landing / "clinical" / "more.csv"
    more.write_text("subject_id,visit_name,visit_on\nNEW-1,C1D1,2024-02-01\n")
    os.utime(more, (1_700_000_000, 1_700_000_000))
    published = trials.keep("published")
    trials.run("ingest")
    trials.keep("ingested")
    trials.run("build", "metrics")
    trials.keep("computed")
    trials.run("publish")
    expected_more = content(trials.settings)
    trials.start(published)
    return expected, expected_more


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"of {', '.join(PARTS)}")
    parser.add_argument("--random", type=int, default=200, help="kills at random moments")
    parser.add_argument("--whole", type=int, default=6, help="kills of whole `sher2 run` processes")
    parser.add_argument("--stride", type=int, default=10, help="every n-th change of dbt's own artefacts")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sher2-kills-") as name, Runs() as runs:
        folder = Path(name)
        trials = Trials(runs, folder)
        write_study(trials.settings.landing, SUBJECTS, SEED)
        for path in trials.settings.landing.rglob("*"):
            os.utime(path, (1_700_000_000, 1_700_000_000))
        (trials.settings.home / "build").mkdir(parents=True)
        landing, fresh = trials.settings.landing, trials.keep("fresh")
        print(f"{SUBJECTS} subjects, {sum(1 for path in landing.rglob('*.csv'))} files", flush=True)
        if set(options.parts) - {"lake", "ingestion"}:
            expected, expected_more = prepare(trials)
        half = options.random // 2
        parts = {
            "lake": lambda: every_change_of_the_lake(trials, fresh / "landing"),
            "ingestion": lambda: random_moments_of_ingestion(trials, fresh, options.random, options.seed),
            "publication": lambda: every_change_after(
                trials, folder / "computed", ("publish", "report"), 1, expected_more
            ),
            "build": lambda: every_change_after(
                trials, folder / "ingested", ("build", "metrics"), options.stride, expected_more
            ),
            "random": lambda: (
                random_moments(trials, fresh, half, options.seed, expected),
                random_moments(trials, folder / "published", options.random - half, options.seed + 1, expected_more),
            ),
            "whole": lambda: whole_processes(trials, fresh, options.whole, options.seed, expected),
        }
        for part in options.parts:
            parts[part]()
            trials.tell(part)
    print(f"kills: {sum(trials.killed.values())} in {time.monotonic() - began:.0f} s")
    for part, count in trials.killed.most_common():
        print(f"  {part:<50}{count:>6}")
    print(f"runs to recover took {trials.seconds:.0f} s in all; differences: {len(trials.differences)}")
    sys.exit(1 if trials.differences else 0)


if __name__ == "__main__":
    main()
