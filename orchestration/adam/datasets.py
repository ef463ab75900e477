"""The analysis datasets ADSL, ADLB, ADTR, ADRS and ADTTE: which variable renames which column of what is published.

Nothing is derived here but what ADaM itself defines by arithmetic (CHG = AVAL - BASE). Names that no standard has are
few, and their labels say what they hold. Where the rows come from, stands in rows.py: what several datasets have in
common, their rows call by one name.
"""

from orchestration.adam import rows
from orchestration.adam.variables import Dataset, Variable, number_text, study_day, yes, yes_no

_GIVEN = "case when dim_subject.in_treated then dim_subject.regimen end"

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
        Variable("ACTARM", "Description of Actual Arm", _GIVEN),
        Variable("TRT01P", "Planned Treatment for Period 01", "dim_subject.regimen"),
        Variable("TRT01A", "Actual Treatment for Period 01", _GIVEN),
        Variable("ENRLFL", "Enrolled Population Flag", yes_no("dim_subject.enrolled_on is not null")),
        Variable("SAFFL", "Safety Population Flag", yes_no("dim_subject.in_treated")),
        Variable("EFFFL", "Efficacy (Treated, HER2-Low) Pop. Flag", yes_no("dim_subject.in_efficacy")),
        Variable("RESPFL", "Response-Evaluable Population Flag", yes_no("dim_subject.in_response_evaluable")),
        Variable("TRTSDT", "Date of First Exposure to Treatment", "dim_subject.first_dose_on", "date"),
        Variable(
            "TRTSDTF",
            "Date of First Exposure Imput. Flag",
            "case when dim_subject.is_first_dose_imputed then"
            " case length(int_subject_timeline.first_dose_text) when 7 then 'D' else 'M' end end",
        ),
        Variable("TRTEDT", "Date of Last Exposure to Treatment", "dim_subject.last_dose_on", "date"),
        Variable(
            "TRTDURD",
            "Total Treatment Duration (Days)",
            "dim_subject.last_dose_on - dim_subject.first_dose_on + 1",
            "integer",
        ),
        Variable("ENRLDT", "Date of Enrollment", "dim_subject.enrolled_on", "date"),
        Variable("DTHDT", "Date of Death", "dim_subject.death_on", "date"),
        Variable("DTHFL", "Subject Death Flag", yes("dim_subject.death_on is not null")),
        Variable(
            "DTHDTF",
            "Date of Death Imputation Flag",
            "case when dim_subject.death_on is not null and int_deaths.is_imputed then case"
            " when last_day(int_deaths.death_on) = last_day(int_deaths.death_latest_on) then 'D' else 'M' end end",
        ),
        Variable("LSTALVDT", "Date Last Known Alive", "dim_subject.last_alive_on", "date"),
        Variable("EOSSTT", "End of Study Status", "int_study_status.study_status"),
        Variable("EOSDT", "End of Study Date", "int_study_status.ended_on", "date"),
        Variable("DCSREAS", "Reason for Discontinuation from Study", "int_study_status.discontinuation_reason"),
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


_SEQUENCE = Variable("ASEQ", "Analysis Sequence Number", "record.sequence_no", "integer")
_READER = (
    Variable("EVAL", "Evaluator", "record.evaluator"),
    Variable("EVALID", "Evaluator Identifier", "record.reader"),
)
_DAY = (
    Variable("ADT", "Analysis Date", "record.on_date", "date"),
    Variable("ADTF", "Analysis Date Imputation Flag", "imputed_dates.flag"),
    Variable("ADY", "Analysis Relative Day", "record.study_day", "integer"),
    Variable("AVISIT", "Analysis Visit", "record.visit_name"),
    Variable("AVISITN", "Analysis Visit (N)", "visit_numbers.visit_number", "float"),
)
_SOURCE = (
    Variable("SRCDOM", "Source Data", "record.source_domain"),
    Variable("SRCVAR", "Source Variable", "record.source_variable"),
    Variable("SRCSEQ", "Source Sequence Number", "record.source_no", "integer"),
)
_SOURCE_FILE = Variable("SRCFILE", "Source File: SHA-256; SRCSEQ Is Its Row", "record.source_file")
_SOURCE_ROWS = Variable("SRCNROWS", "Number of Rows in the Value", "record.source_rows", "integer")
_EVALUATED = "record.title || coalesce(' by ' || record.evaluator_title, '')"
_CODE = Variable("PARAMCD", "Parameter Code", "concat(record.code, record.suffix)", max_bytes=8)


