"""One writer a home, whoever it is."""

import os
import signal
import subprocess
import sys

import pytest

from orchestration.errors import UserError
from orchestration.locking import writer_lock

HOLDER = """
import pathlib, sys, time
from orchestration.locking import writer_lock
with writer_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_writer_is_told_who_holds_the_home(tmp_path, holder):
    with pytest.raises(UserError, match=rf"pid {holder.pid}: -c"), writer_lock(tmp_path, timeout_seconds=0.2):
        pass


def test_a_killed_holder_leaves_no_lock_behind(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with writer_lock(tmp_path, timeout_seconds=5):
        pass


def test_a_waiting_writer_gets_its_turn(tmp_path):
    with writer_lock(tmp_path):
        code = HOLDER.replace("time.sleep(60)", "")
        waiting = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1.5)
    assert waiting.communicate(timeout=30)[0] == "held\n"
