"""What a whole process took: wall and CPU seconds and peak memory, as the kernel counts them."""

import itertools
import os
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_SAMPLE_SECONDS = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """A process with its children at one moment: CPU seconds until then, and memory that is resident."""

    at: float  # seconds since the epoch
    cpu: float
    resident_gib: float


@dataclass(frozen=True)
class Usage:
    wall: float
    cpu: float
    peak_gib: float
    exit_code: int
    samples: tuple[Sample, ...] = field(default=(), repr=False)
    said: str = field(default="", repr=False)  # its standard output

    def during(self, start: float, end: float) -> tuple[float, float]:
        """CPU seconds between two moments, and the most memory that was resident then."""
        peak = max((sample.resident_gib for sample in self.samples if start <= sample.at <= end), default=0.0)
        return self._cpu_at(end) - self._cpu_at(start), peak

    def _cpu_at(self, moment: float) -> float:
        """Linear between two samples."""
        if not self.samples:
            return 0.0
        place = bisect_left(self.samples, moment, key=lambda sample: sample.at)
        if place == 0 or place == len(self.samples):
            return self.samples[min(place, len(self.samples) - 1)].cpu
        before, after = self.samples[place - 1], self.samples[place]
        share = (moment - before.at) / (after.at - before.at)
        return before.cpu + share * (after.cpu - before.cpu)


def run_process(command: list[str], environment: Mapping[str, str], *, sampled: bool = False) -> Usage:
    """Run a command with these variables beside our own; what a failed one said goes to stderr.

    The peak is that of the largest process; ``sampled``, of the process and its children together, where that is more
    (pages that they share then count for each).
    """
    began = time.perf_counter()
    child = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    samples: list[Sample] = []
    over = threading.Event()
    errors: list[bytes] = []
    helpers = [threading.Thread(target=lambda: errors.append(child.stderr.read()))]
    if sampled:
        helpers.append(threading.Thread(target=lambda: samples.extend(_sampled(child.pid, over))))
    for helper in helpers:
        helper.start()
    said = child.stdout.read().decode(errors="replace")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    over.set()
    for helper in helpers:
        helper.join()
    _, status, used = os.wait4(child.pid, 0)
    usage = Usage(
        time.perf_counter() - began,
        used.ru_utime + used.ru_stime,
        max([used.ru_maxrss / 2**20, *(sample.resident_gib for sample in samples)]),
        os.waitstatus_to_exitcode(status),
        tuple(samples),
        said,
    )
    if usage.exit_code:
        print(b"".join(errors).decode(errors="replace")[-2000:], file=sys.stderr)
    return usage


def _sampled(pid: int, over: threading.Event) -> Iterator[Sample]:
    while not over.wait(_SAMPLE_SECONDS):
        cpu = resident = 0
        for member in _tree(pid):
            try:
                fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended: its parent counts it from now on
                continue
            cpu += sum(int(ticks) for ticks in fields[11:15])  # its own, and that of children it waited for
            resident += int(fields[21])
        yield Sample(time.time(), cpu / _TICKS, resident * _PAGE / 2**30)


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        tasks = [(task / "children").read_text().split() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return
    for child in itertools.chain(*tasks):
        yield from _tree(int(child))
