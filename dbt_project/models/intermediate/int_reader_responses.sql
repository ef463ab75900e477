{% set basis = var('response')['basis'] %}

with responses as (

    select
        assessments.*,
        derived.has_disease,
        coalesce(derived.has_baseline, false) as is_derived_from_baseline,
        derived.target_response as derived_target_response,
        derived.non_target_response as derived_non_target_response,
        derived.new_lesion as derived_new_lesion,
        derived.derived_response,
        reported.reported_response,
        reported.reported_target_response,
        reported.reported_non_target_response,
        reported.reported_new_lesion,
        derived.progression_on as derived_progression_on,
        reported.progression_on as reported_progression_on,
        {% if basis == 'reported' %}
        false as is_derived,
        {% elif basis == 'derived' %}
        derived.derived_response is not null as is_derived,
        {% else %}
        -- without a baseline a reporter of overall responses vouches for it
        derived.derived_response is not null and (derived.has_baseline or reported.reported_response is null) as is_derived,
        {% endif %}
        coalesce(sums.targets, 0) as targets,
        sums.baseline_sum_mm,
        sums.nadir_mm,
        sums.measured_sum_mm,
        sums.sum_mm
    from {{ ref('int_assessments') }} as assessments
    left join {{ ref('int_derived_response') }} as derived
        on
            assessments.subject_id = derived.subject_id
            and assessments.evaluator = derived.evaluator
            and assessments.reader = derived.reader
            and assessments.visit_no = derived.visit_no
    left join {{ ref('int_reported_response') }} as reported
        on
            assessments.subject_id = reported.subject_id
            and assessments.evaluator = reported.evaluator
            and assessments.reader = reported.reader
            and assessments.visit_no = reported.visit_no
    left join {{ ref('int_target_response') }} as sums
        on
            assessments.subject_id = sums.subject_id
            and assessments.evaluator = sums.evaluator
            and assessments.reader = sums.reader
            and assessments.visit_no = sums.visit_no

),

chosen as (

    select
        *,
        case
            when is_derived then derived_response
            {{ '' if basis == 'derived' else 'when is_post_baseline then reported_response' }}
        end as chosen_response
    from responses

),

histories as (

    select
        *,
        coalesce(
            days_from_reference > min(case when chosen_response = 'CR' then days_from_reference end) over (
                partition by subject_id, evaluator, reader
            )
            and case
                when is_derived then has_disease
                else chosen_response in ('PR', 'SD', 'NON-CR/NON-PD')
            end,
            false
        ) as has_disease_after_cr
    from chosen

),

overall as (

    select
        *,
        {% if var('response')['disease_after_cr'] == 'pd' %}
        case when has_disease_after_cr and chosen_response is not null then 'PD' else chosen_response end
        {% else %}
        chosen_response
        {% endif %}
        as overall_response
    from histories

)

select
    *,
    case
        when overall_response <> 'PD' or overall_response is null then measured_on
        when derived_response = 'PD' then coalesce(derived_progression_on, measured_on)
        when not has_lesion_row then coalesce(reported_progression_on, measured_on)
        else measured_on
    end as assessed_on
from overall
