"""Great Expectations over canonical rows: which files are refused, which rows are set apart, what is worth a look.

The rules themselves stand in expectations/<record>.json (`rules`), the columns that they judge are made in `judged`,
what is told about a row in `findings`; here is only the running of them. Where rows come from and where verdicts are
stored is no business of this module. Great Expectations is imported when the first row is judged: it costs seconds.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.exports.spill import ahead, regrouped
from orchestration.findings import FAULT_SCHEMA, Picked, faults_of
from orchestration.judged import Files, Frame, Origin
from orchestration.rules import Check, checks_of, parameters, suite_of
from orchestration.study import Study

FRAME_ROWS = 500_000
"""Rows that are judged at once: bounds the memory of the judged columns. One validation of the laboratory's suite costs
0.4 CPU seconds even on a single row."""

RESULT_SCHEMA = pa.schema(
    {
        "suite": pa.string(),
        "expectation": pa.string(),
        "column": pa.string(),
        "rule": pa.string(),
        "success": pa.bool_(),
        "evaluated": pa.int64(),
        "unexpected": pa.int64(),
        "severity": pa.string(),
        "validated_at": pa.timestamp("us", "UTC"),
    }
)


@dataclass(frozen=True)
class Validation:
    """The verdicts on the rows of one record.

    ``rejections``: file id -> (rule, message). ``row_faults`` (FAULT_SCHEMA): severity warning = the row is
    quarantined, info = a finding on a row that is loaded. ``rejected_by``: the rules that quarantine each row, comma
    separated, null for an accepted one; aligned with the table. ``results`` (RESULT_SCHEMA): one row an expectation.
    ``documents``: Great Expectations' own results, one a frame, for the data docs.
    """

    rejections: dict[str, tuple[str, str]]
    row_faults: pa.Table
    rejected_by: pa.Array
    results: pa.Table
    documents: list[dict]


class BrokenExpectation(RuntimeError):
    """An expectation could not be evaluated: our fault, never the data's."""


@runtime_checkable
class Pieces(Protocol):
    """Rows that need not lie in memory all at once."""

    def pieces(self, names: Collection[str] | None = None) -> Iterator[pa.Table]:
        """All of them, in their order; of the columns only those of these names, and ``_file_id``."""


def validate(
    record: str, table: pa.Table | Pieces, study: Study, origins: Mapping[str, Origin] | None = None
) -> Validation:
    """Judge the rows of one record, of one file or of many.

    Args:
        table: a sheet's columns (exports.Sheet) and ``_file_id``.
        origins: by file id; without it, messages name the file id and values are the canonical text.

    Raises:
        BrokenExpectation: an expectation crashed or judged nothing that it should have.
    """
    checks = checks_of(record)
    tables = table.pieces if isinstance(table, Pieces) else lambda names=None: iter((table,))
    files = Files(record, ahead(regrouped(tables(Files.columns(record)), FRAME_ROWS)), origins or {})
    rows = 0

    def judge(piece: pa.Table) -> _Told:
        nonlocal rows
        rows += piece.num_rows
        frame = Frame(record, files.told(piece, rows - piece.num_rows))
        return _told(record, frame, _run(record, frame, checks, study), origins or {})

    # of a frame nothing may be held while the next one is fetched but what is told of it
    frames = list(map(judge, regrouped(tables(), FRAME_ROWS)))
    now = datetime.now(UTC)
    results = (
        [
            {
                "suite": record,
                "expectation": check.expectation,
                "column": check.field,
                "rule": check.rule,
                "success": unexpected == 0,
                "evaluated": evaluated,
                "unexpected": unexpected,
                "severity": check.severity,
                "validated_at": now,
            }
            for check, evaluated, unexpected in (
                (check, sum(own.evaluated[check] for own in frames), sum(own.unexpected[check] for own in frames))
                for check in checks
            )
        ]
        if rows
        else []
    )  # nothing judged is not a pass
    rejections: dict[str, tuple[str, str]] = {}
    for own in frames:
        rejections = own.rejections | rejections
    return Validation(
        rejections,
        pa.concat_tables([FAULT_SCHEMA.empty_table(), *(table for own in frames for table in own.faults)]),
        pa.chunked_array([own.rejected_by for own in frames], pa.string()),
        pa.Table.from_pylist(results, RESULT_SCHEMA),
        [own.document for own in frames],
    )


@dataclass(frozen=True)
class _Told:
    """What is told of one frame, by check and by row; the fields are those of `Validation`."""

    evaluated: dict[Check, int]
    unexpected: dict[Check, int]
    rejections: dict[str, tuple[str, str]]
    rejected_by: pa.Array
    faults: list[pa.Table]
    document: dict


