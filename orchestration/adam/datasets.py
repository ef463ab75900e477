"""The analysis datasets ADSL, ADLB, ADTR, ADRS and ADTTE: which variable renames which column of what is published.

Rules live in dbt: nothing is derived here beyond what ADaM itself defines by arithmetic (CHG = AVAL - BASE) and the
numbers and codes that stand for words. A date that needs an origin (ADY, AVISIT of a best response) is looked up at the
assessment that it came from. Names that no standard has are few and their labels say what they hold.

The FROM clauses read, besides the published schemas, the temporary tables of ``context``:
protocol (one row), evaluators, parameters, numbers, visit_numbers, imputed_dates, and the datasets built before.
"""

from orchestration.adam.variables import Dataset, Variable, yes, yes_no

RESPONSE_NUMBERS = {
    "CR": 1, "PR": 2, "SD": 3, "NON-CR/NON-PD": 4, "PD": 5, "NE": 6, "MISSING": 7, "Y": 1, "N": 0, "YES": 1, "NO": 0,
}  # fmt: skip
"""AVAL of ADRS: the order that oncology ADaM uses; NA and EQUIVOCAL stand for no number."""

# (PARAMCD, PARAM, column of marts.fct_response)
ASSESSMENTS = (
    ("OVR", "Overall Response", "overall_response"),
    ("OVRR", "Reported Overall Response", "reported_response"),
    ("TRGRESP", "Target Response", "target_response"),
    ("NTGRESP", "Non-Target Response", "non_target_response"),
    ("NEWLES", "New Lesion", "new_lesion"),
)
# (PARAMCD, PARAM, column of marts.fct_best_response, column with its date)
BEST_RESPONSES = (
    ("BOR", "Best Overall Response (Unconfirmed)", "best_overall_response", "best_overall_response_on"),
    ("CBOR", "Confirmed Best Overall Response", "confirmed_best_overall_response", "confirmed_best_overall_response_on"),
    ("RSP", "Response (Unconfirmed)", "is_responder", "first_response_on"),
    ("CRSP", "Confirmed Response", "is_confirmed_responder", "confirmed_response_on"),
    ("DCR", "Disease Control", "has_disease_control", None),
    ("CB", "Clinical Benefit", "has_clinical_benefit", None),
)
TUMOUR_SIZES = (
    ("SDIAM", "Sum of Diameters of Target Lesions"),
    ("SDIAMI", "Incomplete Sum of Diameters of Target Lesions"),
    ("LDIAM", "Diameter of Target Lesion"),
    ("BSTPCHG", "Best Percent Change in Sum of Diameters"),
)
# (PARAMCD, PARAM, endpoint of marts.fct_time_to_event)
TIMES = (
    ("PFS", "Progression-Free Survival", "PFS"),
    ("PFSOTH", "Progression-Free Survival, Other Rules", "PFS_OTHER_RULES"),
    ("OS", "Overall Survival", "OS"),
    ("RSD", "Duration of Confirmed Response", "DOR"),
    ("RSDU", "Duration of Unconfirmed Response", "DOR_UNCONFIRMED"),
    ("TTR", "Time to Response", "TTR"),
)

