-- the day that the start of a dose means: a partial one is imputed by dates.impute_day and then moved, as far as its month
-- or year allows, not before what precedes the first dose and not after the end of the dose or the death
with deaths as (

    select subject_id, min(latest_on) as latest_on
    from (
        select subject_id, death_latest_on as latest_on
        from {{ ref('stg_subjects') }}
        union all
        select subject_id, occurred_latest_on
        from {{ ref('stg_dispositions') }}
        where is_death
    ) as reports
    group by subject_id

),

partial_starts as (

    select
        exposures._file_id,
        exposures._row_number,
        exposures.subject_id,
        exposures.start_on as imputed_on,
        exposures.end_latest_on,
        deaths.latest_on as death_latest_on,
        {{ earliest_date('exposures.start_on_text') }} as earliest_on,
        {{ latest_date('exposures.start_on_text') }} as latest_on
    from {{ ref('stg_exposures') }} as exposures
    left join deaths on exposures.subject_id = deaths.subject_id
    where exposures.is_start_on_imputed

),

spans as (

    select
        _file_id,
        _row_number,
        subject_id,
        imputed_on,
        earliest_on,
        least(
            latest_on,
            case when end_latest_on >= earliest_on then end_latest_on else latest_on end,
            case when death_latest_on >= earliest_on then death_latest_on else latest_on end
        ) as latest_on
    from partial_starts

),

-- full days of what precedes the first dose; a reader's baseline is where the lesions were first identified
preceding as (

    select subject_id, enrolled_on as on_date, 'enrolment' as what
    from {{ ref('stg_subjects') }}
    where enrolled_on is not null and not is_enrolled_on_imputed
    union all
    select subject_id, min(full_on) as on_date, 'baseline scan' as what
    from (
        select
            dates.subject_id, dates.evaluator, dates.reader,
            case when {{ is_full_date('dates.on_text') }} then dates.imputed_on else completed.full_on end as full_on
        from {{ ref('int_stated_dates') }} as dates
        left join {{ ref('int_completed_dates') }} as completed
            on
                dates.subject_id = completed.subject_id
                and dates.evaluator = completed.evaluator
                and dates.reader = completed.reader
                and dates.visit_name = completed.visit_name
                and dates.on_text = completed.on_text
        where dates.has_baseline_row
    ) as identifications
    where full_on is not null
    group by subject_id, evaluator, reader
    union all
    select visits.subject_id, visits.on_date, concat_ws('', 'visit ', windows.visit_name) as what
    from (
        select subject_id, visit_name, visit_on as on_date
        from {{ ref('stg_visits') }}
        where not is_visit_on_imputed
        union all
        select subject_id, visit_name, collected_on
        from {{ ref('stg_lab_results') }}
        where is_declared_analyte and not is_collected_on_imputed
    ) as visits
    -- visits that study.yaml plans for the day of the first dose at the latest
    inner join {{ ref('int_visit_windows') }} as windows
        on {{ planned_visit_key('visits.visit_name') }} = windows.visit_key and windows.window_end_day <= 1

),

bounds as (

    select
        spans.subject_id,
        spans._file_id,
        spans._row_number,
        preceding.on_date,
        preceding.what,
        row_number() over (
            partition by spans.subject_id, spans._file_id, spans._row_number
            order by preceding.on_date desc, preceding.what
        ) as last_first
    from spans
    inner join preceding
        on
            spans.subject_id = preceding.subject_id
            and preceding.on_date between spans.earliest_on and spans.latest_on

),

meant as (

    select
        spans.subject_id,
        spans._file_id,
        spans._row_number,
        spans.imputed_on,
        greatest(least(spans.imputed_on, spans.latest_on), coalesce(bounds.on_date, spans.earliest_on)) as start_on,
        bounds.what
    from spans
    left join bounds
        on
            spans.subject_id = bounds.subject_id
            and spans._file_id = bounds._file_id
            and spans._row_number = bounds._row_number
            and bounds.last_first = 1

)

select
    exposures.subject_id,
    exposures.treatment,
    exposures.dose,
    exposures.dose_unit,
    coalesce(meant.start_on, exposures.start_on) as start_on,
    exposures.start_on_text,
    exposures.is_start_on_imputed,
    case
        when meant.start_on > meant.imputed_on then concat_ws('', 'not before the ', meant.what)
        when meant.start_on < meant.imputed_on then 'not after the end of the dose or the death'
    end as moved_because,
    exposures.started_at,
    exposures.end_on,
    exposures.has_conflict,
    exposures._file_id,
    exposures._row_number
from {{ ref('stg_exposures') }} as exposures
left join meant
    on
        exposures.subject_id = meant.subject_id
        and exposures._file_id = meant._file_id
        and exposures._row_number = meant._row_number
