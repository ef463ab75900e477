"""Where the rows of each analysis dataset come from: FROM clauses over the published file and what stands beside it.

Beside it stand the small tables of context.py and the datasets built before. Rows are picked and joined here, never
judged: rules live in dbt. Which variable renames which column, stands in datasets.py.

Every clause calls its rows ``record``. They have subject_id and sequence_no (numbered within the subject), and say
where the value stands: source_domain, source_variable, and source_no with source_file (a row of an export, as in
ops.files; of several the one that dates the value, source_rows tells how many they are) or without (ASEQ of a record).
"""

from orchestration.adam.codes import ASSESSMENTS, BEST_RESPONSES
from orchestration.adam.variables import study_day, yes_no

_READ = ("subject_id", "evaluator", "reader")


def _same(left: str, right: str, *columns: str) -> str:
    return " and ".join(f"{left}.{column} = {right}.{column}" for column in columns)


def _at_visit(record: str, on_text: str) -> str:
    """Joins the tumour rows of a record with the visits that they belong to."""
    return f"""
        from staging.stg_{record} as stated
        inner join intermediate.int_assessment_visits as visits
            on {_same("stated", "visits", *_READ)}
            and coalesce(stated.visit_name, '') = visits.visit_name
            and coalesce(stated.{on_text}, '') = visits.on_text"""


_OF_SUBJECT = """
inner join adsl on record.subject_id = adsl.USUBJID
"""
_OF_VISIT = """
left join visit_numbers on record.visit_name = visit_numbers.visit_name
"""
_OF_DATE = """
left join imputed_dates
    on record.subject_id = imputed_dates.subject_id and record.evaluator = imputed_dates.evaluator
    and record.reader_of_date = imputed_dates.reader and record.on_date = imputed_dates.on_date
"""

ADSL = """
marts.dim_subject as dim_subject
cross join protocol
cross join intermediate.int_data_cutoff as int_data_cutoff
inner join intermediate.int_study_status as int_study_status
    on dim_subject.subject_id = int_study_status.subject_id
inner join intermediate.int_subject_timeline as int_subject_timeline
    on dim_subject.subject_id = int_subject_timeline.subject_id
left join intermediate.int_deaths as int_deaths on dim_subject.subject_id = int_deaths.subject_id
"""

ADLB = f"""
(
    select
        fct_her2_delta.*,
        row_number() over (
            partition by fct_her2_delta.subject_id
            order by
                fct_her2_delta.collected_on, fct_her2_delta.collected_at, fct_her2_delta.laboratory,
                fct_her2_delta.sample_id
        ) as sequence_no,
        case when stg_lab_results._file_id is not null then 'LB' end as source_domain,
        case when stg_lab_results._file_id is not null then 'LBORRES' end as source_variable,
        stg_lab_results._row_number as source_no,
        stg_lab_results._file_id as source_file
    from marts.fct_her2_delta as fct_her2_delta
    left join staging.stg_lab_results as stg_lab_results
        on {_same("fct_her2_delta", "stg_lab_results", "subject_id", "sample_id")}
        and fct_her2_delta.laboratory is not distinct from stg_lab_results.laboratory
        and stg_lab_results.analyte = 'serum_her2' and stg_lab_results.is_declared_analyte
) as record
cross join protocol
left join visit_numbers on record.analysis_visit_name = visit_numbers.visit_name
{_OF_SUBJECT}"""