_ADSL = Dataset(
    "ADSL",
    "Subject-Level Analysis Dataset",
    """marts.dim_subject as dim_subject
        cross join protocol
        cross join intermediate.int_data_cutoff as int_data_cutoff
        left join intermediate.int_deaths as int_deaths on dim_subject.subject_id = int_deaths.subject_id""",
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
        Variable("TRT01A", "Actual Treatment for Period 01", "case when dim_subject.in_treated then dim_subject.regimen end"),
        Variable("SAFFL", "Safety Population Flag", yes_no("dim_subject.in_treated")),
        Variable("EFFFL", "Efficacy (Treated, HER2-Low) Pop. Flag", yes_no("dim_subject.in_efficacy")),
        Variable("RESPFL", "Response-Evaluable Population Flag", yes_no("dim_subject.in_response_evaluable")),
        Variable("TRTSDT", "Date of First Exposure to Treatment", "dim_subject.first_dose_on", "date"),
        Variable("TRTEDT", "Date of Last Exposure to Treatment", "dim_subject.last_dose_on", "date"),
        Variable("ENRLDT", "Date of Enrollment", "dim_subject.enrolled_on", "date"),
        Variable("DTHDT", "Date of Death", "dim_subject.death_on", "date"),
        Variable("DTHFL", "Subject Death Flag", yes("dim_subject.death_on is not null")),
        Variable("DTHIMPFL", "Date of Death Imputed Flag", yes("dim_subject.death_on is not null and int_deaths.is_imputed")),
        Variable("LSTALVDT", "Date Last Known Alive", "dim_subject.last_alive_on", "date"),
        Variable("NACTDT", "Date of New Anticancer Therapy", "dim_subject.new_therapy_on", "date"),
        Variable("DISCDT", "Date of First Discontinuation", "dim_subject.discontinued_on", "date"),
        Variable("DISCREAS", "Reason for First Discontinuation", "dim_subject.discontinuation_reason"),
        Variable("DCUTDT", "Date of Data Cut-off", "int_data_cutoff.cutoff_on", "date"),
        Variable("IHCSCORE", "IHC Score of Tumour HER2", "dim_subject.ihc_score"),
        Variable("ISHSTAT", "ISH Status of Tumour HER2", "dim_subject.ish_status"),
        Variable("HER2STAT", "HER2 Status of the Tumour", "dim_subject.her2_status"),
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
_RECORD_KEYS = ("STUDYID", "USUBJID", "ASEQ")


def _sequence(order: str) -> Variable:
    return Variable("ASEQ", "Analysis Sequence Number", f"row_number() over (partition by adsl.USUBJID order by {order})", "integer")


def _criterion(number: int, flag: str) -> tuple[Variable, Variable]:
    text = f"case when fct_her2_delta.{flag} is not null then protocol.{flag} end"
    return (
        Variable(f"CRIT{number}", f"Analysis Criterion {number}", text),
        Variable(f"CRIT{number}FL", f"Criterion {number} Evaluation Result Flag", yes_no(f"fct_her2_delta.{flag}")),
    )


_ADLB = Dataset(
    "ADLB",
    "Serum HER2 Analysis Dataset",
    """marts.fct_her2_delta as fct_her2_delta
        inner join adsl on fct_her2_delta.subject_id = adsl.USUBJID
        cross join protocol
        left join visit_numbers on fct_her2_delta.analysis_visit_name = visit_numbers.visit_name
        left join staging.stg_lab_results as stg_lab_results
            on fct_her2_delta.subject_id = stg_lab_results.subject_id
            and fct_her2_delta.sample_id = stg_lab_results.sample_id
            and fct_her2_delta.laboratory is not distinct from stg_lab_results.laboratory
            and stg_lab_results.analyte = 'serum_her2' and stg_lab_results.is_declared_analyte""",
    _RECORD_KEYS,
    (
        *_SUBJECT,
        _sequence("fct_her2_delta.collected_on, fct_her2_delta.collected_at, fct_her2_delta.laboratory, fct_her2_delta.sample_id"),
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
        Variable("PCHGNAD", "Percent Change from Lowest Earlier Value", "fct_her2_delta.pct_change_from_nadir", "float"),
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
            "concat(fct_her2_delta.value_operator, nullif(rtrim(rtrim(cast(fct_her2_delta.value_ng_ml as varchar), '0'), '.'), ''))",
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
    """(
            select
                subject_id, evaluator, reader, assessment_no, visit_name,
                case when is_sum_complete then 'SDIAM' else 'SDIAMI' end as parameter,
                cast(null as integer) as lesion_no, cast(null as varchar) as lesion_id, cast(null as varchar) as location,
                assessed_on as on_date, study_day, is_accepted, is_baseline, 'mm' as unit, sum_of_diameters_mm as value,
                case when is_sum_complete then baseline_sum_mm end as baseline_value,
                pct_change_from_baseline, nadir_sum_mm, pct_change_from_nadir
            from marts.fct_response
            where sum_of_diameters_mm is not null
            union all by name
            select
                lesions.subject_id, lesions.evaluator, lesions.reader, fct_response.assessment_no, fct_response.visit_name,
                'LDIAM' as parameter, targets.lesion_no, lesions.lesion_id, targets.location, lesions.seen_on as on_date,
                case when lesions.seen_on = fct_response.assessed_on then fct_response.study_day end as study_day,
                fct_response.is_accepted, fct_response.is_baseline, 'mm' as unit,
                case when lesions.is_assessed then lesions.diameter_mm end as value,
                max(case when fct_response.is_baseline and lesions.is_assessed then lesions.diameter_mm end) over (
                    partition by lesions.subject_id, lesions.evaluator, lesions.reader, lesions.lesion_id
                ) as baseline_value
            from intermediate.int_lesion_values as lesions
            inner join (
                select
                    subject_id, evaluator, reader, lesion_id, location,
                    row_number() over (partition by subject_id, evaluator, reader order by lesion_id) as lesion_no
                from intermediate.int_baseline_lesions
                where role = 'TARGET'
            ) as targets using (subject_id, evaluator, reader, lesion_id)
            inner join marts.fct_response as fct_response
                on lesions.subject_id = fct_response.subject_id and lesions.evaluator = fct_response.evaluator
                and lesions.reader = fct_response.reader and lesions.visit_no = fct_response.assessment_no
            union all by name
            select
                subject_id, evaluator, '' as reader, 'BSTPCHG' as parameter, true as is_accepted, false as is_baseline,
                '%' as unit, best_pct_change as value
            from marts.fct_best_response
            where best_pct_change is not null
        ) as sizes
        inner join adsl on sizes.subject_id = adsl.USUBJID
        inner join evaluators on sizes.evaluator = evaluators.evaluator
        inner join parameters on parameters.dataset = 'ADTR' and sizes.parameter = parameters.code
        left join visit_numbers on sizes.visit_name = visit_numbers.visit_name
        left join imputed_dates
            on sizes.subject_id = imputed_dates.subject_id and sizes.evaluator = imputed_dates.evaluator
            and sizes.reader = imputed_dates.reader and sizes.on_date = imputed_dates.on_date""",
    _RECORD_KEYS,
    (
        *_SUBJECT,
        _sequence("parameters.position, evaluators.suffix, sizes.lesion_no, sizes.reader, sizes.on_date, sizes.assessment_no"),
        Variable(
            "PARAM", "Parameter", "concat(parameters.title, ' ' || sizes.lesion_no, ' by ', evaluators.title, ' (', sizes.unit, ')')"
        ),
        Variable("PARAMCD", "Parameter Code", "concat(parameters.code, sizes.lesion_no, evaluators.suffix)"),
        Variable("EVAL", "Evaluator", "sizes.evaluator"),
        Variable("EVALID", "Evaluator Identifier", "nullif(sizes.reader, '')"),
        Variable("TRLNKID", "Link ID", "sizes.lesion_id"),
        Variable("TULOC", "Location of the Tumor/Lesion", "sizes.location"),
        Variable("AVAL", "Analysis Value", "sizes.value", "float"),
        Variable("AVALU", "Analysis Value Unit", "sizes.unit"),
        Variable("ABLFL", "Baseline Record Flag", yes("sizes.is_baseline and sizes.value is not null")),
        Variable("BASETYPE", "Baseline Type", "case when sizes.baseline_value is not null then nullif(sizes.reader, '') end"),
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


def _assessment(code: str, column: str) -> str:
    return f"""select subject_id, evaluator, reader, assessment_no, visit_name, '{code}' as parameter, {column} as value,
        assessed_on as on_date, study_day, false as is_best from marts.fct_response where {column} is not null"""


def _best_response(code: str, column: str, on_column: str | None) -> str:
    value = column if column.endswith("_response") else yes_no(column)
    return f"""select subject_id, evaluator, '' as reader, '{code}' as parameter, {value} as value,
        cast({on_column or "null"} as date) as on_date, true as is_best from marts.fct_best_response"""


# A best response takes visit, day and imputation from the assessment it fell on: the read that counts on that day.
_ADRS = Dataset(
    "ADRS",
    "Disease Response Analysis Dataset",
    f"""(
            with results as (
                {
        " union all by name ".join(
            [_assessment(code, column) for code, _, column in ASSESSMENTS]
            + [_best_response(code, column, on_column) for code, _, column, on_column in BEST_RESPONSES]
        )
    }
            ),
            numbered as (
                select
                    results.*, parameters.title, parameters.code, evaluators.suffix, evaluators.title as evaluator_title,
                    int_overall_response.response_no,
                    row_number() over (
                        partition by results.subject_id
                        order by parameters.position, evaluators.suffix, results.reader, results.on_date, results.assessment_no
                    ) as sequence_no
                from results
                inner join evaluators on results.evaluator = evaluators.evaluator
                inner join parameters on parameters.dataset = 'ADRS' and results.parameter = parameters.code
                left join intermediate.int_overall_response as int_overall_response
                    on results.subject_id = int_overall_response.subject_id
                    and results.evaluator = int_overall_response.evaluator
                    and results.reader = int_overall_response.reader
                    and results.assessment_no = int_overall_response.visit_no
            )
            select
                numbered.* exclude (study_day, visit_name, reader),
                coalesce(numbered.study_day, counted.study_day) as study_day,
                coalesce(numbered.visit_name, counted.visit_name) as visit_name,
                numbered.reader,
                coalesce(counted.reader, numbered.reader) as dated_reader,
                counted.sequence_no as source_no
            from numbered
            left join numbered as counted
                on numbered.is_best and counted.parameter = 'OVR' and counted.response_no is not null
                and numbered.subject_id = counted.subject_id and numbered.evaluator = counted.evaluator
                and numbered.on_date = counted.on_date
        ) as results
        inner join adsl on results.subject_id = adsl.USUBJID
        left join numbers on results.value = numbers.value
        left join visit_numbers on results.visit_name = visit_numbers.visit_name
        left join intermediate.int_response_sequence as int_response_sequence
            on results.subject_id = int_response_sequence.subject_id
            and results.evaluator = int_response_sequence.evaluator
            and results.response_no = int_response_sequence.response_no
        left join imputed_dates
            on results.subject_id = imputed_dates.subject_id and results.evaluator = imputed_dates.evaluator
            and results.dated_reader = imputed_dates.reader and results.on_date = imputed_dates.on_date""",
    _RECORD_KEYS,
    (
        *_SUBJECT,
        Variable("ASEQ", "Analysis Sequence Number", "results.sequence_no", "integer"),
        Variable("PARAM", "Parameter", "concat(results.title, ' by ', results.evaluator_title)"),
        Variable("PARAMCD", "Parameter Code", "concat(results.code, results.suffix)"),
        Variable("EVAL", "Evaluator", "results.evaluator"),
        Variable("EVALID", "Evaluator Identifier", "nullif(results.reader, '')"),
        Variable("AVAL", "Analysis Value", "numbers.number", "integer"),
        Variable("AVALC", "Analysis Value (C)", "results.value"),
        Variable("ADT", "Analysis Date", "results.on_date", "date"),
        Variable("ADTF", "Analysis Date Imputation Flag", "imputed_dates.flag"),
        Variable("ADY", "Analysis Relative Day", "results.study_day", "integer"),
        Variable("AVISIT", "Analysis Visit", "results.visit_name"),
        Variable("AVISITN", "Analysis Visit (N)", "visit_numbers.visit_number", "float"),
        Variable("ANL01FL", "Analysis Flag 01: Read That Counts", yes("results.is_best or results.response_no is not null")),
        Variable("ANL02FL", "Analysis Flag 02: Used in Best Response", yes("int_response_sequence.response_no is not null")),
        Variable("SRCDOM", "Source Data", "case when results.source_no is not null then 'ADRS' end"),
        Variable("SRCVAR", "Source Variable", "case when results.source_no is not null then 'AVALC' end"),
        Variable("SRCSEQ", "Source Sequence Number", "results.source_no", "integer"),
    ),
)

# Where the end of a time comes from: a date of ADSL, or the assessment of that day in ADRS. What is found nowhere stays empty.
_ADTTE = Dataset(
    "ADTTE",
    "Time-to-Event Analysis Dataset",
    """(
            select
                times.*, adrs.ASEQ as assessment_no, adrs.ADTF as assessment_flag,
                case
                    when times.event_description = 'death' then case when adsl.DTHDT = times.end_on then 'DTHDT' end
                    when times.endpoint = 'OS' and adsl.LSTALVDT = times.end_on then 'LSTALVDT'
                    when times.endpoint <> 'OS' and adrs.ASEQ is not null then 'ADT'
                    when adsl.TRTSDT = times.end_on then 'TRTSDT'
                    when adsl.ENRLDT = times.end_on then 'ENRLDT'
                end as source_variable
            from marts.fct_time_to_event as times
            inner join adsl on times.subject_id = adsl.USUBJID
            left join adrs
                on times.subject_id = adrs.USUBJID and times.evaluator = adrs.EVAL and times.end_on = adrs.ADT
                and adrs.PARAMCD like 'OVR%' and adrs.PARAM like 'Overall Response by %' and adrs.ANL01FL = 'Y'
        ) as fct_time_to_event
        inner join adsl on fct_time_to_event.subject_id = adsl.USUBJID
        inner join evaluators on fct_time_to_event.evaluator = evaluators.evaluator
        inner join parameters on parameters.dataset = 'ADTTE' and fct_time_to_event.endpoint = parameters.key
            and (parameters.is_by_evaluator or evaluators.suffix = '')""",
    _RECORD_KEYS,
    (
        *_SUBJECT,
        _sequence("parameters.position, evaluators.suffix"),
        Variable(
            "PARAM", "Parameter", "concat(parameters.title, case when parameters.is_by_evaluator then ' by ' || evaluators.title end)"
        ),
        Variable("PARAMCD", "Parameter Code", "concat(parameters.code, evaluators.suffix)"),
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
