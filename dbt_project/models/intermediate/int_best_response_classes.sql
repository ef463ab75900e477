{% set response = var('response') %}
{% set long_enough = response['min_sd_days'] - response['duration_window_days'] %}

with responses as (

    select
        sequence.*,
        coalesce(confirmation.is_confirmed, false) as is_confirmed,
        sequence.days_from_reference >= {{ long_enough }} as is_long_enough,
        sequence.days_from_reference >= {{ response['min_sd_days'] }} as is_long_enough_without_window
    from {{ ref('int_response_sequence') }} as sequence
    left join {{ ref('int_confirmation') }} as confirmation
        on
            sequence.subject_id = confirmation.subject_id
            and sequence.evaluator = confirmation.evaluator
            and sequence.response_no = confirmation.response_no

)

select
    subject_id,
    evaluator,
    response_no,
    assessed_on,
    overall_response,
    days_from_reference,
    is_confirmed,
    is_long_enough,
    is_long_enough_without_window,
    case
        when overall_response in ('SD', 'NON-CR/NON-PD') and not is_long_enough then 'NE'
        else overall_response
    end as unconfirmed_class,
    case
        when is_confirmed or overall_response in ('PD', 'NE') then overall_response
        when not is_long_enough then 'NE'
        when overall_response in ('CR', 'PR') then 'SD'
        else overall_response
    end as confirmed_class
from responses
