"""The protocol of a publication, a row a key: what it was published with, whatever study.yaml says now.

What a key means belongs to study; where the rows are kept, to publication.
"""

import json

from duckdb import CatalogException, DuckDBPyConnection
from pydantic import ValidationError

from orchestration.study import Study


def parameters_of(study: Study) -> dict[str, str]:
    """Every value that study_hash counts, as JSON by its dotted key. A list is one value, and each of the sources."""
    content = study.model_dump(mode="json", exclude={"landing", "ingest", "schedule"})
    sources = content.pop("sources")
    leaves = dict(_leaves(content, "")) | {"sources": [source["name"] for source in sources]}
    leaves |= {f"sources.{source['name']}": source for source in sources}
    return {key: json.dumps(value, ensure_ascii=False, sort_keys=True) for key, value in leaves.items()}


def published_parameters(connection: DuckDBPyConnection, database: str = "") -> dict[str, str]:
    """ops.parameters of a warehouse (``database``: alias and dot); empty where it was published without any."""
    try:
        return dict(connection.execute(f"select key, value from {database}ops.parameters order by key").fetchall())
    except CatalogException:
        return {}


def published_study(connection: DuckDBPyConnection) -> Study | None:
    """The protocol that a warehouse was published with, without its sources (they take long to check, and what is
    published is read already). None where it does not say, or as another version would."""
    parameters = published_parameters(connection)
    if not parameters:
        return None
    content: dict = {}
    for key, text in parameters.items():
        *path, name = key.split(".")
        if (path or [name])[0] == "sources":
            continue
        section = content
        for part in path:
            section = section.setdefault(part, {})
        section[name] = json.loads(text)
    try:
        return Study.model_validate(content)
    except ValidationError:
        return None


def _leaves(value: dict, prefix: str):
    for name, item in value.items():
        if isinstance(item, dict) and item:
            yield from _leaves(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item
