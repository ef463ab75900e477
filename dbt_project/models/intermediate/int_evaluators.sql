select '{{ var('response')['evaluator'] }}' as evaluator
union
select evaluator
from {{ ref('int_assessments') }}
