with doses as (

    select
        subject_id,
        first_dose_on,
        -- of texts that mean the same day, the most complete
        max(case when dosed_on = first_dose_on then dosed_on_text end) as first_dose_text,
        min(case when dosed_on = first_dose_on then started_at end) as first_dose_at,
        max(last_dosed_on) as last_dose_on
    from (
        select
            *,
            min(dosed_on) over (partition by subject_id) as first_dose_on
        from {{ ref('int_doses') }}
    ) as dated
    group by subject_id, first_dose_on

),

last_alive as (

    select
        dates.subject_id,
        max(dates.on_date) as last_alive_on
    from {{ ref('int_subject_dates') }} as dates
    inner join {{ ref('int_data_cutoff') }} as data_cutoff on dates.on_date <= data_cutoff.cutoff_on
    where dates.is_known_alive
    group by dates.subject_id

),

milestones as (

    select
        subject_id,
        min(occurred_on) as enrolled_on
    from {{ ref('stg_dispositions') }}
    where term in ('ENROLLED', 'ENROLMENT', 'ENROLLMENT', 'RANDOMIZED', 'RANDOMISED')
    group by subject_id

),

ends as (

    select
        dispositions.subject_id,
        dispositions.occurred_on as discontinued_on,
        dispositions.term as discontinuation_reason,
        row_number() over (
            partition by dispositions.subject_id
            order by dispositions.occurred_on, dispositions.term, dispositions.category
        ) as end_number
    from {{ ref('stg_dispositions') }} as dispositions
    inner join {{ ref('int_data_cutoff') }} as data_cutoff on dispositions.occurred_on <= data_cutoff.cutoff_on
    where
        dispositions.category not in ('PROTOCOL MILESTONE', 'OTHER EVENT')
        and dispositions.term not in (
            'COMPLETED', 'ONGOING', 'SCREEN FAILURE', 'INFORMED CONSENT OBTAINED',
            'ENROLLED', 'ENROLMENT', 'ENROLLMENT', 'RANDOMIZED', 'RANDOMISED'
        )

),

timeline as (

    select
        subjects.subject_id,
        doses.first_dose_on,
        doses.first_dose_text,
        coalesce(not {{ is_full_date('doses.first_dose_text') }}, false) as is_first_dose_imputed,
        doses.first_dose_at,
        doses.last_dose_on,
        -- an imputed enrolment is not after the first dose, as far as its month or year allows
        case
            when subjects.is_enrolled_on_imputed and subjects.enrolled_earliest_on <= doses.first_dose_on
                then least(subjects.enrolled_on, doses.first_dose_on)
            else coalesce(subjects.enrolled_on, milestones.enrolled_on)
        end as enrolled_on,
        -- an imputed death is not before the last day known alive, as far as its month or year allows
        case
            when deaths.is_imputed
                then greatest(
                    deaths.death_on, least(deaths.death_latest_on, coalesce(last_alive.last_alive_on, deaths.death_on))
                )
            else deaths.death_on
        end as death_on,
        last_alive.last_alive_on,
        new_therapies.new_therapy_on,
        ends.discontinued_on,
        ends.discontinuation_reason,
        data_cutoff.cutoff_on,
        doses.first_dose_on is not null as is_treated
    from {{ ref('stg_subjects') }} as subjects
    cross join {{ ref('int_data_cutoff') }} as data_cutoff
    left join doses on subjects.subject_id = doses.subject_id
    left join last_alive on subjects.subject_id = last_alive.subject_id
    left join milestones on subjects.subject_id = milestones.subject_id
    left join ends on subjects.subject_id = ends.subject_id and ends.end_number = 1
    left join {{ ref('int_deaths') }} as deaths on subjects.subject_id = deaths.subject_id
    left join {{ ref('int_new_therapies') }} as new_therapies on subjects.subject_id = new_therapies.subject_id

)

select
    *,
    {% if var('endpoints')['start'] == 'enrolment' -%}
    case when is_treated then coalesce(enrolled_on, first_dose_on) end as start_on,
    {%- else -%}
    first_dose_on as start_on,
    {%- endif %}
    coalesce(first_dose_on, enrolled_on) as reference_on
from timeline
