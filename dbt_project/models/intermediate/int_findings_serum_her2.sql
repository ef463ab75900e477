-- what the serum results say against each other or against their own limits
with results as (

    select
        results.*,
        concat_ws(
            '', 'sample ', concat_ws(' of ', results.sample_id, results.laboratory), ', ',
            coalesce(cast(results.collected_on as varchar(10)), 'day unknown'), ': '
        ) as sample
    from {{ ref('stg_lab_results') }} as results
    inner join {{ ref('stg_subjects') }} as subjects on results.subject_id = subjects.subject_id
    where results.is_declared_analyte

),

neighbours as (

    select
        *,
        lag(value_ng_ml) over (
            partition by subject_id, assay order by collected_on nulls last, collected_at nulls last, sample_id, laboratory nulls last
        ) as previous_ng_ml
    from results
    where not has_conflict and carries_value and value_operator is null and value_ng_ml > 0

)

select
    'conflict' as kind,
    subject_id,
    concat_ws('', sample, 'different results without an order, no value is used') as detail,
    'error' as severity
from results
where has_conflict

union all
select
    'changed_without_correction' as kind,
    subject_id,
    concat_ws('', sample, 'a final result was changed without being marked as corrected, the newest is used') as detail,
    'warning' as severity
from results
where is_changed_without_correction and not has_conflict

union all
select
    'sample_of_two_subjects' as kind,
    results.subject_id,
    concat_ws('', results.sample, 'told of ', others.subject_id, ', too, with the same value: have the laboratory delete the wrong one')
        as detail,
    'warning' as severity
from results
inner join results as others
    on
        results.laboratory = others.laboratory
        and results.sample_id = others.sample_id
        and results.collected_at = others.collected_at
        and results.value_text = others.value_text
        and results.subject_id <> others.subject_id
where results.sample_id not like '%|%'  -- no number of the laboratory, but made of time and analyte

union all
select
    'unit_jump' as kind,
    subject_id,
    concat_ws(
        '', sample, cast(value_ng_ml as varchar(40)), ' ng/mL after ', cast(previous_ng_ml as varchar(40)),
        ' ng/mL by the same assay looks like a factor of 100 or 1000: check the unit'
    ) as detail,
    'warning' as severity
from neighbours
where value_ng_ml >= 50 * previous_ng_ml or previous_ng_ml >= 50 * value_ng_ml

union all
select
    'limits_inconsistent' as kind,
    subject_id,
    concat_ws(
        '', sample, coalesce(value_operator, ''), cast(value_ng_ml as varchar(40)), ' against LLOQ ',
        coalesce(cast(lloq_ng_ml as varchar(40)), 'not stated'), ' and ULOQ ', coalesce(cast(uloq_ng_ml as varchar(40)), 'not stated')
    ) as detail,
    'warning' as severity
from results
where
    uloq_ng_ml < lloq_ng_ml
    or (value_operator is null and (value_ng_ml < lloq_ng_ml or value_ng_ml > uloq_ng_ml))
    or (value_operator in ('<', '<=') and value_ng_ml <> lloq_ng_ml)
    or (value_operator in ('>', '>=') and value_ng_ml <> uloq_ng_ml)

union all
select
    'value_is_zero' as kind,
    subject_id,
    concat_ws('', sample, '0 without a limit of quantification has no ratio') as detail,
    'warning' as severity
from results
where value_ng_ml = 0 and value_operator is null and lloq_ng_ml is null

union all
select
    'assay_switch' as kind,
    subject_id,
    concat_ws(
        '', 'baseline by ', coalesce(min(baseline_assay), 'an assay not named'), ', ', cast(count(*) as varchar(20)),
        ' later samples by another assay: not compared'
    ) as detail,
    'warning' as severity
from (
    select
        changes.subject_id,
        baselines.assay as baseline_assay
    from {{ ref('int_serum_her2_changes') }} as changes
    inner join {{ ref('int_serum_her2_baseline') }} as baselines on changes.subject_id = baselines.subject_id
    where changes.unusable_reason = 'different assay from baseline'
) as switched
group by subject_id

union all
select
    'no_serum_her2_baseline' as kind,
    subject_id,
    concat_ws('', cast(count(*) as varchar(20)), ' samples under treatment have no baseline to be compared with') as detail,
    'warning' as severity
from {{ ref('int_serum_her2_changes') }}
where unusable_reason = 'no baseline'
group by subject_id
