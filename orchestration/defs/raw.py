"""Raw records as assets: reading, validation and commit are one step, because the commit is what makes a row exist."""

import dagster as dg

from orchestration import progress
from orchestration.defs.checks import NOTHING_QUARANTINED, NOTHING_REJECTED, result_of, table_of
from orchestration.defs.home import Home
from orchestration.defs.landing import OWNERS
from orchestration.exports.records import RECORDS
from orchestration.health import quarantined_rows, rejected_files
from orchestration.ingestion import ingest, refuse_flood
from orchestration.lake import TABLES, Lake, record_schema
from orchestration.rules import suites
from orchestration.settings import LANDING_FOLDERS

_LEDGERS = {
    "ledger": "One row per file and path: verdict (loaded, rejected, duplicate), batch, the rules that judged it.",
    "quarantine": "One row per field that failed an expectation, with its value, the rule and the mend.",
    "validations": "One row per batch, suite and expectation: evaluated, unexpected, success.",
}
_EFFECT = {
    "critical": "A hit refuses the whole file.",
    "warning": "A hit quarantines the row: it is kept, listed with its mend, and counts nowhere.",
    "info": "A hit is a finding: the row counts.",
}
_LANDING = [dg.AssetKey(["landing", folder]) for folder in LANDING_FOLDERS]


class Ingestion(dg.Config):
    """full_refresh: judge every kept file again, under a new generation."""

    full_refresh: bool = False


def _schema(schema) -> dg.TableSchema:
    """Of a Parquet table of the lake (pyarrow.Schema)."""
    return dg.TableSchema([dg.TableColumn(item.name, str(item.type)) for item in schema])


def _check_specs() -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(
            name=severity,
            asset=["raw", record],
            description=f"{_EFFECT[severity]} Rules: "
            + ", ".join(sorted({c["rule"] for c in checks if c["severity"] == severity})),
            metadata={c["rule"]: c["mend"] for c in checks if c["severity"] == severity},
        )
        for record, checks in suites().items()
        for severity in sorted({check["severity"] for check in checks})
    ]


@dg.multi_asset(
    name="raw",
    specs=[
        dg.AssetSpec(
            key=["raw", record.name],
            deps=_LANDING,
            group_name="raw",
            description=f"Immutable {record.name} rows (shaped after SDTM {record.domain}), accepted and quarantined, "
            "each with its file, row number and untouched source text.",
            owners=OWNERS,
            kinds={"parquet", "python", "greatexpectations"},
            metadata={"dagster/column_schema": _schema(record_schema(record.name))},
        )
        for record in RECORDS.values()
    ]
    + [
        dg.AssetSpec(
            key=["raw", name],
            deps=_LANDING,
            group_name="raw",
            description=text,
            owners=OWNERS,
            kinds={"parquet"},
            metadata={"dagster/column_schema": _schema(TABLES[name])},
        )
        for name, text in _LEDGERS.items()
    ],
    check_specs=[*_check_specs(), NOTHING_REJECTED, NOTHING_QUARANTINED],
    pool="home",
)
def raw(context: dg.AssetExecutionContext, config: Ingestion, home: Home):
    with home.stage("reading files"):
        lake = Lake(home.settings)
        if config.full_refresh:
            lake.forget()
            home.dbt.forget()
        ingested = ingest(
            home.settings,
            home.study,
            progress=lambda done, total, text: progress.tell(f"reading files: {done} of {total}, {text}"),
        )
        for held in ingested.held:
            context.log.warning(f"held in the landing folder: {held.path}: {held.reason}")
        ledger = lake.ledger()
        for folder in LANDING_FOLDERS:
            paths = [path for path in ledger["path"] if path.startswith(f"{folder}/")]
            context.log_event(
                dg.AssetObservation(asset_key=["landing", folder], metadata={"files seen so far": len(paths)})
            )
        accepted = lake.accepted_rows()
        for record in RECORDS.values():
            counts = ingested.records.get(record.name)
            yield dg.MaterializeResult(
                asset_key=["raw", record.name],
                metadata={
                    "dagster/row_count": accepted[record.name],
                    "rows read in this run": counts.rows_read if counts else 0,
                    "rows quarantined in this run": counts.rows_quarantined if counts else 0,
                    "seconds": round(ingested.seconds, 3),
                },
            )
        for name in _LEDGERS:
            yield dg.MaterializeResult(
                asset_key=["raw", name],
                metadata={
                    "files": len(ledger),
                    **{f"files {k}": int(v) for k, v in ledger["status"].value_counts().items()},
                },
            )
        yield from _check_results(lake)
        yield result_of(NOTHING_REJECTED, rejected_files(home.settings))
        yield result_of(NOTHING_QUARANTINED, quarantined_rows(home.settings))
        refuse_flood(home.settings, home.study)  # last: the UI shows what was taken in, and nothing downstream runs


def _check_results(lake: Lake):
    """The state of the lake, not of this run: a check stays red until its rows are mended."""
    faults = lake.quarantine()
    for spec in _check_specs():
        record, severity = spec.asset_key.path[-1], spec.name
        hit = faults[(faults["record"] == record) & (faults["severity"] == severity)]
        by_rule = [
            {"rule": rule, "fields": int(count), "mend": spec.metadata.get(rule, "")}
            for rule, count in hit["rule"].value_counts().items()
        ]
        yield dg.AssetCheckResult(
            asset_key=spec.asset_key,
            check_name=spec.name,
            passed=hit.empty,
            severity=dg.AssetCheckSeverity.ERROR if severity == "critical" else dg.AssetCheckSeverity.WARN,
            metadata={
                "rows": len(hit[["file_id", "row_number"]].drop_duplicates()),
                "see": "sher2 quarantine",
            }
            | ({"by rule": table_of(by_rule)} if by_rule else {}),
        )
