"""What people read: the published file, the report rendered from it, validation docs and catalog."""

import time

import dagster as dg

from orchestration.datadocs import write_docs
from orchestration.defs.checks import FRESHNESS, NEWEST_STATE, WHEN_STALE, result_of
from orchestration.defs.cuts import numbers_of
from orchestration.defs.efficacy import STATISTICIANS
from orchestration.defs.home import Home
from orchestration.defs.landing import OWNERS
from orchestration.defs.warehouse import ANALYSTS
from orchestration.errors import UserError
from orchestration.health import stale_publication
from orchestration.inspection import headline_estimates, headline_numbers
from orchestration.metrics import METRICS, current_build
from orchestration.publication import GRAIN, code_is_unchanged, publish
from orchestration.warehouse import connect

_REPORT = {"dagster/priority": "-1"}
_DOCUMENTS = {"dagster/priority": "-2"}
"""Steps run one after the other: what people wait for is published first."""

OPS = ("files", "quarantine", "findings", "validations")


@dg.asset(
    key=["warehouse"],
    freshness_policy=FRESHNESS,
    check_specs=[NEWEST_STATE],
    deps=[["marts", mart] for mart in GRAIN]
    + [["ops", table] for table in OPS]
    + [["metrics", name] for name in METRICS],
    group_name="publication",
    description="warehouse.duckdb: what analysts open. Replaced by one rename: a reader sees one complete state."
    f" {WHEN_STALE}",
    owners=ANALYSTS,
    kinds={"duckdb"},
)
def warehouse(home: Home) -> dg.MaterializeResult:
    with home.stage("publishing", clears=True):
        began = time.perf_counter()
        if not code_is_unchanged():
            raise UserError("the code was changed while this run was under way, so nothing was published. Run again.")
        build = current_build(home.settings, home.study, frozen=True)
        is_new = publish(home.settings, build, home.dbt.database)
        return dg.MaterializeResult(
            check_results=[result_of(NEWEST_STATE, stale_publication(home.settings, home.study))],
            metadata={
                "build_id": build.build_id,
                "published": "replaced" if is_new else "this build was published already",
                "data_hash": build.data_hash,
                "study_hash": build.study_hash,
                "code_version": build.code_version,
                "bytes": home.settings.warehouse.stat().st_size,
                "path": dg.MetadataValue.path(str(home.settings.warehouse)),
                "seconds": round(time.perf_counter() - began, 3),
            },
        )


@dg.asset(
    key=["reports", "efficacy"],
    deps=[warehouse],
    group_name="publication",
    freshness_policy=FRESHNESS,
    description="reports/efficacy.html: one self-contained page with a CSV behind each figure, from what is published."
    f" {WHEN_STALE}",
    owners=STATISTICIANS,
    op_tags=_REPORT,
    kinds={"python", "matplotlib"},
)
def efficacy_report(home: Home) -> dg.MaterializeResult:
    from orchestration.report.page import render

    with home.stage("rendering the report"):
        began = time.perf_counter()
        page = render(home.settings.warehouse, home.settings.reports, home.study)
        with connect(home.settings.warehouse, read_only=True) as connection:
            numbers = numbers_of(headline_estimates(connection, home.study))
        return dg.MaterializeResult(
            metadata={
                **numbers,
                "headline numbers": dg.MetadataValue.text("\n".join(headline_numbers(home.settings, home.study))),
                "validation docs": dg.MetadataValue.path(str(home.settings.reports / "validation" / "index.html")),
                "catalog": dg.MetadataValue.path(str(home.settings.reports / "catalog" / "index.html")),
                "path": dg.MetadataValue.path(str(page)),
                "bytes": page.stat().st_size,
                "seconds": round(time.perf_counter() - began, 3),
            }
        )


@dg.asset(
    key=["reports", "validation"],
    deps=[["raw", "validations"]],
    group_name="publication",
    description="reports/validation: Great Expectations' data docs: every suite, and counts for the last batches.",
    owners=OWNERS,
    op_tags=_DOCUMENTS,
    kinds={"greatexpectations"},
)
def validation_docs(home: Home) -> dg.MaterializeResult:
    with home.stage("writing the validation docs"):
        began = time.perf_counter()
        page = write_docs(home.settings)
        return dg.MaterializeResult(
            metadata={"path": dg.MetadataValue.path(str(page)), "seconds": round(time.perf_counter() - began, 3)}
        )


@dg.asset(
    key=["reports", "catalog"],
    deps=[["marts", mart] for mart in GRAIN] + [["ops", table] for table in OPS],
    group_name="publication",
    description="reports/catalog: dbt docs as one page: every model, column, test and the lineage.",
    owners=ANALYSTS,
    op_tags=_DOCUMENTS,
    kinds={"dbt"},
)
def catalog(home: Home) -> dg.MaterializeResult:
    with home.stage("writing the catalog"):
        began = time.perf_counter()
        page = home.dbt.write_catalog(home.settings.reports / "catalog")
        return dg.MaterializeResult(
            metadata={"path": dg.MetadataValue.path(str(page)), "seconds": round(time.perf_counter() - began, 3)}
        )