def _told(record: str, frame: Frame, outcome: "_Outcome", origins: Mapping[str, Origin]) -> _Told:
    rejections: dict[str, tuple[str, str]] = {}
    quarantined: dict[int, list[str]] = {}
    for check, _, positions in outcome.hits:
        if check.severity == "critical":
            for file_id in pc.unique(frame.table["_file_id"].take(positions)).to_pylist():
                name = origins[file_id].path if origins else file_id
                rejections.setdefault(file_id, (check.rule, f"{name}: {check.mend}"))
        elif check.severity == "warning":
            for position in positions.tolist():
                quarantined.setdefault(position, []).append(check.rule)
    apart = np.fromiter(quarantined, dtype=np.int64)
    found = [
        # a finding on a row that is set apart would say nothing more
        (check, np.setdiff1d(positions, apart) if check.severity == "info" else positions)
        for check, _, positions in outcome.hits
        if check.severity != "critical"
    ]
    return _Told(
        {check: evaluated for check, evaluated, _ in outcome.hits},
        {check: len(positions) for check, _, positions in outcome.hits},
        rejections,
        _joined(quarantined, frame.table.num_rows),
        [
            faults_of(record, frame, check, Picked.of(frame, positions, origins))
            for check, positions in found
            if len(positions)
        ],
        outcome.document,
    )


def _joined(quarantined: dict[int, list[str]], rows: int) -> pa.Array:
    texts = np.full(rows, None, dtype=object)
    for position, rules in quarantined.items():
        texts[position] = ",".join(dict.fromkeys(rules))
    return pa.array(texts, pa.string())


# --- Great Expectations --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Outcome:
    document: dict
    hits: list[tuple[Check, int, np.ndarray]]  # check, rows judged, positions in the frame that failed


