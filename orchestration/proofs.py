"""What can be proved of a query by its syntax tree, so that orchestration.replay may spare it.

Three things: which tables it names; that its rows depend on nothing but what it reads (no clock, no random number, no
order of rows); and how it reads the lake. `dbt_project/macros/accepted_rows.sql` marks where rows of the lake come in.
A query into which they come there only is `ACCEPTED`: it does not notice a file none of whose rows are accepted rows
that it reads. If each of its rows is made of the rows of one subject, be they of the lake or of tables that are proved
so themselves, beside other tables, it is `BY_SUBJECT`: where only the rows of some subjects come in, it gives the rows
of these, and all of them. What is not proved is not so: every rule here refuses what it does not know.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

import duckdb

ANYHOW, ACCEPTED, BY_SUBJECT = "anyhow", "accepted", "by subject"

MARK = re.compile(r"/\* of subjects: (\S+) \*/")
_MARKED = "of_subjects"
_SUBJECT = "subject_id"
_ROWS_OF_A_TABLE = "(select * from {} where true /* of subjects: subject_id */)"

_OF_AN_ORDER = {
    "any_value", "arbitrary", "arg_max", "arg_max_null", "arg_min", "arg_min_null", "argmax", "argmin", "array_agg",
    "first", "group_concat", "histogram", "last", "list", "listagg", "max_by", "min_by", "mode", "string_agg",
}  # fmt: skip
"""What these give may depend on the order of rows that are alike."""

_OF_A_CLOCK = {"age", "ago"}
_STEADY_OTHERS = {"nullif", "split_part", "read_parquet", _MARKED}


class _NotProved(Exception):
    pass


@dataclass(frozen=True)
class _Rows:
    """A relation within a query: whether each of its rows is of one subject, and at which place that is told."""

    is_by_subject: bool
    place: int | None = None


class Query:
    """One select statement.

    Args:
        text: as dbt compiled it.
        ledger: name of the table that says which files count.
        views: by name, how the views that it reads read the lake.
        of_subjects: as the text writes them, names of tables whose queries are proved to be `BY_SUBJECT`.

    Attributes:
        text: the same query, with a mark wherever rows of subjects come in.
    """

    def __init__(
        self,
        text: str,
        ledger: str = "",
        views: Mapping[str, str] | None = None,
        of_subjects: Collection[str] = (),
    ):
        self._ledger, self._views = ledger.lower(), {name.lower(): reading for name, reading in (views or {}).items()}
        self._of_subjects = {plain(name) for name in of_subjects}
        for name in of_subjects:
            text = text.replace(name, _ROWS_OF_A_TABLE.format(name))
        self.text = text
        self._marks = len(MARK.findall(text))
        marked = MARK.sub(rf"and {_MARKED}(\1)", text)
        told = _connection().execute("select json_serialize_sql($text)", {"text": marked}).fetchone()[0]
        statements = json.loads(told, object_hook=_in_small_letters).get("statements", [])
        self._root = statements[0]["node"] if len(statements) == 1 else None
        self._items = list(_walk(self._root))

    def tables(self) -> set[str]:
        """Names of the tables and views that it reads, in small letters."""
        ours = {entry["key"] for item in self._items for entry in item.get("cte_map", {}).get("map", [])}
        return {_name(item) for item in self._items if item.get("type") == "BASE_TABLE"} - ours

    def folders(self) -> set[str]:
        """Names of the folders whose Parquet files it reads; of anything else that is no table, an empty one."""
        functions = [item["function"] for item in self._items if item.get("type") == "TABLE_FUNCTION"]
        return {_folder(function) for function in functions}

    def is_steady(self) -> bool:
        """Whether its rows depend on nothing but the rows of what it reads."""
        return self._root is not None and not any(_is_unsteady(item) for item in self._items)

    def reading(self, *, is_told: bool = True) -> str:
        """How it reads the lake: ANYHOW, ACCEPTED or BY_SUBJECT.

        Args:
            is_told: whether its rows have to tell of which subject they are.
        """
        places = [item for item in self._items if self._is_entrance(item)]
        within = {id(item) for place in places for item in _walk(place["from_table"])}
        others = [item for item in self._items if id(item) not in within]
        if (
            not self.is_steady()
            or len(places) != self._marks
            or any(item.get("type") == "TABLE_FUNCTION" for item in others)
            or {_name(item) for item in others if item.get("type") == "BASE_TABLE"} & {self._ledger, *self._of_subjects}
            or ANYHOW in self._views.values()
            or not (places or self._views)
        ):
            return ANYHOW
        try:
            return BY_SUBJECT if self._rows(self._root, {}, is_told).is_by_subject else ACCEPTED
        except _NotProved:
            return ACCEPTED

    def _is_entrance(self, item: dict) -> bool:
        """Whether rows of subjects come in, with the mark where a condition on the subject would stand."""
        if item.get("type") != "SELECT_NODE":
            return False
        source, (star, *others) = item["from_table"], item["select_list"]
        if self._is_table_of_subjects(source):
            alias, subject = "", [_SUBJECT]
        elif self._is_of_the_lake(source):
            alias, subject = source["left"]["alias"], [source["left"]["alias"], _SUBJECT]
        else:
            return False
        return (
            any(
                part.get("function_name") == _MARKED
                and part["arguments"][0]["expression"].get("column_names") == subject
                for part in _all_of(item, "where_clause")
            )
            and star["class"] == "STAR"
            and star["relation_name"] == alias
            and not any(star[changed] for changed in _CHANGES_OF_A_STAR)
            and not any(part["class"] != "COLUMN_REF" or _SUBJECT in _called(part) for part in others)
            and not (item["group_expressions"] or item["group_sets"] or item["having"] or item["qualify"])
            and not (item["modifiers"] or item["cte_map"]["map"] or item["sample"])
            and not any(part.get("class") in {"SUBQUERY", "WINDOW"} for part in _walk(item))
        )

    def _is_table_of_subjects(self, source: dict) -> bool:
        is_one = source["type"] == "BASE_TABLE" and _name(source) in self._of_subjects
        return is_one and not (source["alias"] or source["sample"] or source["column_name_alias"])

    def _is_of_the_lake(self, source: dict) -> bool:
        """Whether it joins the lake's rows and their files as accepted_rows does."""
        if source["type"] != "JOIN":
            return False
        lake, files = source["left"], source["right"]
        return (
            lake["type"] == "TABLE_FUNCTION"
            and bool(_folder(lake["function"]))
            and not (lake["column_name_alias"] or files.get("column_name_alias"))
            and files["type"] == "BASE_TABLE"
            and _name(files) == self._ledger
            and source["join_type"] == "INNER"
            and source["ref_type"] == "REGULAR"
            and any(_is_equal(part, "_file_id", {lake["alias"], files["alias"]}, "file_id") for part in _all_of(source))
        )

    # --- rows of one subject --------------------------------------------------------------------------------------

    def _rows(self, node: dict, known: Mapping[str, _Rows], is_told: bool = True) -> _Rows:
        known = dict(known)
        for entry in node["cte_map"]["map"]:
            if entry["value"]["aliases"]:
                raise _NotProved
            known[entry["key"]] = self._rows(entry["value"]["query_node"], known)
        if any(item["type"] not in {"ORDER_MODIFIER", "DISTINCT_MODIFIER"} for item in node["modifiers"]):
            raise _NotProved
        if node["type"] == "SET_OPERATION_NODE" and node["setop_type"] == "UNION":
            parts = {self._rows(child, known) for child in node["children"]}
            is_known = len(parts) == 1 and not any(part.is_by_subject and part.place is None for part in parts)
            if is_known or not any(part.is_by_subject for part in parts):
                return parts.pop()
            raise _NotProved
        if node["type"] == "RECURSIVE_CTE_NODE":
            start = self._rows(node["left"], known)
            further = self._rows(node["right"], known | {node["cte_name"]: start})
            if start != further or start.place is None or node["key_targets"]:
                raise _NotProved
            return start
        if node["type"] != "SELECT_NODE":
            raise _NotProved
        return _Rows(True) if self._is_entrance(node) else self._selected(node, known, is_told)

    def _selected(self, node: dict, known: Mapping[str, _Rows], is_told: bool) -> _Rows:
        relations, certain = self._joined(node["from_table"], known)
        expressions = [item for part in _CLAUSES for item in _walk(node[part], within_queries=False)]
        for item in expressions:
            if item.get("class") == "SUBQUERY" and self._rows(item["subquery"]["node"], known).is_by_subject:
                raise _NotProved
        of_subjects = {alias for alias, rows in relations.items() if rows.is_by_subject}
        if not of_subjects:
            return _Rows(False)

        def is_subject(item: dict) -> bool:
            names = item.get("column_names", [])
            return names[-1:] == [_SUBJECT] and (
                (len(names) == 1 and len(of_subjects) == 1 and of_subjects <= certain)
                or (len(names) == 2 and names[0] in certain & of_subjects)
            )

        for item in expressions:
            if item.get("class") == "WINDOW" and not any(is_subject(part) for part in item["partitions"]):
                raise _NotProved
        grouped = node["group_expressions"] or any(
            item.get("class") == "FUNCTION" and item["function_name"] in _aggregates() for item in expressions
        )
        if grouped and (
            not any(is_subject(part) for part in node["group_expressions"])
            or node["group_sets"] != [list(range(len(node["group_expressions"])))]
        ):
            raise _NotProved
        if node["aggregate_handling"] != "STANDARD_HANDLING":
            raise _NotProved
        told = [
            place
            for place, item in enumerate(node["select_list"])
            if (is_subject(item) and item["alias"] in {"", _SUBJECT})
            or (
                item["class"] == "STAR"
                and not any(item[changed] for changed in _CHANGES_OF_A_STAR)
                and (
                    item["relation_name"] in certain & of_subjects
                    or (not item["relation_name"] and len(relations) == 1)
                )
            )
        ]
        stars = [place for place, item in enumerate(node["select_list"]) if item["class"] == "STAR"]
        named = [
            place for place, item in enumerate(node["select_list"]) if place not in stars and _SUBJECT in _called(item)
        ]
        if not set(named) <= set(told) or (is_told and (len(told) != 1 or len(named) + len(stars) != 1)):
            raise _NotProved
        if len(node["select_list"]) == 1 and stars and len(relations) == 1:
            return next(iter(relations.values()))
        return _Rows(True, None if stars or not told else told[0])

    def _joined(self, item: dict, known: Mapping[str, _Rows]) -> tuple[dict[str, _Rows], set[str]]:
        """What is joined, by alias, and of which of it every row of the join holds a row."""
        if item.get("sample") or item.get("column_name_alias"):
            raise _NotProved
        if item["type"] == "EMPTY":
            return {}, set()
        if item["type"] == "BASE_TABLE":
            name, alias = _name(item), item["alias"] or item["table_name"]
            if name in known:
                return {alias: known[name]}, {alias}
            if self._views.get(name, BY_SUBJECT) != BY_SUBJECT:
                raise _NotProved
            return {alias: _Rows(name in self._views)}, {alias}
        if item["type"] == "SUBQUERY":
            return {item["alias"]: self._rows(item["subquery"]["node"], known)}, {item["alias"]}
        if item["type"] != "JOIN" or item["ref_type"] not in {"REGULAR", "CROSS"} or item["using_columns"]:
            raise _NotProved
        left, left_certain = self._joined(item["left"], known)
        right, right_certain = self._joined(item["right"], known)
        ours = {alias for alias, rows in left.items() if rows.is_by_subject}
        theirs = {alias for alias, rows in right.items() if rows.is_by_subject}
        if left.keys() & right.keys() or any(part.get("class") == "SUBQUERY" for part in _walk(item["condition"])):
            raise _NotProved
        if item["join_type"] not in {"INNER", "LEFT"} or (item["join_type"] == "LEFT" and theirs and not ours):
            raise _NotProved
        if (
            ours
            and theirs
            and not any(
                _is_equal(part, _SUBJECT, one | other, _SUBJECT)
                for part in _all_of(item)
                for one in ({alias} for alias in ours & left_certain)
                for other in ({alias} for alias in theirs & right_certain)
            )
        ):
            raise _NotProved
        return left | right, left_certain | (right_certain if item["join_type"] == "INNER" else set())


