-- every sample is the baseline, or has a change, or says why not: exactly one of them, in all columns alike
{% set thresholds = var('analysis')['change_thresholds_pct'] %}

select *
from {{ ref('fct_her2_delta') }}
where
    is_usable <> (unusable_reason is null)
    or (is_usable and not is_baseline) <> (change_ng_ml is not null)
    or (change_ng_ml is null) <> (log2_ratio is null)
    or (change_ng_ml is null) <> (pct_change is null)
    or (not is_usable and change_category <> 'NOT EVALUABLE')
    or (change_category is null) <> (is_usable and is_baseline)
    or (change_category like 'FALL%' and pct_change > -{{ thresholds['fall'] }})
    or (change_category like 'RISE%' and pct_change < {{ thresholds['rise'] }})
    or (change_category = 'STABLE' and pct_change not between -{{ thresholds['fall'] }} and {{ thresholds['rise'] }})
