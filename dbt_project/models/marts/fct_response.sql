select
    subject_id,
    evaluator,
    reader,
    cast(visit_no as integer) as assessment_no,
    is_accepted,
    is_baseline,
    coalesce(is_baseline and {{ days_between('assessed_on', 'reference_on') }} > {{ var('response')['baseline_window_days'] }}, false)
        as is_baseline_outside_window,
    assessed_on,
    is_date_imputed,
    {{ study_day('assessed_on', 'reference_on') }} as study_day,
    nullif(visit_name, '') as visit_name,
    cast(case when is_baseline then baseline_sum_mm else measured_sum_mm end as decimal(18, 6)) as sum_of_diameters_mm,
    sum_mm is not null as is_sum_complete,
    cast(baseline_sum_mm as decimal(18, 6)) as baseline_sum_mm,
    cast(nadir_mm as decimal(18, 6)) as nadir_sum_mm,
    {{ exact_ratio('100 * (sum_mm - baseline_sum_mm)', 'baseline_sum_mm', 4) }} as pct_change_from_baseline,
    {{ exact_ratio('100 * (sum_mm - nadir_mm)', 'nadir_mm', 4) }} as pct_change_from_nadir,
    case when is_derived then derived_target_response else reported_target_response end as target_response,
    case when is_derived then derived_non_target_response else reported_non_target_response end as non_target_response,
    case when is_derived then derived_new_lesion else reported_new_lesion end as new_lesion,
    derived_response,
    reported_response,
    overall_response,
    coalesce(derived_response <> reported_response, false) as is_disagreement
from {{ ref('int_accepted_reads') }}
where is_baseline or is_post_baseline
