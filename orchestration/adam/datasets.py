"""The analysis datasets ADSL, ADLB, ADTR, ADRS and ADTTE: which variable renames which column of what is published.

Nothing is derived here but what ADaM itself defines by arithmetic (CHG = AVAL - BASE). Names that no standard has are
few, and their labels say what they hold. Where the rows come from, stands in rows.py.
"""

from orchestration.adam import rows
from orchestration.adam.variables import Dataset, Variable, yes, yes_no

_ADSL = Dataset(
    "ADSL",
    "Subject-Level Analysis Dataset",
    rows.ADSL,
    ("STUDYID", "USUBJID"),
    (
        Variable("STUDYID", "Study Identifier", "protocol.study_id"),
        Variable("USUBJID", "Unique Subject Identifier", "dim_subject.subject_id"),
        Variable("SUBJID", "Subject Identifier for the Study", "dim_subject.subject_id"),
        Variable("SITEID", "Study Site Identifier", "dim_subject.site_id"),
        Variable("AGE", "Age", "dim_subject.age_years", "integer"),
        Variable("AGEU", "Age Units", "case when dim_subject.age_years is not null then 'YEARS' end"),
        Variable("SEX", "Sex", "dim_subject.sex"),
        Variable("ARM", "Description of Planned Arm", "dim_subject.regimen"),
        Variable("TRT01P", "Planned Treatment for Period 01", "dim_subject.regimen"),
        Variable(
            "TRT01A",
            "Actual Treatment for Period 01",
            "case when dim_subject.in_treated then dim_subject.regimen end",
        ),
        Variable("SAFFL", "Safety Population Flag", yes_no("dim_subject.in_treated")),
        Variable("EFFFL", "Efficacy (Treated, HER2-Low) Pop. Flag", yes_no("dim_subject.in_efficacy")),
        Variable("RESPFL", "Response-Evaluable Population Flag", yes_no("dim_subject.in_response_evaluable")),
        Variable("TRTSDT", "Date of First Exposure to Treatment", "dim_subject.first_dose_on", "date"),
        Variable("TRTEDT", "Date of Last Exposure to Treatment", "dim_subject.last_dose_on", "date"),
        Variable("ENRLDT", "Date of Enrollment", "dim_subject.enrolled_on", "date"),
        Variable("DTHDT", "Date of Death", "dim_subject.death_on", "date"),
        Variable("DTHFL", "Subject Death Flag", yes("dim_subject.death_on is not null")),
        Variable(
            "DTHIMPFL",
            "Date of Death Imputed Flag",
            yes("dim_subject.death_on is not null and int_deaths.is_imputed"),
        ),
        Variable("LSTALVDT", "Date Last Known Alive", "dim_subject.last_alive_on", "date"),
        Variable("NACTDT", "Date of New Anticancer Therapy", "dim_subject.new_therapy_on", "date"),
        Variable("DISCDT", "Date of First Discontinuation", "dim_subject.discontinued_on", "date"),
        Variable("DISCREAS", "Reason for First Discontinuation", "dim_subject.discontinuation_reason"),
        Variable("DCUTDT", "Date of Data Cut-off", "int_data_cutoff.cutoff_on", "date"),
        Variable("IHCSCORE", "IHC Score of Tumor HER2", "dim_subject.ihc_score"),
        Variable("ISHSTAT", "ISH Status of Tumor HER2", "dim_subject.ish_status"),
        Variable("HER2STAT", "HER2 Status of the Tumor", "dim_subject.her2_status"),
        Variable("HER2LOFL", "HER2-Low Flag", yes_no("dim_subject.is_her2_low")),
        Variable("HRSTAT", "Hormone Receptor Status", "dim_subject.hormone_receptor_status"),
    ),
)

_SUBJECT = (
    Variable("STUDYID", "Study Identifier", "adsl.STUDYID"),
    Variable("USUBJID", "Unique Subject Identifier", "adsl.USUBJID"),
    Variable("SUBJID", "Subject Identifier for the Study", "adsl.SUBJID"),
    Variable("SITEID", "Study Site Identifier", "adsl.SITEID"),
    Variable("TRTP", "Planned Treatment", "adsl.TRT01P"),
    Variable("TRTA", "Actual Treatment", "adsl.TRT01A"),
    Variable("TRTSDT", "Date of First Exposure to Treatment", "adsl.TRTSDT", "date"),
    Variable("SAFFL", "Safety Population Flag", "adsl.SAFFL"),
    Variable("EFFFL", "Efficacy (Treated, HER2-Low) Pop. Flag", "adsl.EFFFL"),
    Variable("RESPFL", "Response-Evaluable Population Flag", "adsl.RESPFL"),
)
_RECORD = ("STUDYID", "USUBJID", "ASEQ")


