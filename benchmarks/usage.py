"""What a whole process took: wall and CPU seconds and peak memory, as the kernel counts them."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    wall: float
    cpu: float
    peak_gib: float
    exit_code: int


def run_process(command: list[str], environment: Mapping[str, str]) -> Usage:
    """Run a command with these variables beside our own; what a failed one said goes to stderr.

    The peak is that of the largest process.
    """
    began = time.perf_counter()
    child = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = child.stderr.read().decode(errors="replace")
    _, status, used = os.wait4(child.pid, 0)
    usage = Usage(
        time.perf_counter() - began,
        used.ru_utime + used.ru_stime,
        used.ru_maxrss / 2**20,
        os.waitstatus_to_exitcode(status),
    )
    if usage.exit_code:
        print(said[-2000:], file=sys.stderr)
    return usage
