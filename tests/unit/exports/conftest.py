"""One way to read a few lines of an export."""

import pytest

from orchestration.exports import Sheet, read
from orchestration.study import Study


@pytest.fixture
def sheet(tmp_path):
    """Write ``content`` to a file and read it as ``name``; ``study`` is what study.yaml would hold."""

    def of(content: str | bytes, name: str = "lab/lab_results.csv", **study) -> Sheet:
        path = tmp_path / "copy"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        sheets = read(path, name, Study.model_validate(study))
        assert len(sheets) == 1
        return sheets[0]

    return of


@pytest.fixture
def rows(sheet):
    """As ``sheet``, but the rows as dictionaries in the order of their numbers; `_source` becomes a dictionary, too."""

    def of(content: str | bytes, name: str = "lab/lab_results.csv", **study) -> list[dict]:
        found = sheet(content, name, **study).table.to_pylist()
        for row in found:
            row["_source"] = dict(row["_source"])
        return sorted(found, key=lambda row: row["_row_number"])

    return of
