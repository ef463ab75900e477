"""The dbt project as a whole: it builds on nothing, its unit tests hold, every model says what a row of it is."""

import json

import duckdb

from orchestration.study import Study

MARTS = {"dim_subject", "fct_visit", "fct_her2_delta", "fct_response", "fct_best_response", "fct_time_to_event"}


def test_an_empty_lake_builds_and_all_unit_and_data_tests_hold(tmp_path, dbt):
    results = dbt("build", records={}, study=Study())
    kinds = {result.node.resource_type for result in results}
    assert {"model", "seed", "test", "unit_test"} <= kinds
    with duckdb.connect(str(dbt.database), read_only=True) as connection:
        marts = connection.execute("select table_name, estimated_size from duckdb_tables() where schema_name = 'marts'").fetchall()
        findings = connection.execute("select distinct kind from ops.findings").fetchall()
    assert dict(marts) == dict.fromkeys(MARTS, 0)
    assert {("no_clinical_data",), ("no_serum_her2",), ("no_imaging",)} <= set(findings)
