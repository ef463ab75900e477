"""A parser that crashes, hangs or swells costs a refusal with its reason, and the next file is read."""

import resource
import sys
import textwrap
from contextlib import suppress

import pytest

from orchestration.exports import Rejected, confined
from orchestration.settings import REPOSITORY
from orchestration.study import Ingest

PARSERS = {
    "crashes": "import os; os.kill(os.getpid(), 11)",
    "exits": "import os; os._exit(0)",
    "hangs": "import time; time.sleep(60)",
    "swells": "x = bytearray(3 << 30)",
    "swells in Arrow": "import pyarrow as pa; x = pa.allocate_buffer(3 << 30)",
    "breaks": "raise KeyError('S1-0001')",
    "prints": "print('S1-0001'); raise ValueError",
}
RULES = {"crashes": "crashed", "exits": "crashed", "hangs": "too_slow", "swells": "too_much_memory",
         "swells in Arrow": "too_much_memory", "breaks": "damaged", "prints": "damaged"}  # fmt: skip
LIMITS = Ingest(parser_memory_mb=512, parser_seconds=2)


@pytest.fixture
def parser(tmp_path, monkeypatch):
    """A module of its own that the child can import."""

    def of(body: str) -> str:
        name = f"parser_{abs(hash(body))}"
        (tmp_path / f"{name}.py").write_text(
            "from orchestration.exports.confined import Parsed\nimport pyarrow as pa\n"
            f"def parse(path):\n{textwrap.indent(body, '    ')}\n    yield Parsed('t', pa.schema([('a', pa.int64())]), [])\n"
        )
        monkeypatch.setattr(confined, "REPOSITORY", f"{REPOSITORY}:{tmp_path}")
        confined.close()
        return name

    yield of
    confined.close()


@pytest.mark.parametrize("fault", PARSERS)
def test_a_parsers_fault_is_a_refusal_and_the_next_file_is_read(parser, tmp_path, fault):
    good, bad = parser("pass"), parser(PARSERS[fault])
    (tmp_path / f"{good}.py").touch()
    with pytest.raises(Rejected) as refusal:
        confined.tables(bad, tmp_path / "copy", "lab/a.xpt", LIMITS)
    assert refusal.value.rule == RULES[fault]
    assert "lab/a.xpt" in refusal.value.message and "S1-0001" not in refusal.value.message
    [(title, table, about)] = confined.tables(good, tmp_path / "copy", "lab/b.xpt", LIMITS)
    assert (title, table.num_rows, about) == ("t", 0, {})


def test_the_memory_of_the_run_itself_is_not_touched(parser, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Rejected):
        confined.tables(parser(PARSERS["swells"]), tmp_path / "copy", "lab/a.xpt", LIMITS)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < (64 << 10 if sys.platform != "darwin" else 64 << 20)


@pytest.mark.parametrize("between", ["pass", PARSERS["breaks"]], ids=["good", "refused"])
def test_one_child_serves_many_files(parser, tmp_path, between):
    name = parser("import os\npath = str(os.getpid())\nyield Parsed(path, pa.schema([('a', pa.int64())]), [])")
    other = parser(between)
    children = set()
    confined.close()
    for _ in range(3):
        children.add(confined.tables(name, tmp_path / "copy", "a", LIMITS)[0][0])
        with suppress(Rejected):
            confined.tables(other, tmp_path / "copy", "b", LIMITS)
    assert len(children) == 1
