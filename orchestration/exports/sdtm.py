"""The built-in layout `sdtm`: which SDTM variable means which canonical column, and what needs more than renaming.

Variables are those of the SDTM implementation guide. Which domain a file holds is decided in `layouts`.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from orchestration.exports.mapping import Columns, Fields, analyte_keys
from orchestration.exports.values import by_distinct, codes, fold_code, join, nulls, unit_factor

if TYPE_CHECKING:
    from orchestration.study import Study

Headings = tuple[str, ...]
Step = Callable[[Columns, Fields, "Study"], None]


@dataclass(frozen=True)
class Domain:
    """How a domain's variables make a record.

    ``columns``: canonical column -> variables, the first filled one counts. ``needs``: what must be there beyond the
    record's required columns, of each group one. ``dispensable``: required columns that the table may do without.
    ``told_by``: the heading whose rows carry the domain's code. ``step`` and ``finish`` as in `Plan`.
    """

    record: str
    columns: Mapping[str, Headings]
    needs: tuple[Headings, ...] = ()
    dispensable: frozenset[str] = frozenset()
    told_by: tuple[str, str] | None = None
    step: Step | None = None
    finish: Callable[[pa.Table], pa.Table] | None = None


def domains(variables: Collection[str]) -> dict[str, Domain]:
    """The domains that are read, for a table with these variables.

    TR takes value and unit from one pair, whichever the table has, so that no unit is put to another column's number.
    """
    pair = ("TRORRES", "TRORRESU") if "TRORRES" in variables else ("TRSTRESC", "TRSTRESU")
    return {
        "DM": Domain(
            "subjects",
            _subject(
                site_id="SITEID",
                age_years="AGE",
                sex="SEX",
                regimen=("ACTARM", "ARM"),
                enrolled_on="RFICDTC",
                reference_start_on="RFSTDTC",
                death_on="DTHDTC",
                death_flag="DTHFL",
            ),
            step=_answers,
        ),
        "MI": Domain(
            "subjects", _subject(), (("MITESTCD",), ("MISTRESC", "MIORRES")), step=_microscopy, finish=_either_receptor
        ),
        "SUPPDM": Domain("subjects", _subject(), (("QNAM",), ("QVAL",)), told_by=("RDOMAIN", "DM"), step=_supplement),
        "EX": Domain(
            "exposures",
            _subject(
                treatment="EXTRT",
                dose="EXDOSE",
                dose_unit="EXDOSU",
                start_on="EXSTDTC",
                started_at="EXSTDTC",
                end_on="EXENDTC",
                occurred="EXOCCUR",
            ),
            step=_exposure,
        ),
        "SV": Domain("visits", _subject(visit_name="VISIT", visit_number="VISITNUM", visit_on="SVSTDTC")),
        "LB": Domain(
            "lab_results",
            _subject(
                sample_id=("LBREFID", "LBSPID"),
                analyte="LBTESTCD",
                value="LBORRES",
                unit="LBORRESU",
                collected_at="LBDTC",
                reported_at="LBRPTDTC",
                result_status=("LBRSTAT", "LBSTAT"),
                visit_name="VISIT",
                specimen="LBSPEC",
                laboratory="LBNAM",
                assay=("LBMETHOD", "LBANMETH"),
                lloq="LBLLOQ",
                uloq="LBULOQ",
            ),
            step=_laboratory,
        ),
        "TU": Domain(
            "tumor_identifications",
            _subject(
                lesion_id="TULNKID",
                role=("TUSTRESC", "TUORRES"),
                location="TULOC",
                method="TUMETHOD",
                identified_on="TUDTC",
                visit_name="VISIT",
                **_reader("TU"),
            ),
            dispensable=frozenset({"identified_on"} if "VISIT" in variables else ()),
        ),
        "TR": Domain(
            "tumor_measurements",
            _subject(
                lesion_id="TRLNKID",
                test="TRTESTCD",
                value=pair[0],
                unit=pair[1],
                assessed_on="TRDTC",
                visit_name="VISIT",
                status="TRSTAT",
                method="TRMETHOD",
                **_reader("TR"),
            ),
        ),
        "RS": Domain(
            "tumor_responses",
            _subject(
                test="RSTESTCD",
                value=("RSSTRESC", "RSORRES"),
                assessed_on="RSDTC",
                visit_name="VISIT",
                lesion_id="RSLNKID",
                **_reader("RS"),
            ),
            step=_criteria,
        ),
        "DS": Domain("dispositions", _subject(category="DSCAT", term=("DSDECOD", "DSTERM"), occurred_on="DSSTDTC")),
        "CM": Domain("therapies", _subject(treatment="CMTRT", category="CMCAT", started_on="CMSTDTC")),
        "SS": Domain("survival_status", _subject(status=("SSSTRESC", "SSORRES"), assessed_on="SSDTC"), step=_survival),
    }


def _subject(**columns: str | Headings) -> dict[str, Headings]:
    columns = {"subject_id": "USUBJID", **columns}
    return {name: (found,) if isinstance(found, str) else found for name, found in columns.items()}


def _reader(domain: str) -> dict[str, str]:
    return {"evaluator": f"{domain}EVAL", "reader": f"{domain}EVALID", "accepted": f"{domain}ACPTFL"}


def _answers(picked: Columns, fields: Fields, study: "Study") -> None:
    """A question that the table asks and a row leaves open is not the same as one that nobody asked."""
    for column, heading in (("death_flag", "DTHFL"), ("occurred", "EXOCCUR")):
        if column in picked and fields.asks(heading):
            picked[column] = pc.fill_null(picked[column], "BLANK")


def _exposure(picked: Columns, fields: Fields, study: "Study") -> None:
    """EXSTDTC is a day or an instant; only an instant is a start time."""
    _answers(picked, fields, study)
    start = picked["started_at"]
    picked["started_at"] = pc.if_else(pc.match_substring_regex(start, r"T\d\d:?\d\d"), start, None)


def _laboratory(picked: Columns, fields: Fields, study: "Study") -> None:
    """A LOINC code of the study names the analyte best; limits are given in the unit of the standardised result."""
    loinc = fields["LBLOINC"]
    known = analyte_keys(loinc, nulls(fields.rows), study)
    picked["analyte"] = pc.coalesce(pc.if_else(pc.is_valid(known), loinc, None), picked["analyte"])
    standard = fields["LBSTRESU"]
    for name in ("lloq", "uloq"):
        if picked[name].null_count < fields.rows:
            other = pc.fill_null(pc.not_equal(standard, picked["unit"]), False)
            triple = pc.if_else(other, join(picked[name], "\n", standard, "\n", picked["unit"]), None)
            picked[name] = pc.coalesce(by_distinct(triple, _in_original_unit), picked[name])


def _in_original_unit(triple: str) -> str | None:
    """None leaves the limit as it stands: no number, or units of unlike quantities."""
    limit, standard, original = triple.split("\n")
    known, wanted = unit_factor(standard), unit_factor(original)
    if not known or not wanted or known[0] != wanted[0] or not limit.replace(".", "", 1).isdecimal():
        return None
    return format(Decimal(limit) * known[1] / wanted[1], "f")


def _criteria(picked: Columns, fields: Fields, study: "Study") -> None:
    """A response by other criteria, or another scale, carries its category in the test and so is not used."""
    category = fields["RSCAT"]
    is_recist = by_distinct(category, lambda text: "".join(fold_code(text).split()) in _RECIST, pa.bool_())
    other = join(category, ":", picked["test"])
    picked["test"] = pc.if_else(pc.fill_null(is_recist, True), picked["test"], pc.coalesce(other, category))


_RECIST = frozenset({"RECIST1.1", "RECISTV1.1", "RECISTVERSION1.1"})


def _survival(picked: Columns, fields: Fields, study: "Study") -> None:
    """Only SURVSTAT tells alive or dead; other tests keep their name before the value."""
    other = pc.fill_null(pc.not_equal(pc.utf8_upper(fields["SSTESTCD"]), "SURVSTAT"), False)
    picked["status"] = pc.if_else(other, join(fields["SSTESTCD"], ":", picked["status"]), picked["status"])


def _microscopy(picked: Columns, fields: Fields, study: "Study") -> None:
    """MI: HER2 by its method, oestrogen and progesterone receptors together as hormone receptor status."""
    test, method = pc.utf8_upper(fields["MITESTCD"]), pc.utf8_upper(fields["MIMETHOD"])
    result = fields.first_filled(("MISTRESC", "MIORRES"))
    is_her2 = pc.equal(test, "HER2")
    hybridised = pc.fill_null(pc.match_substring_regex(method, r"ISH\b|HYBRIDI[SZ]ATION"), False)
    by_score = pc.match_substring_regex(result, r"^[0-3]\+?$")  # tells the method where none is given
    stained = pc.coalesce(pc.match_substring_regex(method, r"IHC|IMMUNOHISTO"), by_score)
    picked["ihc_score"] = pc.if_else(pc.and_(is_her2, stained), result, None)
    picked["ish_status"] = pc.if_else(pc.and_(is_her2, hybridised), result, None)
    picked["her2_tested_on"] = pc.if_else(is_her2, fields["MIDTC"], None)
    picked["hormone_receptor_status"] = pc.if_else(pc.is_in(test, pa.array(["ESTRCPT", "PROGESTR"])), result, None)


def _either_receptor(table: pa.Table) -> pa.Table:
    """Hormone receptor status is positive when one of the two receptors is: say so in all rows of the subject."""
    status = table["hormone_receptor_status"]
    positive = table["subject_id"].filter(pc.equal(status, "POSITIVE")).combine_chunks()
    either = pc.and_(pc.is_valid(status), pc.is_in(table["subject_id"], positive))
    place = table.column_names.index("hormone_receptor_status")
    return table.set_column(place, "hormone_receptor_status", pc.if_else(either, "POSITIVE", status))


def _supplement(picked: Columns, fields: Fields, study: "Study") -> None:
    """SUPPDM: name and value; names that we do not know give a row without further columns."""
    name, value = codes(fields["QNAM"]), fields["QVAL"]
    for column, known in (("ihc_score", "IHCSCORE"), ("ish_status", "ISHSTAT"), ("hormone_receptor_status", "HRSTAT")):
        picked[column] = pc.if_else(pc.equal(name, known), value, None)
