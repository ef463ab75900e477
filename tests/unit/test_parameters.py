"""The protocol of a publication: kept whole, key by key, and read back as it was."""

import duckdb
import pytest
import yaml

from orchestration.parameters import parameters_of, published_parameters, published_study
from orchestration.settings import REPOSITORY
from orchestration.study import Study

CONTENT = yaml.safe_load((REPOSITORY / "study.yaml").read_text("utf-8"))


def published(parameters: dict[str, str]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("create schema ops")
    connection.execute("create table ops.parameters (key varchar, value varchar)")
    connection.executemany("insert into ops.parameters values (?, ?)", list(parameters.items()))
    return connection


def test_what_was_published_is_read_back_but_for_the_sources():
    study = Study.model_validate(CONTENT)
    with published(parameters_of(study)) as connection:
        found = published_study(connection)
    kept = study.model_copy(update={"sources": []})
    assert found.study_hash == kept.study_hash and found.dbt_vars() == study.dbt_vars()


@pytest.mark.parametrize(
    ("section", "key", "value", "name"),
    [
        ("response", "progression_pct", 60, "response.progression_pct"),
        ("study", "drugs", ["OTHER"], "study.drugs"),
        ("endpoints", "pfs", {"rules": "ema"}, "endpoints.pfs.rules"),
    ],
)
def test_a_change_is_found_under_its_key(section, key, value, name):
    changed = CONTENT | {section: CONTENT[section] | {key: value}}
    before, after = (parameters_of(Study.model_validate(content)) for content in (CONTENT, changed))
    assert {key for key in before if before[key] != after[key]} == {name}


def test_a_source_is_one_key_and_their_order_another():
    first, second, *rest = CONTENT["sources"]
    turned = CONTENT | {"sources": [second, first, *rest]}
    renamed = CONTENT | {"sources": [first | {"match": "*.csv"}, second, *rest]}
    base, *others = (parameters_of(Study.model_validate(content)) for content in (CONTENT, turned, renamed))
    assert [{key for key in base if base[key] != other[key]} for other in others] == [
        {"sources"}, {f"sources.{first['name']}"},
    ]  # fmt: skip


def test_every_change_that_makes_another_publication_has_a_key():
    study = Study.model_validate(CONTENT)
    other = study.model_copy(update={"dates": study.dates.model_copy(update={"impute_day": "last"})})
    assert (study.study_hash == other.study_hash) == (parameters_of(study) == parameters_of(other))


def test_a_build_of_before_or_of_another_version_tells_no_protocol():
    with duckdb.connect() as connection:
        connection.execute("create schema ops")
        assert published_parameters(connection) == {} and published_study(connection) is None
    with published({"response.a_rule_of_later": "1"}) as connection:
        assert published_study(connection) is None
