-- the shown figures, recomputed from each other: 100 x change = pct x baseline, and 2^log2_ratio = 1 + pct / 100
select *
from {{ ref('fct_her2_delta') }}
where
    analysed_value_ng_ml - baseline_ng_ml <> change_ng_ml
    or abs(100 * {{ to_double('change_ng_ml') }} - {{ to_double('pct_change') }} * {{ to_double('baseline_ng_ml') }})
    > 0.000001 * greatest(1, {{ to_double('baseline_ng_ml') }})
    or abs(power(2, {{ to_double('log2_ratio') }}) * 100 - (100 + {{ to_double('pct_change') }}))
    > 0.00001 * greatest(1, 100 + {{ to_double('pct_change') }})