# Diameters of a read's targets (numbered within the read by their ids), their sums, and the best change of a subject.
# The baseline of a target is its last diameter before treatment, at whichever visit; so is its part of the sum.
ADTR = f"""
(
    with reads as (
        select * from intermediate.int_accepted_reads
    ),
    -- of each reading of a lesion, the row that holds it
    readings as (
        select
            readings.*, stated._file_id as source_file, stated._row_number as source_no,
            coalesce(stated.diameter_mm = readings.diameter_mm, false) as is_its_diameter
        {_at_visit("tumor_measurements", "assessed_on_text")}
        inner join intermediate.int_lesion_readings as readings
            on {_same("visits", "readings", *_READ, "visit_no")} and stated.lesion_id = readings.measured_id
        where readings.role = 'TARGET' and stated.test <> 'SUMDIAM'
        qualify row_number() over (
            partition by
                readings.subject_id, readings.evaluator, readings.reader, readings.visit_no, readings.lesion_id,
                readings.part_id, readings.measured_id
            order by
                is_its_diameter desc, stated.diameter_mm is null and stated.state_code is not null desc,
                stated.test = 'DIAMETER' desc, (stated.test = 'LDIAM') <> readings.is_nodal desc,
                visits.seen_on desc, stated._file_id, stated._row_number
        ) = 1
    ),
    sources as (
        select
            subject_id, evaluator, reader, visit_no, lesion_id,
            count(*) filter (where is_counted) as source_rows,
            bool_or(is_counted) as is_counted, min(measured_id) as merged_into,
            max_by(
                {{'file': source_file, 'number': source_no}},
                {{'counted': is_counted, 'day': seen_on, 'file': source_file, 'number': source_no}}
            ) as source
        from readings
        group by all
    ),
    targets as (
        select
            *, row_number() over (partition by subject_id, evaluator, reader order by lesion_id) as lesion_no
        from intermediate.int_baseline_lesions
        where role = 'TARGET'
    ),
    diameters as (
        select
            reads.subject_id, reads.evaluator, reads.reader, reads.visit_no, nullif(reads.visit_name, '') as visit_name,
            reads.is_accepted, coalesce(lesions.measured_on, lesions.seen_on) as on_date,
            {study_day("coalesce(lesions.measured_on, lesions.seen_on)", "reads.reference_on")} as study_day,
            'mm' as unit, case when targets.is_nodal then 'SAXIS' else 'LDIAM' end as parameter,
            case when lesions.is_assessed and sources.is_counted then lesions.diameter_mm end as value,
            case
                when not lesions.is_assessed then 'NOT ASSESSED'
                when not sources.is_counted then concat('MERGED INTO ', sources.merged_into)
            end as state,
            baselines.diameter_mm as baseline_value,
            coalesce(baselines.visit_no = reads.visit_no, false) as is_baseline,
            round(
                100 * (lesions.diameter_mm - baselines.diameter_mm)::double / nullif(baselines.diameter_mm, 0), 4
            ) as pct_change_from_baseline,
            targets.lesion_no, targets.lesion_id, targets.location,
            'TR' as source_domain, 'TRORRES' as source_variable,
            sources.source.number as source_no, sources.source.file as source_file, sources.source_rows
        from intermediate.int_lesion_values as lesions
        inner join targets using (subject_id, evaluator, reader, lesion_id)
        inner join reads using (subject_id, evaluator, reader, visit_no)
        inner join sources using (subject_id, evaluator, reader, visit_no, lesion_id)
        left join intermediate.int_baseline_diameters as baselines
            on {_same("lesions", "baselines", *_READ, "lesion_id")}
        where reads.is_baseline or reads.is_post_baseline or baselines.visit_no = reads.visit_no
    ),
    parts as (
        select
            reads.subject_id, reads.evaluator, reads.reader, reads.visit_no, diameters.on_date, diameters.source_no,
            diameters.source_file, diameters.source_rows
        from reads
        inner join diameters
            on {_same("reads", "diameters", *_READ)} and diameters.value is not null
            and case
                when reads.is_baseline then diameters.is_baseline else reads.visit_no = diameters.visit_no
            end
    ),
    sum_sources as (
        select
            subject_id, evaluator, reader, visit_no, sum(source_rows) as source_rows,
            max_by(
                {{'file': source_file, 'number': source_no}},
                {{'day': on_date, 'file': source_file, 'number': source_no}}
            ) as source
        from parts
        group by all
    ),
    sums as (
        select
            sums.subject_id, sums.evaluator, sums.reader, sums.assessment_no as visit_no, sums.visit_name,
            sums.is_accepted, sums.assessed_on as on_date, sums.study_day, 'mm' as unit,
            case when sums.is_sum_complete then 'SDIAM' else 'ISDIAM' end as parameter,
            sums.sum_of_diameters_mm as value, sums.is_baseline,
            case when sums.is_sum_complete then sums.baseline_sum_mm end as baseline_value,
            sums.pct_change_from_baseline, sums.nadir_sum_mm,
            case when sums.is_sum_complete then sums.sum_of_diameters_mm - sums.nadir_sum_mm end as change_from_nadir,
            sums.pct_change_from_nadir,
            'TR' as source_domain, 'TRORRES' as source_variable,
            sum_sources.source.number as source_no, sum_sources.source.file as source_file, sum_sources.source_rows
        from marts.fct_response as sums
        left join sum_sources
            on {_same("sums", "sum_sources", *_READ)} and sums.assessment_no = sum_sources.visit_no
        where sums.sum_of_diameters_mm is not null
    ),
    best_changes as (
        select
            best.subject_id, best.evaluator, '' as reader, sums.reader as reader_of_date, sums.visit_no,
            sums.visit_name, true as is_accepted, sums.on_date, sums.study_day, '%' as unit, 'BSTPCHG' as parameter,
            best.best_pct_change as value, false as is_baseline, 'ADTR' as source_domain, 'PCHG' as source_variable
        from marts.fct_best_response as best
        left join sums
            on {_same("best", "sums", "subject_id", "evaluator")} and sums.is_accepted and not sums.is_baseline
            and best.best_pct_change = sums.pct_change_from_baseline
        where best.best_pct_change is not null
        qualify row_number() over (
            partition by best.subject_id, best.evaluator order by sums.on_date, sums.visit_no
        ) = 1
    ),
    sizes as (
        select * from sums union all by name select * from diameters union all by name select * from best_changes
    ),
    numbered as (
        select
            sizes.* replace (coalesce(sizes.reader_of_date, sizes.reader) as reader_of_date),
            parameters.code, parameters.title, evaluators.suffix, evaluators.title as evaluator_title,
            row_number() over (
                partition by sizes.subject_id
                order by
                    parameters.position, evaluators.suffix, sizes.lesion_no, sizes.reader, sizes.on_date, sizes.visit_no
            ) as sequence_no
        from sizes
        inner join evaluators on sizes.evaluator = evaluators.evaluator
        inner join parameters on parameters.dataset = 'ADTR' and sizes.parameter = parameters.key
    )
    select numbered.* replace (coalesce(numbered.source_no, counted.sequence_no) as source_no)
    from numbered
    left join numbered as counted
        on numbered.parameter = 'BSTPCHG' and counted.parameter = 'SDIAM'
        and {_same("numbered", "counted", "subject_id", "evaluator", "visit_no")}
        and numbered.reader_of_date = counted.reader
) as record
{_OF_SUBJECT}{_OF_VISIT}{_OF_DATE}"""


