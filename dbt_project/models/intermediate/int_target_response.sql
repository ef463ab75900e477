{% set response = var('response') %}

with responses as (

    select
        *,
        case
            when is_baseline then null
            when assessed_targets = targets and gone_targets = targets then 'CR'
            -- the part that was measured may already be a progression
            when
                100 * measured_sum_mm >= {{ 100 + response['progression_pct'] }} * nadir_mm
                and measured_sum_mm - nadir_mm >= {{ response['progression_mm'] }}
                then 'PD'
            when assessed_targets < targets or baseline_sum_mm is null then 'NE'
            when 100 * measured_sum_mm <= {{ 100 - response['partial_response_pct'] }} * baseline_sum_mm then 'PR'
            else 'SD'
        end as strict_response
    from {{ ref('int_target_sums') }}

),

histories as (

    select
        *,
        min(case when strict_response = 'PR' then days_from_reference end) over reader_visits as first_partial_response,
        min(case when strict_response = 'PD' then days_from_reference end) over reader_visits as first_progression
    from responses
    window reader_visits as (partition by subject_id, evaluator, reader)

)

select
    subject_id,
    evaluator,
    reader,
    visit_no,
    targets,
    assessed_targets,
    gone_targets,
    baseline_sum_mm,
    nadir_mm,
    sum_mm,
    measured_sum_mm,
    {% if response['carry_partial_response'] -%}
    case
        when
            strict_response = 'SD'
            and days_from_reference > first_partial_response
            and (days_from_reference <= first_progression or first_progression is null)
            then 'PR'
        else strict_response
    end
    {%- else -%}
    strict_response
    {%- endif %} as target_response,
    -- the day of the last measurement that makes the sum
    case when strict_response = 'PD' then measured_on end as progression_on
from histories
