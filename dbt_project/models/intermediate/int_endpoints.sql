{% set rules = var('endpoints')['pfs']['rules'] %}
{% set is_confirmed = var('response')['confirm_days'] > 0 %}

with progression_free_survival as (

    select
        subject_id, evaluator, case when rules = '{{ rules }}' then 'PFS' else 'PFS_OTHER_RULES' end as endpoint,
        start_on, end_on, is_event, event_description, censoring_reason
    from {{ ref('int_progression_free_survival') }}

),

overall_survival as (

    select
        subject_id, evaluator, 'OS' as endpoint, start_on,
        coalesce(death_on, last_alive_on, start_on) as end_on,
        death_on is not null as is_event,
        case when death_on is not null then 'death' end as event_description,
        case
            when death_on is not null then null
            when exited_on >= coalesce(last_alive_on, start_on) then exit_reason
            else 'alive at the last contact'
        end as censoring_reason
    from {{ ref('int_subject_evaluators') }}

),

responses as (

    select subject_id, evaluator, 'DOR' as endpoint, confirmed_response_on as response_on
    from {{ ref('int_best_response') }}
    where confirmed_response_on is not null
    union all
    select subject_id, evaluator, 'DOR_UNCONFIRMED', first_response_on
    from {{ ref('int_best_response') }}
    where first_response_on is not null

),

durations_of_response as (

    select
        responses.subject_id, responses.evaluator, responses.endpoint, responses.response_on as start_on,
        progression_free_survival.end_on, progression_free_survival.is_event,
        progression_free_survival.event_description, progression_free_survival.censoring_reason
    from responses
    inner join progression_free_survival
        on
            responses.subject_id = progression_free_survival.subject_id
            and responses.evaluator = progression_free_survival.evaluator
            and progression_free_survival.endpoint = 'PFS'

),

times_to_response as (

    select
        responses.subject_id, responses.evaluator, 'TTR' as endpoint, subjects.start_on, responses.response_on as end_on,
        true as is_event,
        '{{ 'confirmed response' if is_confirmed else 'response' }}' as event_description,
        cast(null as {{ dbt.type_string() }}) as censoring_reason
    from responses
    inner join {{ ref('int_subject_evaluators') }} as subjects
        on responses.subject_id = subjects.subject_id and responses.evaluator = subjects.evaluator
    where responses.endpoint = '{{ 'DOR' if is_confirmed else 'DOR_UNCONFIRMED' }}'

)

select * from progression_free_survival
union all
select * from overall_survival
union all
select * from durations_of_response
union all
select * from times_to_response
