"""Data cuts as one asset with a partition a day: materialise a day, or backfill a range, in the web interface.

The job `pipeline` leaves it out: a cut is frozen when somebody asks for it.
"""

from datetime import date

import dagster as dg

from orchestration.cuts import cut
from orchestration.defs.efficacy import STATISTICIANS
from orchestration.defs.home import Home
from orchestration.exports.records import RECORDS
from orchestration.inspection import headline_estimates
from orchestration.pages import page_of_cut
from orchestration.study import Study
from orchestration.warehouse import connect

GROUP = "cuts"


class Received(dg.Config):
    """received_from: when a file came: by the ledger, or by the date in its name where its source declares one."""

    received_from: str | None = None


def build_cuts(study: Study) -> dg.AssetsDefinition:
    days = dg.DailyPartitionsDefinition(study.schedule.cuts_from.isoformat(), timezone=study.study.timezone)

    @dg.asset(
        key=["cuts", "day"],
        deps=[["raw", record] for record in RECORDS],
        partitions_def=days,
        group_name=GROUP,
        description="cuts/YYYY-MM-DD.duckdb: marts, metrics and report as known at the end of a day, frozen. A day that"
        " is frozen already is built again from its own study.yaml and files, and must come out the same.",
        owners=STATISTICIANS,
        kinds={"duckdb", "dbt", "python"},
        pool="home",
    )
    def day(context: dg.AssetExecutionContext, config: Received, home: Home) -> dg.MaterializeResult:
        on = context.partition_key
        with home.stage("freezing the data cut", f"cut {on}", clears=True):
            frozen = cut(home.settings, home.study, date.fromisoformat(on), config.received_from)
            with connect(frozen.database, read_only=True) as connection:
                numbers = numbers_of(headline_estimates(connection, home.study))
        return dg.MaterializeResult(
            metadata={
                **numbers,
                "subjects": frozen.manifest["tables"]["marts.dim_subject"]["rows"],
                "files": len(frozen.manifest["files"]),
                "frozen": "now" if frozen.is_new else "before; built again to the same tables",
                "received from": frozen.manifest["received_from"],
                "code_version": frozen.manifest["code_version"],
                "path": dg.MetadataValue.path(str(frozen.database)),
                "report": dg.MetadataValue.url(page_of_cut(on)),
            }
        )

    return day


def numbers_of(found: dict[str, dict | None]) -> dict[str, float]:
    """Headline numbers as plain numbers, which the web interface plots; one that is not estimable is left out."""
    return {
        f"{name}{', months' if name.startswith('median') else ''}{what}": round(row[column], 6)
        for name, row in found.items()
        if row is not None and row["estimate"] is not None
        for column, what in (("estimate", ""), ("ci_low", ", lower limit"), ("ci_high", ", upper limit"))
        if row[column] is not None
    }
