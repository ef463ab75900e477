select
    subjects.subject_id,
    subjects.evaluator,
    coalesce(best.best_overall_response, 'MISSING') as best_overall_response,
    best.best_overall_response_on,
    coalesce(best.confirmed_best_overall_response, 'MISSING') as confirmed_best_overall_response,
    best.confirmed_best_overall_response_on,
    best.first_response_on is not null as is_responder,
    best.confirmed_response_on is not null as is_confirmed_responder,
    best.first_response_on,
    best.confirmed_response_on,
    coalesce(
        {{ 'best.confirmed_best_overall_response' if var('response')['confirm_days'] > 0 else 'best.best_overall_response' }}
        in {{ text_list(var('response')['disease_control_values'] or ['']) }}, false
    ) as has_disease_control,
    coalesce(best.confirmed_response_on is not null or best.has_long_control, false) as has_clinical_benefit,
    changes.best_pct_change
from {{ ref('int_subject_evaluators') }} as subjects
left join {{ ref('int_best_response') }} as best
    on subjects.subject_id = best.subject_id and subjects.evaluator = best.evaluator
left join {{ ref('int_best_change') }} as changes
    on subjects.subject_id = changes.subject_id and subjects.evaluator = changes.evaluator
