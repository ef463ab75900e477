-- an export does not tell the end of treatment from the end of the study: who was seen afterwards is still in it
with completions as (

    select
        dispositions.subject_id,
        max(dispositions.occurred_on) as completed_on
    from {{ ref('stg_dispositions') }} as dispositions
    inner join {{ ref('int_data_cutoff') }} as data_cutoff on dispositions.occurred_on <= data_cutoff.cutoff_on
    where dispositions.term = 'COMPLETED' and dispositions.category not in ('PROTOCOL MILESTONE', 'OTHER EVENT')
    group by dispositions.subject_id

),

ends as (

    select
        timeline.subject_id,
        timeline.death_on,
        timeline.enrolled_on is not null or timeline.is_treated as is_in_study,
        case when exits.exited_on >= coalesce(timeline.last_alive_on, exits.exited_on) then exits.exited_on end as exited_on,
        exits.exit_term,
        case
            when completions.completed_on >= coalesce(timeline.last_alive_on, completions.completed_on)
                then completions.completed_on
        end as completed_on
    from {{ ref('int_subject_timeline') }} as timeline
    left join {{ ref('int_study_exits') }} as exits on timeline.subject_id = exits.subject_id
    left join completions on timeline.subject_id = completions.subject_id

)

select
    subject_id,
    case
        when not is_in_study then null
        when death_on is not null or exited_on is not null then 'DISCONTINUED'
        when completed_on is not null then 'COMPLETED'
        else 'ONGOING'
    end as study_status,
    case when is_in_study then coalesce(death_on, exited_on, completed_on) end as ended_on,
    case
        when not is_in_study then null
        when death_on is not null then 'DEATH'
        when exited_on is not null then exit_term
    end as discontinuation_reason
from ends
