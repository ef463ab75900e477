"""Analysis datasets for the statistician (ADaM): what is published, under the standard's names, for R and SAS.

Only renaming belongs here: every rule stands in dbt. datasets.py says what is written, formats.py how.
"""

import csv
import os
import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa

from orchestration.adam.context import write_context
from orchestration.adam.datasets import DATASETS
from orchestration.adam.formats import SAS_EPOCH, WRITERS, Origin, check_text
from orchestration.errors import UserError
from orchestration.settings import Settings
from orchestration.study import Study
from orchestration.warehouse import connect

__all__ = ["export_adam", "read_adam"]


def export_adam(settings: Settings, study: Study, folder: Path) -> list[Path]:
    """Write ADSL, ADLB, ADTR, ADRS and ADTTE as Parquet, CSV, XPT version 5 and Dataset-JSON 1.1, and variables.csv.

    The same publication gives the same bytes. All files are made before the first is put in place.

    Returns:
        the files written.

    Raises:
        UserError: nothing is published, study.yaml is no longer what is published, a text is too long for SAS, or the
            folder cannot be written.
    """
    origin, tables = read_adam(settings, study)
    for dataset in DATASETS:
        check_text(dataset, tables[dataset.name])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adam-", dir=folder) as unfinished:
            for dataset in DATASETS:
                for ending, write in WRITERS.items():
                    write(dataset, tables[dataset.name], origin, Path(unfinished) / f"{dataset.name.lower()}.{ending}")
            _write_variables(Path(unfinished) / "variables.csv")
            made = sorted(Path(unfinished).iterdir())
            for path in made:
                os.replace(path, folder / path.name)
    except OSError as error:
        mend = "Name a folder that you may write to and that has room."
        raise UserError(f"export: {folder}: {error.strerror}. {mend}") from None
    return [folder / path.name for path in made]


def read_adam(settings: Settings, study: Study) -> tuple[Origin, dict[str, pa.Table]]:
    """The datasets by name, a column each variable, from one publication.

    Raises:
        UserError: as export_adam.
    """
    with connect(settings.warehouse, read_only=True) as connection:
        build_id, study_hash, code_version, cutoff_on = connection.execute(
            "select build_id, study_hash, code_version, data_cutoff_on from ops.publications"
            " order by published_at desc limit 1"
        ).fetchone()
        if study_hash != study.study_hash:
            raise UserError(
                f"export: {settings.study_file} is not the protocol that build {build_id} was published with, so its"
                " names would not fit the numbers. Run: sher2 run"
            )
        try:
            write_context(connection, study)
            for dataset in DATASETS:
                connection.execute(dataset.sql)
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            raise UserError(
                f"export: build {build_id} was published by sher2 {code_version} and lacks what this one reads"
                f" ({str(error).splitlines()[0]}). Run: sher2 run"
            ) from None
        tables = {
            dataset.name: connection.sql(f"from {dataset.name} order by {', '.join(dataset.keys)}").to_arrow_table()
            for dataset in DATASETS
        }
    return Origin(study.study.id, build_id, code_version, cutoff_on or SAS_EPOCH), tables


def _write_variables(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["dataset", "variable", "label", "type", "source"])
        for dataset in DATASETS:
            writer.writerows([dataset.name, v.name, v.label, v.kind, v.source] for v in dataset.variables)
