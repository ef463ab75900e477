{% set response = var('response') %}

-- what the responses of a read say one after the other
with statements as (

    select
        *,
        max(case when stated_status = 'YES' then seen_on end) over (partition by subject_id, evaluator, reader) as last_certain_on
    from {{ ref('int_new_lesion_statements') }}

)

select
    'disease_after_cr' as kind,
    subject_id,
    concat_ws(
        '', {{ read_label('responses') }}, ' on ', {{ as_text('assessed_on') }}, ': ', chosen_response, ' after a complete response; ',
        '{{ 'counted as PD' if response['disease_after_cr'] == 'pd' else 'to be judged (PD by the footnote of RECIST)' }}'
    ) as detail,
    'warning' as severity
from {{ ref('int_reader_responses') }} as responses
where has_disease_after_cr and chosen_response <> 'PD'

union all
select
    'new_lesion_dated_back' as kind,
    subject_id,
    concat_ws('', {{ read_label('statements') }}, ' ', dated_back_lesion_id, ': progression dated back to its first appearance on ', {{ as_text('seen_on') }})
        as detail,
    'info' as severity
from statements
where dated_back_lesion_id is not null

union all
select
    'new_lesion_not_dated_back' as kind,
    subject_id,
    concat_ws('', {{ read_label('statements') }}, ': equivocal on ', {{ as_text('seen_on') }}, ', certain later, but the lesion is not named') as detail,
    'info' as severity
from statements
where stated_status = 'EQUIVOCAL' and not is_lesion_named and last_certain_on > seen_on

union all
select
    'stable_disease_by_window' as kind,
    subject_id,
    concat_ws(
        '', evaluator, ' on ', {{ as_text('assessed_on') }}, ': ', overall_response, ' on day ', {{ as_text('days_from_reference') }},
        ' counts only by the window of {{ response['duration_window_days'] }} days'
    ) as detail,
    'info' as severity
from {{ ref('int_best_response_classes') }}
where overall_response in ('SD', 'NON-CR/NON-PD') and is_long_enough and not is_long_enough_without_window
