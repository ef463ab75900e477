"""Damaged files of every format: rows or a refusal that can be used, never anything else. Minutes of it: benchmarks.fuzz."""

import pytest

from tests.unit.exports import mutations

ROUNDS = 40
NO_WRITER = {"a SAS data set"}
"""No library writes it: benchmarks.fuzz damages real ones, --more."""


@pytest.fixture(scope="module")
def seeds():
    return mutations.seeds()


def test_every_format_that_is_read_is_damaged(seeds):
    assert mutations.READ - mutations.formats(seeds) == NO_WRITER


@pytest.mark.parametrize("kind", sorted(mutations.READ - NO_WRITER))
def test_a_damaged_file_loads_or_is_refused_and_nothing_is_written_elsewhere(seeds, tmp_path, kind):
    own = [seed for seed in seeds if seed.format == kind]
    outcomes = {}
    with mutations.watched(tmp_path) as elsewhere:
        for number, seed, content in mutations.trials(own):
            if number == ROUNDS:
                break
            outcomes[number] = mutations.attempt(content, f"lab/{seed.name}", tmp_path)
    assert {number: item.fault for number, item in outcomes.items() if item.fault} == {}
    assert elsewhere == []
    assert {item.is_refused for item in outcomes.values()} == {True, False}  # the damage is neither all nor nothing
