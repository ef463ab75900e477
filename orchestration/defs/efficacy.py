"""The statistics as assets: marts in, metrics out."""

import dagster as dg

from orchestration.defs.home import Home
from orchestration.metrics import METRICS, build_metrics, current_build
from orchestration.publication import GRAIN

STATISTICIANS = ["team:statistics"]


@dg.multi_asset(
    name="metrics",
    specs=[
        dg.AssetSpec(
            key=["metrics", name],
            deps=[dg.AssetKey(["marts", mart]) for mart in GRAIN],
            group_name="metrics",
            description=table.description,
            owners=STATISTICIANS,
            kinds={"python", "pandas", "lifelines"},
            metadata={
                "dagster/table_name": f"metrics.{name}",
                "dagster/column_schema": dg.TableSchema(
                    [dg.TableColumn(column, kind, text) for column, (kind, text) in table.columns.items()]
                ),
            },
        )
        for name, table in METRICS.items()
    ],
)
def metrics(home: Home):
    with home.stage("computing efficacy metrics"):
        counts, seconds = build_metrics(
            home.study, current_build(home.settings, home.study, frozen=True), home.dbt.database
        )
        for name, count in counts.items():
            yield dg.MaterializeResult(
                asset_key=["metrics", name], metadata={"dagster/row_count": count, "seconds": round(seconds, 3)}
            )
