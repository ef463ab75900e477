select
    subject_id,
    evaluator,
    min(assessed_on) as progression_on
from {{ ref('int_overall_response') }}
where overall_response = 'PD'
group by subject_id, evaluator