@cache
def _engine():
    """Great Expectations, its ephemeral context and the one batch definition that every frame goes through."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("canonical_rows").add_dataframe_asset("frame")
    return gx, asset.add_batch_definition_whole_dataframe("whole")


def _run(record: str, frame: Frame, checks: list[Check], study: Study) -> _Outcome:
    """One validation of one frame.

    COMPLETE with the frame's own row positions, without the query text, costs hardly more than a bare yes or no
    (0.26 s against 0.16 s for 250,000 failing rows), so no second pass is needed; named index columns cost 2.4 s.
    """
    gx, definition = _engine()
    content = suite_of(record)
    # Great Expectations copies meta some 100 times for each expectation: while it judges, meta is a number
    numbered = [item | {"meta": {"place": place}} for place, item in enumerate(content["expectations"])]
    suite = gx.ExpectationSuite(name=record, expectations=numbered, meta=content["meta"])
    judged = _Distinct.of(frame, content["expectations"])
    data = judged.data()
    result_format = {"result_format": "COMPLETE", "return_unexpected_index_query": False, "partial_unexpected_count": 0}
    with ThreadPoolExecutor(1) as apart:  # its parser leaves cycles that hold every caller, and so the rows, for long
        batch = definition.get_batch({"dataframe": data})
        result = apart.submit(
            batch.validate, suite, result_format=result_format, expectation_parameters=parameters(study)
        ).result()
    missed = dict(enumerate(checks))
    hits = []
    for item in result.results:
        config = item.expectation_config
        check = missed.pop(config.meta["place"])
        where = f"expectations/{record}.json: {check.rule} on {check.column}"
        if _crashed(item.exception_info) or "element_count" not in item.result:
            raise BrokenExpectation(f"{where} could not be evaluated: {item.exception_info}")
        outcome = item.result
        bad = np.asarray(outcome.get("unexpected_index_list") or [], dtype=np.int64)
        if len(bad) != outcome["unexpected_count"]:
            raise BrokenExpectation(f"{where} names {len(bad)} of {outcome['unexpected_count']} values")
        positions = judged.rows_of(check.column, bad)
        evaluated = judged.count(config.kwargs, outcome, where)
        outcome.update(_in_rows(outcome, judged.rows, evaluated, len(positions)))
        for values in [key for key, value in outcome.items() if isinstance(value, list)]:
            outcome.pop(values)  # documents carry counts, never values
        hits.append((check, evaluated, positions))
    if missed:
        rules = ", ".join(sorted(check.rule for check in missed.values()))
        raise BrokenExpectation(f"expectations/{record}.json: not evaluated: {rules}")
    document = result.to_json_dict()
    for config in (item["expectation_config"] for item in document["results"]):
        config["meta"] = content["expectations"][config["meta"]["place"]]["meta"]
    return _Outcome(document, hits)


def _in_rows(outcome: dict, rows: int, evaluated: int, unexpected: int) -> dict:
    """The counts of a result in rows, as documents show them."""
    counts = {
        "element_count": rows,
        "missing_count": rows - evaluated,
        "missing_percent": 100 * (rows - evaluated) / rows,
        "unexpected_count": unexpected,
        "unexpected_percent": 100 * unexpected / evaluated if evaluated else None,
        "unexpected_percent_total": 100 * unexpected / rows,
        "unexpected_percent_nonmissing": 100 * unexpected / evaluated if evaluated else None,
    }
    return {name: value for name, value in counts.items() if name in outcome}


@dataclass(frozen=True)
class _Distinct:
    """The different values of a frame's judged columns, and which rows hold them.

    An expectation's verdict depends on the value alone (on the pair, where it compares two columns), so that each is
    judged once: Great Expectations costs some ten passes over its frame for every expectation. Columns that are
    compared stand together, as their different combinations.
    """

    rows: int
    groups: dict[str, tuple[pa.RecordBatch, np.ndarray]]  # column -> combinations of its group, and that of each row

    @classmethod
    def of(cls, frame: Frame, expectations: list[dict]) -> "_Distinct":
        together: dict[str, tuple[str, ...]] = {}
        for item in expectations:
            named = [item["kwargs"][key] for key in ("column", "column_A", "column_B") if key in item["kwargs"]]
            joined = tuple(dict.fromkeys(name for other in named for name in together.get(other, (other,))))
            together |= dict.fromkeys(joined, joined)
        made = {names: _combinations(frame, names) for names in dict.fromkeys(together.values())}
        return cls(frame.table.num_rows, {name: made[names] for name, names in sorted(together.items())})

    def data(self) -> pd.DataFrame:
        """One frame for all groups: the shorter ones repeat their first combination."""
        longest = max(batch.num_rows for batch, _ in self.groups.values())
        columns = {}
        for name, (batch, _) in self.groups.items():
            places = np.zeros(longest, dtype=np.int64)
            places[: batch.num_rows] = np.arange(batch.num_rows)
            column = batch.column(name).take(pa.array(places))
            text = pa.types.is_string(column.type)
            columns[name] = (column.dictionary_encode() if text else column).to_pandas()
        return pd.DataFrame(columns)

    def rows_of(self, column: str, bad: np.ndarray) -> np.ndarray:
        """The rows, ascending, that hold a combination of these places of `data`."""
        batch, held = self.groups[column]
        is_bad = np.zeros(batch.num_rows, dtype=bool)
        is_bad[bad[bad < batch.num_rows]] = True
        return np.flatnonzero(is_bad[held]) if is_bad.any() else np.empty(0, dtype=np.int64)

    def count(self, kwargs: Mapping, outcome: Mapping, where: str) -> int:
        """Rows that were judged: those whose value is not missing, by what the expectation takes for missing.

        Raises:
            BrokenExpectation: Great Expectations took others.
        """
        if "missing_count" not in outcome:
            return self.rows
        names = [kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs]
        batch, held = self.groups[names[0]]
        filled = np.array([pc.is_valid(batch.column(name)).to_numpy(zero_copy_only=False) for name in names])
        both = kwargs.get("ignore_row_if") == "both_values_are_missing"
        is_judged = filled.any(axis=0) if both else filled.all(axis=0)
        padding = int(outcome["element_count"]) - len(is_judged)
        expected = int(is_judged.sum()) + padding * int(is_judged[0])
        if expected != int(outcome["element_count"]) - int(outcome["missing_count"] or 0):
            raise BrokenExpectation(f"{where} judged other values than those that are there")
        return int(np.bincount(held, minlength=len(is_judged))[is_judged].sum())


def _combinations(frame: Frame, names: tuple[str, ...]) -> tuple[pa.RecordBatch, np.ndarray]:
    """The different combinations of some columns, and which one each row holds."""
    columns = [frame.column(name) for name in names]
    if len(columns) == 1:
        encoded = columns[0].dictionary_encode(null_encoding="encode")
        return pa.RecordBatch.from_arrays([encoded.dictionary], list(names)), encoded.indices.to_numpy()
    held = np.zeros(frame.table.num_rows, dtype=np.int64)
    for column in columns:
        codes = _codes(column) + 1
        held = pd.factorize(held * (int(codes.max()) + 1) + codes)[0]
    first = np.zeros(int(held.max()) + 1, dtype=np.int64)
    first[held[::-1]] = np.arange(len(held))[::-1]
    return pa.RecordBatch.from_arrays([column.take(pa.array(first)) for column in columns], list(names)), held


def _codes(column: pa.Array) -> np.ndarray:
    return pc.fill_null(column.dictionary_encode().indices, -1).to_numpy(zero_copy_only=False)


def _crashed(info: dict | None) -> bool:
    """exception_info is one mapping, or one a metric."""
    infos = [info or {}, *(value for value in (info or {}).values() if isinstance(value, dict))]
    return any(item.get("raised_exception") for item in infos)
