select *
from {{ ref('dim_subject') }}
where
    (in_efficacy and not in_treated)
    or (in_response_evaluable and not in_efficacy)
    or (in_treated and first_dose_on is null)
    or (in_efficacy and not is_her2_low)
