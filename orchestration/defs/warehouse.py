"""Every dbt model as an asset and every dbt data test as an asset check, built in one go into the private file.

Selecting one model rebuilds all: a full rebuild is the default, and the private file is made anew each time.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, dbt_assets

from orchestration import progress
from orchestration.defs.home import Home, Marts
from orchestration.defs.landing import OWNERS
from orchestration.warehouse import NodeResult, connect

ANALYSTS = ["team:analytics"]


class TableAddress(DagsterDbtTranslator):
    """Asset keys equal table addresses: schema and table; a source is the raw asset of its name."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        if dbt_resource_props["resource_type"] == "source":
            return dg.AssetKey(["raw", dbt_resource_props["name"]])
        return dg.AssetKey([dbt_resource_props["schema"], dbt_resource_props["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        return dbt_resource_props["schema"]

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return dbt_resource_props.get("description") or dbt_resource_props["name"]

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        return ANALYSTS if dbt_resource_props["schema"] in {"marts", "ops"} else OWNERS


def build_dbt_assets(manifest: Path) -> dg.AssetsDefinition:
    translator = TableAddress()

    @dbt_assets(manifest=manifest, dagster_dbt_translator=translator, name="dbt", exclude="resource_type:unit_test")
    def dbt(context: dg.AssetExecutionContext, home: Home, marts: Marts):
        with home.stage("building the marts"):
            results = marts.builder(home).build(
                progress=lambda done, total, text: progress.tell(f"building the marts: {text}")
            )
            addresses = _Addresses(manifest, translator)
            yield from _models(context, home, results, addresses)
            yield from _tests(context, results, addresses)
            if failed := [result for result in results if result.is_failed]:
                raise dg.Failure(
                    "dbt: nothing was published, the previous publication stays. "
                    + "; ".join(
                        f"{r.unique_id.split('.')[2]}: {r.status} {_first_line(r.message)}" for r in failed[:10]
                    )
                )

    return dbt


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")


class _Addresses:
    """From dbt's unique ids to Dagster's keys."""

    def __init__(self, manifest: Path, translator: DagsterDbtTranslator):
        from dagster_dbt.dbt_manifest import validate_manifest

        self.manifest = validate_manifest(manifest)
        self.translator = translator

    def asset(self, unique_id: str) -> dg.AssetKey:
        return self.translator.get_asset_key(self.manifest["nodes"][unique_id])

    def check(self, unique_id: str) -> dg.AssetCheckKey | None:
        from dagster_dbt.asset_utils import get_asset_check_key_for_test

        return get_asset_check_key_for_test(self.manifest, self.translator, unique_id, project=None)


def _models(context, home: Home, results: list[NodeResult], addresses: _Addresses) -> Iterator[dg.MaterializeResult]:
    built = [r for r in results if not r.unique_id.startswith("test.") and not r.is_failed]
    with connect(home.dbt.database, read_only=False) as connection:
        for result in built:
            key = addresses.asset(result.unique_id)
            if key not in context.selected_asset_keys:
                continue
            schema, table = key.path
            count = connection.execute(f'select count(*) from "{schema}"."{table}"').fetchone()[0]
            yield dg.MaterializeResult(
                asset_key=key, metadata={"dagster/row_count": count, "seconds": round(result.seconds, 3)}
            )


def _tests(context, results: list[NodeResult], addresses: _Addresses) -> Iterator[dg.AssetCheckResult]:
    for result in results:
        key = addresses.check(result.unique_id) if result.unique_id.startswith("test.") else None
        if key is None or key not in context.selected_asset_check_keys or result.status == "skipped":
            continue
        yield dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=result.status == "pass",
            severity=dg.AssetCheckSeverity.WARN if result.status == "warn" else dg.AssetCheckSeverity.ERROR,
            metadata={"rows that fail": result.failures or 0, "seconds": round(result.seconds, 3)},
        )
