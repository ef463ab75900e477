"""How a process ends."""

import subprocess
import sys

import pytest

from orchestration.settings import REPOSITORY

PROGRAM = """
import atexit, sys
from orchestration.processes import ends_at_once

class Taken:
    def __del__(self):
        print("taken apart")

kept = Taken()
with ends_at_once():
    atexit.register(print, "registered for the end")
    print("done")
    {last}
"""


@pytest.mark.parametrize(
    ("last", "code", "told"),
    [
        ("pass", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(2)", 2, ""),
        ("sys.exit('a reason')", 1, "a reason\n"),
        ("raise LookupError('a reason')", 1, "LookupError: a reason\n"),
    ],
)
def test_a_process_that_is_done_ends_without_taking_objects_apart(last, code, told):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(last=last)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (code, "done\nregistered for the end\n")
    assert ended.stderr.endswith(told)
