{% set response = var('response') %}

with reads as (

    select
        reads.*,
        targets.assessed_targets,
        -- what the target response would be if the nadir were ignored
        case
            when targets.gone_targets = targets.targets then 'CR'
            when
                100 * targets.measured_sum_mm >= {{ 100 + response['progression_pct'] }} * targets.baseline_sum_mm
                and targets.measured_sum_mm - targets.baseline_sum_mm >= {{ response['progression_mm'] }}
                then 'PD'
            when 100 * targets.measured_sum_mm <= {{ 100 - response['partial_response_pct'] }} * targets.baseline_sum_mm then 'PR'
            else 'SD'
        end as response_to_baseline
    from {{ ref('int_reader_responses') }} as reads
    left join {{ ref('int_target_response') }} as targets
        on
            reads.subject_id = targets.subject_id
            and reads.evaluator = targets.evaluator
            and reads.reader = targets.reader
            and reads.visit_no = targets.visit_no

),

compared as (

    select
        *,
        case
            when assessed_targets < targets then 'missing lesion'
            when response_to_baseline = coalesce(reported_target_response, reported_response)
                and derived_target_response <> response_to_baseline then 'nadir'
            else 'arithmetic'
        end as target_reason
    from reads

)

select
    subject_id, evaluator, reader, visit_no, visit_name, assessed_on,
    'target response' as subject_matter,
    derived_target_response as derived,
    reported_target_response as reported,
    target_reason as reason
from compared
where derived_target_response <> reported_target_response
union all
select
    subject_id, evaluator, reader, visit_no, visit_name, assessed_on,
    'non-target response' as subject_matter,
    derived_non_target_response as derived,
    reported_non_target_response as reported,
    'lesion states' as reason
from compared
where derived_non_target_response <> reported_non_target_response
union all
select
    subject_id, evaluator, reader, visit_no, visit_name, assessed_on,
    'overall response' as subject_matter,
    derived_response as derived,
    reported_response as reported,
    case
        -- both say the same, by the code of another table
        when
            (derived_response in ('SD', 'NON-CR/NON-PD') and reported_response in ('SD', 'NON-CR/NON-PD'))
            or (derived_response in ('NE', 'NA') and reported_response in ('NE', 'NA'))
            then 'code'
        when derived_target_response <> reported_target_response then target_reason
        when derived_non_target_response <> reported_non_target_response then 'non-target response'
        when derived_new_lesion = 'YES' and reported_response <> 'PD'
            then case when reported_new_lesion = 'YES' then 'table' else 'new lesion' end
        when not is_derived_from_baseline then 'no baseline'
        when reported_target_response is not null then 'table'
        when targets > 0 then target_reason
        else 'non-target response'
    end as reason
from compared
where derived_response <> reported_response
