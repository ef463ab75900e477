"""Parquet: typed columns, row groups, and what is no flat table."""

import io
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.exports import Rejected

NAME = "lab/lab_results.parquet"
COLUMNS = {
    "subject_id": pa.array(["S1", "S2", None]).dictionary_encode(),
    "analyte": pa.array(["42914-2"] * 3),
    "value": pa.array([14.999999999999998, 5.1, None]),
    "unit": pa.array(["ng/mL"] * 3, pa.large_string()),
    "collected_at": pa.array([datetime(2024, 3, 1, 7, 30)] * 3, pa.timestamp("ms", "UTC")),
    "lloq": pa.array([1, None, 2], pa.decimal128(10, 3)),
}


def written(columns: dict = COLUMNS, **options) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **options)
    return out.getvalue()


@pytest.mark.parametrize("options", [{}, {"row_group_size": 1}, {"compression": "zstd"}, {"version": "1.0"}], ids=str)
def test_a_typed_table_is_read_however_it_is_packed(rows, options):
    found = rows(written(**options), NAME)
    assert [(row["subject_id"], row["value_number"], row["lloq"]) for row in found] == [("S1", "15", "1"), ("S2", "5.1", None), (None, None, "2")]
    assert {row["collected_at"] for row in found} == {"2024-03-01T07:30:00Z"}


@pytest.mark.parametrize(
    ("content", "rule", "says"),
    [
        (lambda: written(COLUMNS | {"more": pa.array([[1], [2], [3]])}), "nested", "'more'"),
        (lambda: written(COLUMNS | {"more": pa.array([{"a": 1}] * 3)}), "nested", "'more'"),
        (lambda: written(COLUMNS | {"more": pa.array([b"x"] * 3)}), "nested", "'more'"),
        (lambda: written({f"c{place}": pa.array(["x"]) for place in range(2_001)}), "too_wide", "2,000"),
        (lambda: written()[:-9], "damaged", "Export it again"),
        (lambda: b"PAR1" + bytes(100) + b"PAR1", "damaged", "Export it again"),
        (lambda: written().replace(b"42914-2", b"42914-\xff"), "damaged", "Export it again"),
    ],
    ids=["list", "struct", "bytes", "wide", "cut", "zeros", "not-utf8"],
)
def test_what_is_no_flat_table_is_refused(rows, content, rule, says):
    with pytest.raises(Rejected) as refusal:
        rows(content(), NAME)
    assert (refusal.value.rule, says in refusal.value.message) == (rule, True), refusal.value.message
    assert NAME in refusal.value.message