def _assessments(code: str, column: str) -> str:
    return f"""
        select
            subject_id, evaluator, reader, assessment_no as visit_no, visit_name, assessed_on as on_date, study_day,
            '{code}' as parameter, {column} as value, false as is_best
        from marts.fct_response
        where {column} is not null"""


def _best_responses(code: str, column: str, on_column: str | None) -> str:
    value = column if column.endswith("_response") else yes_no(column)
    return f"""
        select
            subject_id, evaluator, '' as reader, cast({on_column or "null"} as date) as on_date,
            '{code}' as parameter, {value} as value, true as is_best
        from marts.fct_best_response"""


_RESULTS = "\n        union all by name".join(
    [_assessments(code, column) for code, _, column in ASSESSMENTS]
    + [_best_responses(code, column, on_column) for code, _, column, on_column in BEST_RESPONSES]
)

# A response of a visit leads to the rows that state it: those of RS where it is reported; those of the lesions where it
# is derived, first of what made it a progression. A response of a subject takes day, visit and imputation from the
# assessment of its date: the read that counts on that day.
ADRS = f"""
(
    with results as ({_RESULTS}
        union all by name
        -- the first progression, and the last assessment of each evaluator
        select
            best.subject_id, best.evaluator, '' as reader, progressions.progression_on as on_date, 'PD' as parameter,
            case when progressions.progression_on is null then 'N' else 'Y' end as value, true as is_best
        from marts.fct_best_response as best
        left join intermediate.int_first_progression as progressions
            on {_same("best", "progressions", "subject_id", "evaluator")}
        union all by name
        select
            subject_id, evaluator, '' as reader, assessed_on as on_date, 'LSTA' as parameter,
            overall_response as value, true as is_best
        from intermediate.int_overall_response
        inner join marts.fct_best_response using (subject_id, evaluator)
        qualify row_number() over (partition by subject_id, evaluator order by response_no desc) = 1
        union all by name
        select
            subject_id, evaluator, '' as reader, 'MDIS' as parameter,
            case when bool_or(targets > 0) then 'Y' else 'N' end as value, true as is_best
        from intermediate.int_accepted_reads
        inner join marts.fct_best_response using (subject_id, evaluator)
        where is_baseline
        group by all
        union all by name
        select
            subject_id, protocol.evaluator, '' as reader, death_on as on_date, 'DEATH' as parameter,
            case when death_on is null then 'N' else 'Y' end as value, true as is_best
        from marts.dim_subject
        cross join protocol
        where in_treated
    ),
    statements as (
        select
            visits.subject_id, visits.evaluator, visits.reader, visits.visit_no, visits.seen_on, false as is_of_lesion,
            case stated.test
                when 'OVRLRESP' then 'OVR' when 'TRGRESP' then 'TRGRESP' when 'NTRGRESP' then 'NTGRESP'
                when 'NEWLPROG' then 'NEWLES'
            end as part,
            'RS' as domain, 'RSORRES' as variable, stated._file_id, stated._row_number
        {_at_visit("tumor_responses", "assessed_on_text")}
        union all by name
        select
            visits.subject_id, visits.evaluator, visits.reader, visits.visit_no, visits.seen_on, true as is_of_lesion,
            case readings.role when 'TARGET' then 'TRGRESP' else 'NTGRESP' end as part,
            'TR' as domain, 'TRORRES' as variable, stated._file_id, stated._row_number
        {_at_visit("tumor_measurements", "assessed_on_text")}
        inner join intermediate.int_lesion_readings as readings
            on {_same("visits", "readings", *_READ, "visit_no")} and stated.lesion_id = readings.measured_id
        where stated.test <> 'SUMDIAM'
        union all by name
        select
            visits.subject_id, visits.evaluator, visits.reader, visits.visit_no, visits.seen_on, true as is_of_lesion,
            'NEWLES' as part, 'TU' as domain, 'TUORRES' as variable, stated._file_id, stated._row_number
        {_at_visit("tumor_identifications", "identified_on_text")}
        where stated.role = 'NEW'
        union all by name
        select
            visits.subject_id, visits.evaluator, visits.reader, visits.visit_no, visits.seen_on, true as is_of_lesion,
            'NEWLES' as part, 'TR' as domain, 'TRORRES' as variable, stated._file_id, stated._row_number
        {_at_visit("tumor_measurements", "assessed_on_text")}
        semi join intermediate.int_new_lesion_mentions as mentions
            on {_same("visits", "mentions", *_READ, "visit_no")} and stated.lesion_id = mentions.lesion_id
            and mentions.source = 'measurement'
    ),
    sources as (
        select
            results.subject_id, results.evaluator, results.reader, results.visit_no, results.parameter,
            statements.domain, statements.variable, statements._file_id, statements._row_number,
            count(*) over (
                partition by
                    results.subject_id, results.evaluator, results.reader, results.visit_no, results.parameter
            ) as source_rows
        from results
        inner join intermediate.int_accepted_reads as reads
            on {_same("results", "reads", *_READ, "visit_no")}
        inner join statements
            on {_same("results", "statements", *_READ, "visit_no")}
            and case
                when results.parameter = 'OVRR' or not reads.is_derived
                    then not statements.is_of_lesion and replace(results.parameter, 'OVRR', 'OVR') = statements.part
                when results.parameter = 'OVR' then statements.is_of_lesion or statements.part = 'NEWLES'
                else statements.part = results.parameter and (statements.is_of_lesion or statements.part = 'NEWLES')
            end
        where not results.is_best
        qualify row_number() over (
            partition by results.subject_id, results.evaluator, results.reader, results.visit_no, results.parameter
            order by
                case statements.part
                    when 'TRGRESP' then reads.derived_target_response
                    when 'NTGRESP' then reads.derived_non_target_response
                    when 'NEWLES' then reads.derived_new_lesion
                end in ('PD', 'YES') desc nulls last,
                statements.seen_on = results.on_date desc, statements.seen_on desc, statements.part = 'TRGRESP' desc,
                statements.part, statements.domain, statements._file_id, statements._row_number
        ) = 1
    ),
    numbered as (
        select
            results.*, parameters.title, parameters.code,
            case when parameters.is_by_evaluator then evaluators.suffix end as suffix,
            case when parameters.is_by_evaluator then evaluators.title end as evaluator_title,
            case when parameters.is_by_evaluator then results.evaluator end as evaluator_of_result,
            counted_reads.response_no,
            row_number() over (
                partition by results.subject_id
                order by parameters.position, evaluators.suffix, results.reader, results.on_date, results.visit_no
            ) as sequence_no
        from results
        inner join evaluators on results.evaluator = evaluators.evaluator
        inner join parameters on parameters.dataset = 'ADRS' and results.parameter = parameters.key
        left join intermediate.int_overall_response as counted_reads
            on {_same("results", "counted_reads", *_READ, "visit_no")}
    )
    select
        numbered.* replace (
            coalesce(numbered.study_day, counted.study_day) as study_day,
            coalesce(numbered.visit_name, counted.visit_name) as visit_name
        ),
        coalesce(counted.reader, numbered.reader) as reader_of_date,
        case
            when counted.sequence_no is not null then 'ADRS'
            when baselines.ASEQ is not null then 'ADTR'
            when numbered.parameter = 'DEATH' and numbered.value = 'Y' then 'ADSL'
            else sources.domain
        end as source_domain,
        case source_domain
            when 'ADRS' then 'AVALC' when 'ADTR' then 'AVAL' when 'ADSL' then 'DTHDT' else sources.variable
        end as source_variable,
        coalesce(counted.sequence_no, baselines.ASEQ, sources._row_number) as source_no,
        sources._file_id as source_file, sources.source_rows
    from numbered
    left join numbered as counted
        on numbered.is_best and {_same("numbered", "counted", "subject_id", "evaluator")}
        and case numbered.parameter
            when 'DEATH' then false
            when 'DCR' then counted.parameter = 'CBOR' and counted.value <> 'MISSING'
            else
                counted.parameter = 'OVR' and counted.response_no is not null
                and numbered.on_date = counted.on_date
        end
    left join adtr as baselines
        on numbered.parameter = 'MDIS' and numbered.value = 'Y' and numbered.subject_id = baselines.USUBJID
        and baselines.PARAMCD = concat('SDIAM', numbered.suffix)
        and baselines.ABLFL = 'Y' and baselines.ANL01FL = 'Y'
    left join sources on {_same("numbered", "sources", *_READ, "visit_no", "parameter")}
) as record
{_OF_SUBJECT}{_OF_VISIT}{_OF_DATE}
left join numbers on record.value = numbers.value
left join intermediate.int_response_sequence as int_response_sequence
    on {_same("record", "int_response_sequence", "subject_id", "evaluator", "response_no")}
"""