_CLAUSES = ("select_list", "where_clause", "group_expressions", "having", "qualify", "modifiers")
_CHANGES_OF_A_STAR = ("exclude_list", "replace_list", "qualified_exclude_list", "rename_list", "columns", "expr")
_NEEDS_NO_ORDER = {"WINDOW_AGGREGATE"}


_KNOWN = {
    "SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "BASE_TABLE", "JOIN", "SUBQUERY", "TABLE_FUNCTION",
    "EMPTY", "ORDER_MODIFIER", "DISTINCT_MODIFIER", "ORDER_DEFAULT", "ASCENDING", "DESCENDING",
}  # fmt: skip
"""Parts of a query that are no expressions."""


def _is_unsteady(item: dict) -> bool:
    if "class" not in item and isinstance(item.get("type"), str) and item["type"] not in _KNOWN:
        return True
    if item.get("class") == "COLUMN_REF":
        return len(item["column_names"]) == 1 and item["column_names"][0] in _unsteady()
    if item.get("class") == "WINDOW" and item["type"] not in _NEEDS_NO_ORDER:
        return not item["orders"]
    if item.get("sample") or item.get("distinct_on_targets") or item.get("at_clause"):
        return True
    return "function_name" in item and item["function_name"] not in _steady()


_NAMES = {
    "key", "alias", "relation_name", "function_name", "catalog_name", "schema_name", "table_name", "column_names",
    "cte_name",
}  # fmt: skip


