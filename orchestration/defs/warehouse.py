"""Every dbt model as an asset and every dbt data test as an asset check: their specs, and what a build says of them.

What nothing new concerns is not computed again and says so (`rebuilt: false`, of a check `run again: false`): it is as
it would be.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator

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


class Tables:
    """The dbt project as Dagster sees it."""

    def __init__(self, manifest: Path):
        from dagster_dbt.asset_utils import build_dbt_specs
        from dagster_dbt.dbt_manifest import validate_manifest

        self._manifest, self._translator = validate_manifest(manifest), TableAddress()
        self.specs, self.check_specs = build_dbt_specs(
            translator=self._translator,
            manifest=self._manifest,
            select="fqn:*",
            exclude="resource_type:unit_test",
            selector="",
            io_manager_key=None,
            project=None,
        )

    def results(
        self, database: Path, nodes: Sequence[NodeResult]
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        """What a build into this file says of each model, then of each test."""
        is_whole = not any(node.status == "error" for node in nodes)  # one that broke off leaves no tables
        with connect(database, read_only=True) as connection:
            for node in nodes if is_whole else ():
                if node.unique_id.startswith("test.") or node.is_failed:
                    continue
                properties = self._manifest["nodes"][node.unique_id]
                key = self._translator.get_asset_key(properties)
                metadata = {"rebuilt": node.is_rebuilt, "seconds": round(node.seconds, 3)}
                if properties["config"]["materialized"] != "view":  # its rows are counted where they are read
                    schema, table = key.path
                    rows = connection.execute(f'select count(*) from "{schema}"."{table}"').fetchone()[0]
                    metadata["dagster/row_count"] = rows
                yield dg.MaterializeResult(asset_key=key, metadata=metadata)
        for node in nodes:
            key = self._check(node.unique_id) if node.unique_id.startswith("test.") else None
            if key is None or node.status == "skipped":
                continue
            yield dg.AssetCheckResult(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=node.status == "pass",
                severity=dg.AssetCheckSeverity.WARN if node.status == "warn" else dg.AssetCheckSeverity.ERROR,
                metadata={
                    "rows that fail": node.failures or 0,
                    "run again": node.is_rebuilt,
                    "seconds": round(node.seconds, 3),
                },
            )

    def _check(self, unique_id: str) -> dg.AssetCheckKey | None:
        from dagster_dbt.asset_utils import get_asset_check_key_for_test

        return get_asset_check_key_for_test(self._manifest, self._translator, unique_id, project=None)


def failure_of(nodes: Sequence[NodeResult]) -> str:
    """Which models and tests failed, the first ten; empty when none did."""
    failed = [node for node in nodes if node.is_failed]
    return "; ".join(f"{n.unique_id.split('.')[2]}: {n.status} {_first_line(n.message)}" for n in failed[:10])


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")