def _sequence(order: str) -> Variable:
    number = f"row_number() over (partition by adsl.USUBJID order by {order})"
    return Variable("ASEQ", "Analysis Sequence Number", number, "integer")


def _criterion(number: int, column: str) -> tuple[Variable, Variable]:
    text = f"case when fct_her2_delta.{column} is not null then protocol.{column} end"
    return (
        Variable(f"CRIT{number}", f"Analysis Criterion {number}", text),
        Variable(f"CRIT{number}FL", f"Criterion {number} Evaluation Result Flag", yes_no(f"fct_her2_delta.{column}")),
    )


_ADLB = Dataset(
    "ADLB",
    "Serum HER2 Analysis Dataset",
    rows.ADLB,
    _RECORD,
    (
        *_SUBJECT,
        _sequence(
            "fct_her2_delta.collected_on, fct_her2_delta.collected_at, fct_her2_delta.laboratory,"
            " fct_her2_delta.sample_id"
        ),
        Variable("PARAM", "Parameter", "'Serum HER2 (ng/mL)'"),
        Variable("PARAMCD", "Parameter Code", "'SHER2'"),
        Variable("AVAL", "Analysis Value", "fct_her2_delta.analysed_value_ng_ml", "float"),
        Variable("AVALU", "Analysis Value Unit", "'ng/mL'"),
        Variable("ABLFL", "Baseline Record Flag", yes("fct_her2_delta.is_baseline")),
        Variable("BASE", "Baseline Value", "fct_her2_delta.baseline_ng_ml", "float"),
        Variable("CHG", "Change from Baseline", "fct_her2_delta.change_ng_ml", "float"),
        Variable("PCHG", "Percent Change from Baseline", "fct_her2_delta.pct_change", "float"),
        Variable("L2RBASE", "Log2 of Ratio to Baseline", "fct_her2_delta.log2_ratio", "float"),
        Variable("NADIR", "Lowest Earlier Value", "fct_her2_delta.nadir_ng_ml", "float"),
        Variable("PCHGNAD", "Percent Change from Nadir", "fct_her2_delta.pct_change_from_nadir", "float"),
        Variable("CHGCAT1", "Change from Baseline Category 1", "fct_her2_delta.change_category"),
        *_criterion(1, "is_at_most_77pct"),
        *_criterion(2, "is_fall_55"),
        *_criterion(3, "is_normalised"),
        Variable("ADT", "Analysis Date", "fct_her2_delta.collected_on", "date"),
        Variable("ADY", "Analysis Relative Day", "fct_her2_delta.study_day", "integer"),
        Variable("VISIT", "Visit Name", "fct_her2_delta.visit_name"),
        Variable("AVISIT", "Analysis Visit", "fct_her2_delta.analysis_visit_name"),
        Variable("AVISITN", "Analysis Visit (N)", "visit_numbers.visit_number", "float"),
        Variable("ANL01FL", "Analysis Flag 01: Usable Sample", yes("fct_her2_delta.is_usable")),
        Variable("ANL02FL", "Analysis Flag 02: Value of the Visit", yes("fct_her2_delta.is_visit_value")),
        Variable("EXCLREAS", "Reason Why Sample Is Not Usable", "fct_her2_delta.unusable_reason"),
        Variable("BLQFL", "Below Limit of Quantification Flag", yes("fct_her2_delta.is_below_lloq")),
        Variable("PSTPDFL", "After Disease Progression Flag", yes("fct_her2_delta.is_after_progression")),
        Variable("PSTNTFL", "After New Anticancer Therapy Flag", yes("fct_her2_delta.is_after_new_therapy")),
        Variable("LBREFID", "Specimen ID", "fct_her2_delta.sample_id"),
        Variable("LBNAM", "Vendor Name", "fct_her2_delta.laboratory"),
        Variable("LBMETHOD", "Method of Test or Examination", "fct_her2_delta.assay"),
        Variable(
            "LBSTRESC",
            "Character Result/Finding in Std Format",
            "concat(fct_her2_delta.value_operator,"
            " rtrim(rtrim(cast(fct_her2_delta.value_ng_ml as varchar), '0'), '.'))",
        ),
        Variable("LBSTRESN", "Numeric Result/Finding in Standard Units", "fct_her2_delta.value_ng_ml", "float"),
        Variable("LBLLOQ", "Lower Limit of Quantitation", "fct_her2_delta.lloq_ng_ml", "float"),
        Variable("LBULOQ", "Upper Limit of Quantitation", "fct_her2_delta.uloq_ng_ml", "float"),
        Variable("SRCDOM", "Source Data", "case when stg_lab_results._file_id is not null then 'LB' end"),
        Variable("SRCVAR", "Source Variable", "case when stg_lab_results._file_id is not null then 'LBORRES' end"),
        Variable("SRCSEQ", "Source Sequence: Row Number in SRCFILE", "stg_lab_results._row_number", "integer"),
        Variable("SRCFILE", "Source File: SHA-256 as in ops.files", "stg_lab_results._file_id"),
    ),
)

