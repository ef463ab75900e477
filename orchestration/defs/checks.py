"""What is broken now, as asset checks: how many, which, and the mend, in the words of orchestration.health.

A check tells; it stops nothing and nothing reads it. It stays red until what it is about is mended.
"""

import dagster as dg

from orchestration.health import FRESH, MENDS, Problem

LISTED = 100

FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=FRESH)
WHEN_STALE = (
    f"Stale after {FRESH.total_seconds() / 3600:.0f} hours without a run. If it is: {MENDS['stale_publication']}"
)


def _spec(asset: list[str], name: str, text: str, problem: str) -> dg.AssetCheckSpec:
    mend = MENDS[problem]
    return dg.AssetCheckSpec(name=name, asset=asset, description=f"{text} If it fails: {mend}", metadata={"mend": mend})


NOTHING_REJECTED = _spec(["raw", "ledger"], "no_rejected_files", "No file is refused as a whole.", "rejected_files")
NOTHING_QUARANTINED = _spec(["raw", "quarantine"], "no_quarantined_rows", "No row is set aside.", "quarantined_rows")
NEWEST_STATE = _spec(
    ["warehouse"],
    "shows_the_newest_state",
    "What is published is made of all the lake holds, by this study.yaml and this code.",
    "stale_publication",
)


def result_of(spec: dg.AssetCheckSpec, problem: Problem) -> dg.AssetCheckResult:
    """A warning with count, mend and a table of what it is about (keys and counts, the first of them)."""
    metadata: dict = {"count": problem.count}
    if problem.count:
        metadata["mend"] = problem.mend
    if problem.keys:
        metadata["which"] = table_of(problem.keys[:LISTED])
    return dg.AssetCheckResult(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=not problem.count,
        severity=dg.AssetCheckSeverity.WARN,
        description=problem.text,
        metadata=metadata,
    )


def table_of(rows: list[dict]) -> dg.TableMetadataValue:
    """Rows of the same keys, as a table of the web interface."""
    return dg.MetadataValue.table([dg.TableRecord({key: _cell(value) for key, value in row.items()}) for row in rows])


def _cell(value):
    return value if isinstance(value, (int, float)) else str(value or "")
