"""When a file in the landing folder counts as whole."""

import os
import threading
import time

import pytest

from orchestration.landing import UNENDED_SECONDS, Observations, whole

SETTLE_SECONDS = 0.4


def found(folder, patience: float = 0) -> tuple[set[str], set[str]]:
    """Paths that are whole, and that are held."""
    arrivals, held = whole(folder, Observations(folder / "memory.json"), SETTLE_SECONDS, patience)
    return {item.path for item in arrivals}, {item.path for item in held}


def put(folder, name: str, content: bytes, age_seconds: float = 0) -> None:
    (folder / name).write_bytes(content)
    at = time.time() - age_seconds
    os.utime(folder / name, (at, at))


@pytest.mark.parametrize(
    ("name", "content", "age_seconds", "is_whole"),
    [
        ("a.csv", b"x\n1\n", 1, True),
        ("a.csv", b"x\n1\n", 0, False),
        ("a.csv", b"x\r1\r", 1, True),
        ("a.csv", "x\n1\n".encode("utf-16-le"), 1, True),
        ("a.csv", b"x\n1", 1, False),
        ("a.csv", b"x\n1", UNENDED_SECONDS + 1, True),
        ("a.csv", b"", 1, False),
        ("a.csv", b"", UNENDED_SECONDS + 1, True),
        ("a.tsv", b"x\n1", 1, False),
        ("a.hl7", b"MSH|^~\\&|A\rPID|1", 1, False),
        ("a.HL7", b"MSH|^~\\&|A\rPID|1\r", 1, True),
        ("a.xlsx", b"PK", 1, True),
        ("a.json", b"{}", 1, True),
        ("a.csv.gz", b"\x1f\x8b", 1, True),
    ],
)  # fmt: skip
def test_it_has_not_changed_for_so_long_and_its_last_line_is_ended(tmp_path, name, content, age_seconds, is_whole):
    put(tmp_path, name, content, age_seconds)
    assert found(tmp_path) == (({name}, set()) if is_whole else (set(), {name}))


@pytest.mark.parametrize("content", [b"x\n1\n", b"x\n1", b""])
def test_its_sender_may_say_so(tmp_path, content):
    put(tmp_path, "a.csv", content)
    put(tmp_path, "a.csv.done", b"")
    assert found(tmp_path) == ({"a.csv"}, set())


@pytest.mark.parametrize("name", [".a.csv", "~a.csv", "a.csv.tmp", "a.csv.part", "a.csv.filepart", "a.csv.crdownload"])
def test_a_name_of_a_file_that_is_being_sent_is_no_export(tmp_path, name):
    put(tmp_path, name, b"x\n1\n", 1)
    assert found(tmp_path) == (set(), set())


def test_a_fresh_file_is_waited_for(tmp_path):
    put(tmp_path, "a.csv", b"x\n1\n")
    assert found(tmp_path, patience=2) == ({"a.csv"}, set())


def test_a_file_that_goes_on_growing_is_left_and_the_others_are_taken(tmp_path):
    stop = threading.Event()
    put(tmp_path, "slow.csv", b"x\n")

    def grow() -> None:
        with (tmp_path / "slow.csv").open("ab", buffering=0) as file:
            while not stop.wait(0.05):
                file.write(b"1\n")

    writer = threading.Thread(target=grow)
    writer.start()
    put(tmp_path, "a.csv", b"x\n1\n")
    assert found(tmp_path, patience=60) == ({"a.csv"}, {"slow.csv"})
    stop.set()
    writer.join()


def test_a_clock_that_was_set_back_only_makes_it_wait(tmp_path):
    put(tmp_path, "a.csv", b"x\n1\n", age_seconds=-3600)
    assert found(tmp_path) == (set(), {"a.csv"})
    assert found(tmp_path, patience=2) == ({"a.csv"}, set())
