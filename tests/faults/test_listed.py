"""docs/faults.md lists every fault with its outcome, and names tests that exist."""

import ast
import re
from functools import cache

import pytest

from orchestration.settings import REPOSITORY

NUMBERS = [*range(1, 75), *range(77, 127), *range(128, 137), *range(137, 144), 145]
"""Of the list that the project is held against; 75, 76, 127 and 144 are not in it."""

ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in (REPOSITORY / "docs" / "faults.md").read_text("utf-8").splitlines()
    if re.match(r"\| *\d+ *\|", line)
]


def test_every_fault_stands_once_and_in_order():
    assert len(NUMBERS) == 141
    assert [int(row[0]) for row in ROWS] == NUMBERS


def test_every_fault_has_an_outcome_and_a_test_or_the_reason_why_not():
    for number, fault, outcome, held_by in ROWS:
        assert fault and outcome, number
        assert re.search(r"`[\w/]+\.py::\w+`", held_by) or held_by.startswith(("cannot occur:", "waits:")), number


def test_every_test_that_is_named_exists():
    named = {match for row in ROWS for match in re.findall(r"`([\w/]+\.py)::(\w+)`", row[3])}
    missing = [f"{path}::{name}" for path, name in sorted(named) if name not in _tests(path)]
    assert named and missing == []


@cache
def _tests(path: str) -> set[str]:
    file = REPOSITORY / path
    if not file.exists():
        return set()
    return {node.name for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("word", ["HOLD", "REJECT", "QROW", "FLAG", "SUPERSEDE", "DEDUP", "STOP", "RECOVER"])
def test_each_disposition_is_explained_and_used(word):
    text = (REPOSITORY / "docs" / "faults.md").read_text("utf-8")
    assert f"**{word}**" in text
    assert any(word in row[2] for row in ROWS)
