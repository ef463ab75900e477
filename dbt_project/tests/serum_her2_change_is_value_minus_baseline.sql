-- the shown figures, recomputed from each other: 100 x change = pct x baseline, and 2^log2_ratio = 1 + pct / 100
select *
from {{ ref('fct_her2_delta') }}
where
    analysed_value_ng_ml - baseline_ng_ml <> change_ng_ml
    or abs(100 * cast(change_ng_ml as double precision) - cast(pct_change as double precision) * cast(baseline_ng_ml as double precision))
    > 0.000001 * greatest(1, cast(baseline_ng_ml as double precision))
    or abs(power(2, cast(log2_ratio as double precision)) * 100 - (100 + cast(pct_change as double precision)))
    > 0.00001 * greatest(1, 100 + cast(pct_change as double precision))
