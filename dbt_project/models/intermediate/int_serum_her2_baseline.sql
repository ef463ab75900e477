-- the last valid value on or before the first dose, never a later one
with candidates as (

    select
        *,
        row_number() over (
            partition by subject_id
            order by collected_on desc, collected_at desc nulls last, sample_id asc, laboratory asc nulls last
        ) as newest_first
    from {{ ref('int_serum_her2_samples') }}
    where
        invalid_reason is null
        and collected_on <= first_dose_on
        and collected_on >= {{ add_days('first_dose_on', -var('baseline')['window_days']) }}

)

select
    subject_id,
    laboratory,
    sample_id,
    collected_on,
    assay,
    analysed_value_ng_ml as baseline_ng_ml,
    is_below_lloq
from candidates
where newest_first = 1