def _criterion(number: int, column: str) -> tuple[Variable, Variable]:
    text = f"case when record.{column} is not null then protocol.{column} end"
    return (
        Variable(f"CRIT{number}", f"Analysis Criterion {number}", text),
        Variable(f"CRIT{number}FL", f"Criterion {number} Evaluation Result Flag", yes_no(f"record.{column}")),
    )


_ADLB = Dataset(
    "ADLB",
    "Serum HER2 Analysis Dataset",
    rows.ADLB,
    _RECORD,
    (
        *_SUBJECT,
        _SEQUENCE,
        Variable("PARAM", "Parameter", "'Serum HER2 (ng/mL)'"),
        Variable("PARAMCD", "Parameter Code", "'SHER2'"),
        Variable("AVAL", "Analysis Value", "record.analysed_value_ng_ml", "float"),
        Variable("AVALC", "Analysis Value (C)", number_text("record.analysed_value_ng_ml")),
        Variable("AVALU", "Analysis Value Unit", "'ng/mL'"),
        Variable("ANRHI", "Analysis Normal Range Upper Limit", "protocol.cutoff_ng_ml", "float"),
        Variable("ABLFL", "Baseline Record Flag", yes("record.is_baseline")),
        Variable("BASE", "Baseline Value", "record.baseline_ng_ml", "float"),
        Variable("CHG", "Change from Baseline", "record.change_ng_ml", "float"),
        Variable("PCHG", "Percent Change from Baseline", "record.pct_change", "float"),
        Variable("L2RBASE", "Log2 of Ratio to Baseline", "record.log2_ratio", "float"),
        Variable("NADIR", "Lowest Earlier Value", "record.nadir_ng_ml", "float"),
        Variable("PCHGNAD", "Percent Change from Nadir", "record.pct_change_from_nadir", "float"),
        Variable("CHGCAT1", "Change from Baseline Category 1", "record.change_category"),
        *_criterion(1, "is_at_most_77pct"),
        *_criterion(2, "is_fall_55"),
        *_criterion(3, "is_normalised"),
        Variable("ADT", "Analysis Date", "record.collected_on", "date"),
        Variable("ADY", "Analysis Relative Day", "record.study_day", "integer"),
        Variable("VISIT", "Visit Name", "record.visit_name"),
        Variable("AVISIT", "Analysis Visit", "record.analysis_visit_name"),
        Variable("AVISITN", "Analysis Visit (N)", "visit_numbers.visit_number", "float"),
        Variable("ANL01FL", "Analysis Flag 01: Usable Sample", yes("record.is_usable")),
        Variable("ANL02FL", "Analysis Flag 02: Value of the Visit", yes("record.is_visit_value")),
        Variable("EXCLREAS", "Reason Why Sample Is Not Usable", "record.unusable_reason"),
        Variable("BLQFL", "Below Limit of Quantification Flag", yes("record.is_below_lloq")),
        Variable("PSTPDFL", "After Disease Progression Flag", yes("record.is_after_progression")),
        Variable("PSTNTFL", "After New Anticancer Therapy Flag", yes("record.is_after_new_therapy")),
        Variable("LBREFID", "Specimen ID", "record.sample_id"),
        Variable("LBNAM", "Vendor Name", "record.laboratory"),
        Variable("LBMETHOD", "Method of Test or Examination", "record.assay"),
        Variable(
            "LBSTRESC",
            "Character Result/Finding in Std Format",
            f"concat(record.value_operator, {number_text('record.value_ng_ml')})",
        ),
        Variable("LBSTRESN", "Numeric Result/Finding in Standard Units", "record.value_ng_ml", "float"),
        Variable("LBLLOQ", "Lower Limit of Quantitation", "record.lloq_ng_ml", "float"),
        Variable("LBULOQ", "Upper Limit of Quantitation", "record.uloq_ng_ml", "float"),
        *_SOURCE,
        _SOURCE_FILE,
    ),
)

