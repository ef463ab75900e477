-- what can be said of a sample by itself: its limits, its time against the infusion, whether its value may be used
with samples as (

    select
        results.*,
        timeline.first_dose_on,
        timeline.cutoff_on,
        results.value_operator in ('<', '<=')
        or (results.value_operator is null and results.value_ng_ml < results.lloq_ng_ml) as is_below_lloq,
        results.value_operator in ('>', '>=')
        or (results.value_operator is null and results.value_ng_ml > results.uloq_ng_ml) as is_above_uloq
    from {{ ref('stg_lab_results') }} as results
    inner join {{ ref('int_subject_timeline') }} as timeline on results.subject_id = timeline.subject_id
    where results.is_declared_analyte and results.analyte = 'serum_her2'

),

dose_days as (

    select
        subject_id,
        dosed_on,
        min(started_at) as started_at
    from {{ ref('int_doses') }}
    group by subject_id, dosed_on

),

limited as (

    select
        samples.subject_id,
        samples.laboratory,
        samples.sample_id,
        samples.collected_on,
        samples.collected_at,
        samples.visit_name,
        samples.value_ng_ml,
        samples.value_operator,
        samples.assay,
        samples.result_status,
        -- without a stated limit the reported bound is it
        coalesce(samples.lloq_ng_ml, case when samples.value_operator in ('<', '<=') then samples.value_ng_ml end)
            as lloq_ng_ml,
        coalesce(samples.uloq_ng_ml, case when samples.value_operator in ('>', '>=') then samples.value_ng_ml end)
            as uloq_ng_ml,
        coalesce(samples.is_below_lloq, false) as is_below_lloq,
        coalesce(samples.is_above_uloq, false) as is_above_uloq,
        samples.has_conflict,
        samples.carries_value,
        samples.is_collected_on_imputed,
        samples.first_dose_on,
        samples.cutoff_on,
        coalesce(samples.collected_at > dose_days.started_at, false) as is_after_infusion,
        dose_days.dosed_on is not null and (samples.collected_at is null or dose_days.started_at is null)
            as is_timing_unknown
    from samples
    left join dose_days on samples.subject_id = dose_days.subject_id and samples.collected_on = dose_days.dosed_on

),

analysed as (

    select
        *,
        cast(case when is_below_lloq then lloq_ng_ml * 0.5 when not is_above_uloq then value_ng_ml end as decimal(18, 6))
            as analysed_value_ng_ml
    from limited

)

select
    subject_id,
    laboratory,
    sample_id,
    collected_on,
    collected_at,
    visit_name,
    case when not has_conflict and carries_value then value_ng_ml end as value_ng_ml,
    case when not has_conflict and carries_value then value_operator end as value_operator,
    assay,
    lloq_ng_ml,
    uloq_ng_ml,
    is_below_lloq and not has_conflict as is_below_lloq,
    is_timing_unknown,
    first_dose_on,
    case when not has_conflict and carries_value then analysed_value_ng_ml end as analysed_value_ng_ml,
    case
        when has_conflict then 'conflicting results'
        when not carries_value then 'no result yet'
        when is_collected_on_imputed then 'day of collection unknown'
        when collected_on > cutoff_on then 'after the data cut-off'
        when first_dose_on is null then 'subject not treated'
        when is_after_infusion then 'after infusion'
        when is_above_uloq then 'above ULOQ'
        when is_below_lloq and lloq_ng_ml is null then 'below an unknown LLOQ'
        when analysed_value_ng_ml is null then 'not a number'
    end as invalid_reason
from analysed