def _in_small_letters(item: dict) -> dict:
    """A part of a syntax tree with its names in small letters: to DuckDB they are the same."""
    for name in _NAMES & item.keys():
        told = item[name]
        item[name] = [part.lower() for part in told] if isinstance(told, list) else told.lower()
    return item


def _folder(function: dict) -> str:
    """Where a function reads all Parquet files of one folder: its name. Empty where it does anything else."""
    if function["function_name"] != "read_parquet":
        return ""
    path = function["arguments"][0]["expression"].get("literal", {}).get("text", "")
    return PurePosixPath(path).parent.name if path.endswith("/*.parquet") else ""


def _walk(item, *, within_queries: bool = True) -> Iterator[dict]:
    """Every part of a syntax tree, or without those of queries within it."""
    if isinstance(item, dict):
        yield item
        for name, part in item.items():
            if within_queries or name not in {"subquery", "query_node"}:
                yield from _walk(part, within_queries=within_queries)
    elif isinstance(item, list):
        for part in item:
            yield from _walk(part, within_queries=within_queries)


def _all_of(item: dict, clause: str = "condition") -> Iterator[dict]:
    """The conditions that all hold."""
    condition = item[clause]
    if condition is None:
        return
    if condition["type"] == "CONJUNCTION_AND":
        for part in condition["children"]:
            yield from _all_of({clause: part}, clause)
    else:
        yield condition


