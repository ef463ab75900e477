"""The statistics as assets: marts in, metrics out."""

from collections.abc import Iterator, Mapping

import dagster as dg

from orchestration.metrics import METRICS
from orchestration.publication import GRAIN

STATISTICIANS = ["team:statistics"]

METRIC_SPECS = [
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
]


def metric_results(rows: Mapping[str, int], seconds: float) -> Iterator[dg.MaterializeResult]:
    for name, count in rows.items():
        yield dg.MaterializeResult(
            asset_key=["metrics", name], metadata={"dagster/row_count": count, "seconds": round(seconds, 3)}
        )