_ADTR = Dataset(
    "ADTR",
    "Tumor Results Analysis Dataset",
    rows.ADTR,
    _RECORD,
    (
        *_SUBJECT,
        _sequence(
            "parameters.position, evaluators.suffix, sizes.lesion_no, sizes.reader, sizes.on_date, sizes.assessment_no"
        ),
        Variable(
            "PARAM",
            "Parameter",
            "concat(parameters.title, ' ' || sizes.lesion_no, ' by ', evaluators.title, ' (', sizes.unit, ')')",
        ),
        Variable("PARAMCD", "Parameter Code", "concat(parameters.code, sizes.lesion_no, evaluators.suffix)"),
        Variable("EVAL", "Evaluator", "sizes.evaluator"),
        Variable("EVALID", "Evaluator Identifier", "sizes.reader"),
        Variable("TRLNKID", "Link ID", "sizes.lesion_id"),
        Variable("TULOC", "Location of the Tumor/Lesion", "sizes.location"),
        Variable("AVAL", "Analysis Value", "sizes.value", "float"),
        Variable("AVALU", "Analysis Value Unit", "sizes.unit"),
        Variable("ABLFL", "Baseline Record Flag", yes("sizes.is_baseline and sizes.value is not null")),
        Variable("BASETYPE", "Baseline Type", "case when sizes.baseline_value is not null then sizes.reader end"),
        Variable("BASE", "Baseline Value", "sizes.baseline_value", "float"),
        Variable("CHG", "Change from Baseline", "sizes.value - sizes.baseline_value", "float"),
        Variable("PCHG", "Percent Change from Baseline", "sizes.pct_change_from_baseline", "float"),
        Variable("NADIR", "Smallest Earlier Complete Sum", "sizes.nadir_sum_mm", "float"),
        Variable("PCHGNAD", "Percent Change from Nadir", "sizes.pct_change_from_nadir", "float"),
        Variable("ADT", "Analysis Date", "sizes.on_date", "date"),
        Variable("ADTF", "Analysis Date Imputation Flag", "imputed_dates.flag"),
        Variable("ADY", "Analysis Relative Day", "sizes.study_day", "integer"),
        Variable("AVISIT", "Analysis Visit", "sizes.visit_name"),
        Variable("AVISITN", "Analysis Visit (N)", "visit_numbers.visit_number", "float"),
        Variable("ANL01FL", "Analysis Flag 01: Accepted Read", yes("sizes.is_accepted and sizes.value is not null")),
    ),
)

