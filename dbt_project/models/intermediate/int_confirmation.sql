{% set response = var('response') %}

-- only the first response that is late enough may confirm
with confirmers as (

    select
        responses.subject_id,
        responses.evaluator,
        responses.response_no,
        min(later.response_no) as confirmer_no
    from {{ ref('int_response_sequence') }} as responses
    inner join {{ ref('int_response_sequence') }} as later
        on
            responses.subject_id = later.subject_id
            and responses.evaluator = later.evaluator
            and responses.response_no < later.response_no
            and later.assessed_on >= {{ add_days('responses.assessed_on', response['confirm_days']) }}
            and (later.overall_response = 'CR' or (later.overall_response = 'PR' and responses.overall_response = 'PR'))
    where responses.overall_response in ('CR', 'PR')
    group by responses.subject_id, responses.evaluator, responses.response_no

)

select
    responses.subject_id,
    responses.evaluator,
    responses.response_no,
    responses.overall_response,
    responses.assessed_on,
    confirmer.assessed_on as confirmed_by_on,
    {% if response['confirm_days'] == 0 -%}
    true as is_confirmed
    {%- else -%}
    confirmer.response_no is not null
    and confirmer.ne_so_far - responses.ne_so_far <= {{ response['confirm_max_ne'] }}
    and case
        when responses.overall_response = 'CR' then confirmer.breaks_of_cr_so_far = responses.breaks_of_cr_so_far
        else
            confirmer.breaks_of_pr_so_far = responses.breaks_of_pr_so_far
            and confirmer.sd_so_far - responses.sd_so_far <= {{ 1 if response['confirm_accept_sd'] else 0 }}
            -- no partial response after a complete one
            and (
                responses.next_cr_no is null
                or responses.next_cr_no > confirmer.response_no
                or responses.next_cr_no > confirmer.latest_pr_no
            )
    end as is_confirmed
    {%- endif %}
from {{ ref('int_response_sequence') }} as responses
left join confirmers
    on
        responses.subject_id = confirmers.subject_id
        and responses.evaluator = confirmers.evaluator
        and responses.response_no = confirmers.response_no
left join {{ ref('int_response_sequence') }} as confirmer
    on
        responses.subject_id = confirmer.subject_id
        and confirmers.evaluator = confirmer.evaluator
        and confirmers.confirmer_no = confirmer.response_no
where responses.overall_response in ('CR', 'PR')
