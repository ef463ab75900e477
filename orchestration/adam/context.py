"""Small temporary tables beside the published file, from which the datasets take codes, titles and evaluators."""

import duckdb

from orchestration.adam.codes import (
    ASSESSMENTS,
    BEST_RESPONSES,
    NOT_BY_EVALUATOR,
    OF_SUBJECT,
    RESPONSE_NUMBERS,
    SIZES,
    TIMES,
)
from orchestration.errors import UserError
from orchestration.study import Study

EVALUATOR_LETTERS = "BCDEFGHIJKLMNOPQ"
"""Ends the PARAMCD of the evaluators beside the study's own; R would make OVR the reported OVRR."""


def write_context(connection: duckdb.DuckDBPyConnection, study: Study) -> None:
    """Create the temporary tables that the datasets read.

    protocol (one row): study_id, evaluator, cutoff_ng_ml, and the texts of the criteria, each under the column of the
        mart that it explains
    evaluators: evaluator, suffix of its PARAMCD ('' for the study's own), title
    parameters: dataset, key in the mart, PARAMCD, position, title, is_by_evaluator
    numbers: value, number (AVAL of ADRS)
    visit_numbers: visit_name, visit_number, where the study gives each name one number of its own
    imputed_dates: subject_id, evaluator, reader, on_date, flag (D or M: the day, or day and month, are imputed)

    Raises:
        UserError: more evaluators than PARAMCD can tell apart.
    """
    _write_protocol(connection, study)
    _write_evaluators(connection, study)
    _write_parameters(connection, study)
    connection.execute("create temp table numbers (value varchar, number integer)")
    connection.executemany("insert into numbers values (?, ?)", list(RESPONSE_NUMBERS.items()))
    connection.execute(
        """create temp table visit_numbers as
            with numbered as (
                select visit_name, min(visit_number) as visit_number
                from marts.fct_visit
                where visit_number is not null
                group by visit_name
                having count(distinct visit_number) = 1
            )
            select visit_name, visit_number
            from numbered
            where visit_number in (select visit_number from numbered group by visit_number having count(*) = 1)"""
    )
    connection.execute(
        """create temp table imputed_dates as
            select
                subject_id, evaluator, reader, seen_on as on_date,
                case when min(length(on_text)) = 7 then 'D' else 'M' end as flag
            from intermediate.int_assessment_visits
            group by subject_id, evaluator, reader, seen_on
            having bool_and(is_imputed)"""
    )


def _write_protocol(connection: duckdb.DuckDBPyConnection, study: Study) -> None:
    thresholds = study.analysis.change_thresholds_pct
    texts = {
        "study_id": study.study.id,
        "evaluator": study.response.evaluator,
        "cutoff_ng_ml": str(study.analytes.serum_her2.cutoff_ng_ml),
        "is_at_most_77pct": f"At most {thresholds.at_most_of_baseline} % of baseline",
        "is_fall_55": f"Fallen by at least {thresholds.deep_fall} % from baseline",
        "is_normalised": f"Below {study.analytes.serum_her2.cutoff_ng_ml:g} ng/mL after a baseline at or above it",
    }
    connection.execute(f"create temp table protocol ({', '.join(f'{name} varchar' for name in texts)})")
    connection.execute(f"insert into protocol values ({', '.join('?' * len(texts))})", list(texts.values()))


def _write_evaluators(connection: duckdb.DuckDBPyConnection, study: Study) -> None:
    own = study.response.evaluator
    others = connection.execute(
        """select evaluator from marts.fct_best_response union select evaluator from marts.fct_response
            except select ? order by evaluator""",
        [own],
    ).fetchall()
    if len(others) > len(EVALUATOR_LETTERS):
        raise UserError(
            f"export: {len(others) + 1} evaluators assessed, and PARAMCD tells {len(EVALUATOR_LETTERS) + 1} apart."
            " Map their spellings to fewer under sources: codes: evaluator in study.yaml."
        )
    named = [(own, "")] + [(name, letter) for (name,), letter in zip(others, EVALUATOR_LETTERS)]
    connection.execute("create temp table evaluators (evaluator varchar, suffix varchar, title varchar)")
    rows = [(name, suffix, name.title()) for name, suffix in named]
    connection.executemany("insert into evaluators values (?, ?, ?)", rows)


def _write_parameters(connection: duckdb.DuckDBPyConnection, study: Study) -> None:
    rules = study.endpoints.pfs.rules
    names = {"rules": rules.upper(), "other_rules": "EMA" if rules == "fda" else "FDA"}
    coded = [("ADTR", code, code, title) for code, title in SIZES]
    coded += [("ADRS", code, code, title) for code, title, *_ in ASSESSMENTS + BEST_RESPONSES + OF_SUBJECT]
    coded += [("ADTTE", endpoint, code, title.format(**names)) for code, title, endpoint in TIMES]
    connection.execute(
        "create temp table parameters"
        " (dataset varchar, key varchar, code varchar, title varchar, position integer, is_by_evaluator boolean)"
    )
    rows = [(*parameter, position, parameter[2] not in NOT_BY_EVALUATOR) for position, parameter in enumerate(coded)]
    connection.executemany("insert into parameters values (?, ?, ?, ?, ?, ?)", rows)