_ADTR = Dataset(
    "ADTR",
    "Tumor Results Analysis Dataset",
    rows.ADTR,
    _RECORD,
    (
        *_SUBJECT,
        _SEQUENCE,
        Variable(
            "PARAM",
            "Parameter",
            "concat(record.title, ' ' || record.lesion_no, ' by ', record.evaluator_title, ' (', record.unit, ')')",
        ),
        Variable("PARAMCD", "Parameter Code", "concat(record.code, record.lesion_no, record.suffix)", max_bytes=8),
        *_READER,
        Variable("TRLNKID", "Link ID", "record.lesion_id"),
        Variable("TULOC", "Location of the Tumor/Lesion", "record.location"),
        Variable("AVAL", "Analysis Value", "record.value", "float"),
        Variable("AVALC", "Analysis Value (C)", f"coalesce({number_text('record.value')}, record.state)"),
        Variable("AVALU", "Analysis Value Unit", "record.unit"),
        Variable("ABLFL", "Baseline Record Flag", yes("record.is_baseline and record.value is not null")),
        Variable("BASETYPE", "Baseline Type", "case when record.baseline_value is not null then record.reader end"),
        Variable("BASE", "Baseline Value", "record.baseline_value", "float"),
        Variable("CHG", "Change from Baseline", "record.value - record.baseline_value", "float"),
        Variable("PCHG", "Percent Change from Baseline", "record.pct_change_from_baseline", "float"),
        Variable("NADIR", "Smallest Earlier Complete Sum", "record.nadir_sum_mm", "float"),
        Variable("CHGNAD", "Change from Nadir", "record.change_from_nadir", "float"),
        Variable("PCHGNAD", "Percent Change from Nadir", "record.pct_change_from_nadir", "float"),
        *_DAY,
        Variable("ANL01FL", "Analysis Flag 01: Accepted Read", yes("record.is_accepted and record.value is not null")),
        *_SOURCE,
        _SOURCE_FILE,
        _SOURCE_ROWS,
    ),
)

_ADRS = Dataset(
    "ADRS",
    "Disease Response Analysis Dataset",
    rows.ADRS,
    _RECORD,
    (
        *_SUBJECT,
        _SEQUENCE,
        Variable("PARAM", "Parameter", _EVALUATED),
        _CODE,
        Variable("EVAL", "Evaluator", "record.evaluator_of_result"),
        Variable("EVALID", "Evaluator Identifier", "record.reader"),
        Variable("AVAL", "Analysis Value", "numbers.number", "integer"),
        Variable("AVALC", "Analysis Value (C)", "record.value"),
        *_DAY,
        Variable(
            "ANL01FL",
            "Analysis Flag 01: Read That Counts",
            yes("record.is_best or record.response_no is not null"),
        ),
        Variable(
            "ANL02FL",
            "Analysis Flag 02: Used in Best Response",
            yes("int_response_sequence.response_no is not null"),
        ),
        *_SOURCE,
        _SOURCE_FILE,
        _SOURCE_ROWS,
    ),
)

_ADTTE = Dataset(
    "ADTTE",
    "Time-to-Event Analysis Dataset",
    rows.ADTTE,
    _RECORD,
    (
        *_SUBJECT,
        _SEQUENCE,
        Variable("PARAM", "Parameter", _EVALUATED),
        _CODE,
        Variable("EVAL", "Evaluator", "record.evaluator_of_time"),
        Variable("AVAL", "Analysis Value", "record.duration_days", "integer"),
        Variable("AVALU", "Analysis Value Unit", "'DAYS'"),
        Variable("AVALMO", "Analysis Value in Months", "record.duration_months", "float"),
        Variable("STARTDT", "Time-to-Event Origin Date for Subject", "record.start_on", "date"),
        Variable("STARTDTF", "Origin Date Imputation Flag", "record.start_flag"),
        Variable("ADT", "Analysis Date", "record.end_on", "date"),
        Variable("ADTF", "Analysis Date Imputation Flag", "record.end_flag"),
        Variable("ADY", "Analysis Relative Day", study_day("record.end_on", "adsl.TRTSDT"), "integer"),
        Variable("CNSR", "Censor", "case when record.is_event then 0 else 1 end", "integer"),
        Variable(
            "EVNTDESC",
            "Event or Censoring Description",
            "coalesce(record.event_description, record.censoring_reason)",
        ),
        Variable(
            "CNSDTDSC",
            "Censor Date Description",
            "case when not record.is_event then case record.source_variable when 'ADT' then 'last adequate assessment'"
            " when 'LSTALVDT' then 'date last known alive' when 'TRTSDT' then 'first dose'"
            " when 'ENRLDT' then 'enrolment' end end",
        ),
        *_SOURCE,
    ),
)

DATASETS = (_ADSL, _ADLB, _ADTR, _ADRS, _ADTTE)
"""In the order in which each may read the ones before."""