def _is_equal(condition: dict, one: str, aliases: set[str], other: str) -> bool:
    """Whether it says that a column of one of two relations equals one of the other."""
    if condition["type"] not in {"COMPARE_EQUAL", "COMPARE_NOT_DISTINCT_FROM"}:
        return False
    names = [condition[side].get("column_names", []) for side in ("left", "right")]
    return (
        all(len(name) == 2 for name in names)
        and {name[0] for name in names} == aliases
        and sorted(name[1] for name in names) == sorted([one, other])
        and len(aliases) == 2
    )


def _called(item: dict) -> list[str]:
    """The name of a column of a select list."""
    return [item["alias"]] if item["alias"] else item.get("column_names", [])[-1:]


def plain(relation: str) -> str:
    """The name of a table as a syntax tree has it."""
    return relation.replace('"', "").lower()


def _name(item: dict) -> str:
    return ".".join(part for part in (item["catalog_name"], item["schema_name"], item["table_name"]) if part)


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


@cache
def _functions() -> list[tuple[str, str, str]]:
    return (
        _connection()
        .execute("select lower(function_name), function_type, stability from duckdb_functions()")
        .fetchall()
    )


@cache
def _unsteady() -> set[str]:
    """Also without brackets: current_date."""
    return (
        {
            name
            for name, kind, stability in _functions()
            if (kind in {"scalar", "aggregate"} and stability != "CONSISTENT") or name.startswith(("current_", "local"))
        }
        | {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
        | _OF_A_CLOCK
    )


@cache
def _steady() -> set[str]:
    told = {name for name, kind, _ in _functions() if kind in {"scalar", "aggregate", "window"}}
    return (told - _unsteady() - _OF_AN_ORDER) | _STEADY_OTHERS


@cache
def _aggregates() -> set[str]:
    return {name for name, kind, _ in _functions() if kind == "aggregate"}
