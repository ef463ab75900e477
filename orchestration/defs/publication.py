"""What people read: the published file, the report rendered from it, validation docs and catalog."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from orchestration import progress
from orchestration.datadocs import write_docs
from orchestration.defs.checks import FRESHNESS, NEWEST_STATE, WHEN_STALE, result_of
from orchestration.defs.cuts import numbers_of
from orchestration.defs.efficacy import METRIC_SPECS, STATISTICIANS, metric_results
from orchestration.defs.home import Home, Marts
from orchestration.defs.landing import OWNERS
from orchestration.defs.warehouse import ANALYSTS, Tables, failure_of
from orchestration.errors import UserError
from orchestration.health import stale_publication
from orchestration.inspection import headline_estimates, headline_numbers
from orchestration.metrics import METRICS, build_metrics, current_build
from orchestration.pages import CATALOG, REPORT, VALIDATION
from orchestration.publication import GRAIN, Build, code_is_unchanged, publish
from orchestration.warehouse import connect

_REPORT = {"dagster/priority": "-1"}
_DOCUMENTS = {"dagster/priority": "-2"}
"""Steps run one after the other: what people wait for is published first."""

OPS = ("files", "quarantine", "findings", "validations")


WAREHOUSE = dg.AssetSpec(
    key=["warehouse"],
    freshness_policy=FRESHNESS,
    deps=[["marts", mart] for mart in GRAIN]
    + [["ops", table] for table in OPS]
    + [["metrics", name] for name in METRICS],
    group_name="publication",
    description="warehouse.duckdb: what analysts open. Replaced by one rename: a reader sees one complete state."
    f" {WHEN_STALE}",
    owners=ANALYSTS,
    kinds={"duckdb"},
)


def build_publication(manifest: Path) -> dg.AssetsDefinition:
    """From the lake to what people read, as one step.

    Marts, metrics and publication are of one private file, so none of them can be made without the others: the file of
    an earlier run must never be published as the newest state. History is written last: people wait for the numbers.
    """
    tables = Tables(manifest)

    @dg.multi_asset(
        name="publication",
        specs=[*tables.specs, *METRIC_SPECS, WAREHOUSE],
        check_specs=[*tables.check_specs, NEWEST_STATE],
        allow_arbitrary_check_specs=True,
    )
    def publication(context: dg.AssetExecutionContext, home: Home, marts: Marts):
        done: list[Iterator] = []
        failure: Exception | None = None
        try:
            _publish(home, marts, tables, done)
        except Exception as error:
            failure = error
        for results in done:
            yield from results
        if failure:
            raise failure

    return publication


def _publish(home: Home, marts: Marts, tables: Tables, done: list[Iterator]) -> None:
    """Appends to ``done`` what there is to record of each stage that came to its end."""
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str, **options) -> Iterator[None]:
        began = time.perf_counter()
        with home.stage(name, **options):
            yield
        seconds[name] = round(time.perf_counter() - began, 3)

    with stage("building the marts"):
        nodes = marts.builder(home).build(
            progress=lambda done, total, text: progress.tell(f"building the marts: {text}")
        )
        done.append(tables.results(home.dbt.database, nodes))
        if failed := failure_of(nodes):
            raise dg.Failure(f"dbt: nothing was published, the previous publication stays. {failed}")
    build = current_build(home.settings, home.study, frozen=True)
    with stage("computing efficacy metrics"):
        done.append(metric_results(*build_metrics(home.study, build, home.dbt.database)))
    with stage("publishing", clears=True):
        if not code_is_unchanged():
            raise UserError("the code was changed while this run was under way, so nothing was published. Run again.")
        is_new = publish(home.settings, build, home.dbt.database)
        home.dbt.keep()
    done.append(_publication_results(home, build, is_new, seconds))


def _publication_results(
    home: Home, build: Build, is_new: bool, seconds: dict[str, float]
) -> Iterator[dg.MaterializeResult]:
    yield dg.MaterializeResult(
        asset_key=WAREHOUSE.key,
        check_results=[result_of(NEWEST_STATE, stale_publication(home.settings, home.study))],
        metadata={
            "build_id": build.build_id,
            "published": "replaced" if is_new else "this build was published already",
            "data_hash": build.data_hash,
            "study_hash": build.study_hash,
            "code_version": build.code_version,
            "bytes": home.settings.warehouse.stat().st_size,
            "path": dg.MetadataValue.path(str(home.settings.warehouse)),
            **{f"seconds {name}": taken for name, taken in seconds.items()},
        },
    )


@dg.asset(
    key=["reports", "efficacy"],
    deps=[WAREHOUSE],
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
                "open": dg.MetadataValue.url(REPORT),
                "validation docs": dg.MetadataValue.url(VALIDATION),
                "catalog": dg.MetadataValue.url(CATALOG),
                **numbers,
                "headline numbers": dg.MetadataValue.text("\n".join(headline_numbers(home.settings, home.study))),
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
        return _made(write_docs(home.settings), VALIDATION, began)


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
        return _made(home.dbt.write_catalog(home.settings.reports / "catalog"), CATALOG, began)


def _made(page: Path, address: str, began: float) -> dg.MaterializeResult:
    return dg.MaterializeResult(
        metadata={
            "open": dg.MetadataValue.url(address),
            "path": dg.MetadataValue.path(str(page)),
            "seconds": round(time.perf_counter() - began, 3),
        }
    )
