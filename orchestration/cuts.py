"""Data cuts: marts, metrics and report as they were known on a day, frozen beside the running warehouse."""

import json
from datetime import date
from pathlib import Path

from orchestration.errors import UserError
from orchestration.lake import Lake
from orchestration.metrics import build_metrics
from orchestration.publication import Build, code_version, put_in_place, record_build
from orchestration.settings import Settings
from orchestration.study import Study
from orchestration.warehouse import Dbt


def cut(settings: Settings, study: Study, on: date, received_from: str = "ledger") -> Path:
    """Freeze a data cut: only files received by the day, only rows dated on or before it. The caller holds the lock.

    Args:
        on: the day; it also becomes the data cut-off of the study, unless study.yaml has an earlier one.
        received_from: ``ledger``: when a file first came; ``filename``: the date of the export where its source
            declares one, for studies that were loaded afterwards.

    Returns:
        the database file, cuts/<day>.duckdb, with report and protocol in the folder cuts/<day>/ beside it.

    Raises:
        UserError: a test of the data failed: nothing is written.
    """
    from orchestration.report.page import render

    cutoff = min(on, study.study.data_cutoff or on)
    frozen = study.model_copy(update={"study": study.study.model_copy(update={"data_cutoff": cutoff})})
    lake = Lake(settings)
    lake.prepare()
    dbt = Dbt(settings, frozen, {"on": on.isoformat(), "received_from": received_from})
    failed = [result for result in dbt.build() if result.is_failed]
    if failed:
        raise UserError(f"cut: nothing was written: {failed[0].unique_id.split('.')[2]}: {failed[0].message.strip()}")
    build = Build(f"{lake.data_hash()} cut {on} {received_from}", frozen.study_hash, code_version())
    build_metrics(frozen, build, dbt.database)
    record_build(dbt.database, build)
    target = settings.home / "cuts" / f"{on.isoformat()}.duckdb"
    target.parent.mkdir(exist_ok=True)
    put_in_place(dbt.database, target)
    dbt.database.unlink()
    folder = target.with_suffix("")
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_text(json.dumps(frozen.model_dump(mode="json"), indent=2, sort_keys=True), "utf-8")
    render(target, folder, frozen)
    return target
