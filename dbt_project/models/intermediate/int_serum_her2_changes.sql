-- which samples are compared with the baseline, by what thresholds; which are not, and why
{% set thresholds = var('analysis')['change_thresholds_pct'] %}
{% set cutoff = var('analytes')['serum_her2']['cutoff_ng_ml'] %}

with compared as (

    select
        samples.*,
        baselines.baseline_ng_ml,
        coalesce(baselines.is_below_lloq, false) as is_baseline_below_lloq,
        coalesce(
            samples.sample_id = baselines.sample_id and samples.laboratory is not distinct from baselines.laboratory, false
        ) as is_baseline,
        case
            when samples.invalid_reason is not null then samples.invalid_reason
            when baselines.baseline_ng_ml is null and samples.collected_on > samples.first_dose_on then 'no baseline'
            when baselines.baseline_ng_ml = 0 then 'baseline is 0'
            when samples.sample_id = baselines.sample_id and samples.laboratory is not distinct from baselines.laboratory
                then null
            when samples.collected_on <= samples.first_dose_on then 'before treatment and not the baseline'
            when samples.assay is distinct from baselines.assay then 'different assay from baseline'
            when samples.is_below_lloq and baselines.is_below_lloq then 'baseline and value below LLOQ'
            when samples.analysed_value_ng_ml = 0 then 'value is 0'
        end as unusable_reason
    from {{ ref('int_serum_her2_samples') }} as samples
    left join {{ ref('int_serum_her2_baseline') }} as baselines on samples.subject_id = baselines.subject_id

),

ordered as (

    select
        *,
        unusable_reason is null and not is_baseline as has_change,
        min(case when unusable_reason is null then analysed_value_ng_ml end) over (
            partition by subject_id
            order by collected_on nulls last, collected_at nulls last, sample_id, laboratory nulls last
            rows between unbounded preceding and 1 preceding
        ) as earlier_lowest_ng_ml
    from compared

),

measured as (

    select
        *,
        case when has_change then analysed_value_ng_ml end as post_ng_ml,
        case when has_change then earlier_lowest_ng_ml end as nadir_ng_ml
    from ordered

)

select
    subject_id,
    laboratory,
    sample_id,
    collected_on,
    collected_at,
    visit_name,
    value_ng_ml,
    value_operator,
    assay,
    lloq_ng_ml,
    uloq_ng_ml,
    is_below_lloq,
    analysed_value_ng_ml,
    is_timing_unknown,
    first_dose_on,
    is_baseline,
    baseline_ng_ml,
    post_ng_ml,
    nadir_ng_ml,
    has_change,
    unusable_reason,
    has_change and is_below_lloq <> is_baseline_below_lloq as is_bound,
    case
        when is_baseline and unusable_reason is null then null
        when not has_change then 'NOT EVALUABLE'
        when 100 * post_ng_ml <= {{ 100 - thresholds['fall'] }} * baseline_ng_ml then 'FALL_{{ thresholds['fall'] }}'
        when 100 * post_ng_ml >= {{ 100 + thresholds['rise'] }} * baseline_ng_ml then 'RISE_{{ thresholds['rise'] }}'
        else 'STABLE'
    end as change_category,
    100 * post_ng_ml <= {{ thresholds['at_most_of_baseline'] }} * baseline_ng_ml as is_at_most_77pct,
    100 * post_ng_ml <= {{ 100 - thresholds['deep_fall'] }} * baseline_ng_ml as is_fall_55,
    case when baseline_ng_ml >= {{ cutoff }} then post_ng_ml < {{ cutoff }} end as is_normalised,
    100 * post_ng_ml >= {{ 100 + thresholds['rise'] }} * nadir_ng_ml
    and post_ng_ml - nadir_ng_ml >= {{ var('analysis')['rise_floor_ng_ml'] }} as is_rise_from_nadir
from measured
