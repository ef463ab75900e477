-- dates that are partial, contradict death, lie after the data cut-off, or belong to nobody known
with dates as (

    select
        dates.*,
        timeline.death_on,
        timeline.cutoff_on,
        timeline.subject_id is not null as is_known
    from {{ ref('int_subject_dates') }} as dates
    left join {{ ref('int_subject_timeline') }} as timeline on dates.subject_id = timeline.subject_id

),

-- those of tumour records are listed with their visits
imputed as (

    {% for record, model, field, condition in [
        ('subjects', 'stg_subjects', 'enrolled_on', 'is_enrolled_on_imputed'),
        ('subjects', 'stg_subjects', 'death_on', 'is_death_on_imputed'),
        ('subjects', 'stg_her2_tests', 'her2_tested_on', 'is_tested_on_imputed'),
        ('exposures', 'stg_exposures', 'start_on', 'is_start_on_imputed'),
        ('visits', 'stg_visits', 'visit_on', 'is_visit_on_imputed'),
        ('lab_results', 'stg_lab_results', 'collected_at', 'is_collected_on_imputed and is_declared_analyte'),
        ('dispositions', 'stg_dispositions', 'occurred_on', 'is_occurred_on_imputed'),
        ('therapies', 'stg_therapies', 'started_on', 'is_started_on_imputed'),
        ('survival_status', 'stg_survival_status', 'assessed_on', 'is_assessed_on_imputed'),
    ] %}
    select
        subject_id,
        '{{ record }}' as record,
        '{{ field }}' as field
    from {{ ref(model) }}
    where {{ condition }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

)

select
    'subject_unknown' as kind,
    subject_id,
    concat_ws('', record, ': ', cast(sum(row_count) as varchar(20)), ' rows wait for the subject''s demographics') as detail,
    'warning' as severity
from dates
where not is_known and field <> 'end_on'
group by subject_id, record

union all
select
    'after_death' as kind,
    subject_id,
    concat_ws(
        '', record, '.', field, ' ', cast(max(on_date) as varchar(10)), ' lies after the death on ', cast(min(death_on) as varchar(10))
    ) as detail,
    'error' as severity
from dates
where is_known_alive and on_date > death_on and on_date <= cutoff_on
group by subject_id, record, field

union all
select
    'after_cutoff' as kind,
    dates.subject_id,
    concat_ws(
        '', dates.record, '.', dates.field, ': ', cast(sum(dates.row_count) as varchar(20)), ' rows dated after the data cut-off ',
        cast(min(dates.cutoff_on) as varchar(10)), ' are used nowhere'
    ) as detail,
    'info' as severity
from dates
where dates.on_date > dates.cutoff_on
group by dates.subject_id, dates.record, dates.field

union all
select
    'partial_date' as kind,
    subject_id,
    concat_ws(
        '', record, '.', field, ': ', cast(count(*) as varchar(20)),
        ' partial dates, completed by dates.impute_day = {{ var('dates')['impute_day'] }}'
    ) as detail,
    'info' as severity
from imputed
group by subject_id, record, field

union all
select
    'first_dose_imputed' as kind,
    timeline.subject_id,
    concat_ws(
        '', 'exposures.start_on ', timeline.first_dose_text, ': ', {{ as_text('timeline.first_dose_on') }},
        ' is taken as the first dose (dates.impute_day = {{ var('dates')['impute_day'] }}',
        case when min(doses.moved_because) is not null then ', but ' end, min(doses.moved_because), ')'
    ) as detail,
    'warning' as severity
from {{ ref('int_subject_timeline') }} as timeline
inner join {{ ref('int_doses') }} as doses
    on
        timeline.subject_id = doses.subject_id
        and timeline.first_dose_on = doses.dosed_on
        and timeline.first_dose_text = doses.dosed_on_text
where timeline.is_first_dose_imputed
group by timeline.subject_id, timeline.first_dose_text, timeline.first_dose_on