# The end of a time is a date of ADSL, or the assessment of that day in ADRS. An end that is neither has no source.
ADTTE = f"""
(
    select
        times.*, parameters.code, parameters.title, evaluators.suffix,
        case when parameters.is_by_evaluator then times.evaluator end as evaluator_of_time,
        case when parameters.is_by_evaluator then evaluators.title end as evaluator_title,
        row_number() over (
            partition by times.subject_id order by parameters.position, evaluators.suffix
        ) as sequence_no,
        case
            when times.event_description = 'death' then case when adsl.DTHDT = times.end_on then 'DTHDT' end
            when times.endpoint = 'OS' and adsl.LSTALVDT = times.end_on then 'LSTALVDT'
            when times.endpoint <> 'OS' and ends.ASEQ is not null then 'ADT'
            when adsl.TRTSDT = times.end_on then 'TRTSDT'
            when adsl.ENRLDT = times.end_on then 'ENRLDT'
        end as source_variable,
        case when source_variable = 'ADT' then 'ADRS' when source_variable is not null then 'ADSL' end as source_domain,
        case when source_variable = 'ADT' then ends.ASEQ end as source_no,
        case source_variable
            when 'ADT' then ends.ADTF when 'DTHDT' then adsl.DTHDTF when 'TRTSDT' then adsl.TRTSDTF
        end as end_flag,
        case
            when times.endpoint in ('DOR', 'DOR_UNCONFIRMED') then starts.ADTF
            when adsl.TRTSDT = times.start_on then adsl.TRTSDTF
        end as start_flag
    from marts.fct_time_to_event as times
    inner join adsl on times.subject_id = adsl.USUBJID
    inner join evaluators on times.evaluator = evaluators.evaluator
    inner join parameters
        on parameters.dataset = 'ADTTE' and times.endpoint = parameters.key
        and (parameters.is_by_evaluator or evaluators.suffix = '')
    left join adrs as ends
        on times.subject_id = ends.USUBJID and times.end_on = ends.ADT
        and ends.PARAMCD = concat('OVR', evaluators.suffix) and ends.ANL01FL = 'Y'
    left join adrs as starts
        on times.subject_id = starts.USUBJID and times.start_on = starts.ADT
        and starts.PARAMCD = concat('OVR', evaluators.suffix) and starts.ANL01FL = 'Y'
) as record
{_OF_SUBJECT}"""