_ADRS = Dataset(
    "ADRS",
    "Disease Response Analysis Dataset",
    rows.ADRS,
    _RECORD,
    (
        *_SUBJECT,
        Variable("ASEQ", "Analysis Sequence Number", "results.sequence_no", "integer"),
        Variable("PARAM", "Parameter", "concat(results.title, ' by ', results.evaluator_title)"),
        Variable("PARAMCD", "Parameter Code", "concat(results.code, results.suffix)"),
        Variable("EVAL", "Evaluator", "results.evaluator"),
        Variable("EVALID", "Evaluator Identifier", "results.reader"),
        Variable("AVAL", "Analysis Value", "numbers.number", "integer"),
        Variable("AVALC", "Analysis Value (C)", "results.value"),
        Variable("ADT", "Analysis Date", "results.on_date", "date"),
        Variable("ADTF", "Analysis Date Imputation Flag", "imputed_dates.flag"),
        Variable("ADY", "Analysis Relative Day", "results.study_day", "integer"),
        Variable("AVISIT", "Analysis Visit", "results.visit_name"),
        Variable("AVISITN", "Analysis Visit (N)", "visit_numbers.visit_number", "float"),
        Variable(
            "ANL01FL",
            "Analysis Flag 01: Read That Counts",
            yes("results.is_best or results.response_no is not null"),
        ),
        Variable(
            "ANL02FL",
            "Analysis Flag 02: Used in Best Response",
            yes("int_response_sequence.response_no is not null"),
        ),
        Variable("SRCDOM", "Source Data", "case when results.source_no is not null then 'ADRS' end"),
        Variable("SRCVAR", "Source Variable", "case when results.source_no is not null then 'AVALC' end"),
        Variable("SRCSEQ", "Source Sequence Number", "results.source_no", "integer"),
    ),
)

_ADTTE = Dataset(
    "ADTTE",
    "Time-to-Event Analysis Dataset",
    rows.ADTTE,
    _RECORD,
    (
        *_SUBJECT,
        _sequence("parameters.position, fct_time_to_event.suffix"),
        Variable(
            "PARAM",
            "Parameter",
            "concat(parameters.title,"
            " case when parameters.is_by_evaluator then ' by ' || fct_time_to_event.evaluator_title end)",
        ),
        Variable("PARAMCD", "Parameter Code", "concat(parameters.code, fct_time_to_event.suffix)"),
        Variable("EVAL", "Evaluator", "case when parameters.is_by_evaluator then fct_time_to_event.evaluator end"),
        Variable("AVAL", "Analysis Value", "fct_time_to_event.duration_days", "integer"),
        Variable("AVALU", "Analysis Value Unit", "'DAYS'"),
        Variable("AVALMO", "Analysis Value in Months", "fct_time_to_event.duration_months", "float"),
        Variable("STARTDT", "Time-to-Event Origin Date for Subject", "fct_time_to_event.start_on", "date"),
        Variable("ADT", "Analysis Date", "fct_time_to_event.end_on", "date"),
        Variable(
            "ADTIMPFL",
            "Analysis Date Imputed Flag",
            yes(
                "(fct_time_to_event.source_variable = 'ADT' and fct_time_to_event.assessment_flag is not null)"
                " or (fct_time_to_event.source_variable = 'DTHDT' and adsl.DTHIMPFL = 'Y')"
            ),
        ),
        Variable("CNSR", "Censor", "case when fct_time_to_event.is_event then 0 else 1 end", "integer"),
        Variable(
            "EVNTDESC",
            "Event or Censoring Description",
            "coalesce(fct_time_to_event.event_description, fct_time_to_event.censoring_reason)",
        ),
        Variable(
            "CNSDTDSC",
            "Censor Date Description",
            "case when not fct_time_to_event.is_event then case fct_time_to_event.source_variable"
            " when 'ADT' then 'last adequate assessment' when 'LSTALVDT' then 'date last known alive'"
            " when 'TRTSDT' then 'first dose' when 'ENRLDT' then 'enrolment' end end",
        ),
        Variable(
            "SRCDOM",
            "Source Data",
            "case when fct_time_to_event.source_variable = 'ADT' then 'ADRS'"
            " when fct_time_to_event.source_variable is not null then 'ADSL' end",
        ),
        Variable("SRCVAR", "Source Variable", "fct_time_to_event.source_variable"),
        Variable(
            "SRCSEQ",
            "Source Sequence Number",
            "case when fct_time_to_event.source_variable = 'ADT' then fct_time_to_event.assessment_no end",
            "integer",
        ),
    ),
)

DATASETS = (_ADSL, _ADLB, _ADTR, _ADRS, _ADTTE)
"""In the order in which each may read the ones before."""
