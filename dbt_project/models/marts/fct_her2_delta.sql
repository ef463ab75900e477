with progressions as (

    select
        subject_id,
        progression_on
    from {{ ref('int_first_progression') }}
    where evaluator = '{{ var('response')['evaluator'] }}'

)

select
    changes.subject_id,
    changes.sample_id,
    changes.laboratory,
    changes.collected_at,
    changes.collected_on,
    changes.collected_at is not null as is_time_known,
    {{ study_day('changes.collected_on', 'changes.first_dose_on') }} as study_day,
    changes.visit_name,
    visits.analysis_visit_name,
    coalesce(visits.is_visit_value, false) as is_visit_value,
    changes.value_ng_ml,
    changes.value_operator,
    changes.assay,
    changes.lloq_ng_ml,
    changes.uloq_ng_ml,
    changes.is_below_lloq,
    changes.analysed_value_ng_ml,
    changes.is_baseline,
    changes.baseline_ng_ml,
    cast(changes.post_ng_ml - changes.baseline_ng_ml as decimal(18, 6)) as change_ng_ml,
    {{ exact_ratio('100 * (changes.post_ng_ml - changes.baseline_ng_ml)', 'changes.baseline_ng_ml') }} as pct_change,
    {{ safe_cast_to(
        log2(to_double('changes.post_ng_ml') ~ ' / ' ~ to_double('changes.baseline_ng_ml')),
        'decimal(18, 9)'
    ) }} as log2_ratio,
    changes.nadir_ng_ml,
    {{ exact_ratio('100 * (changes.post_ng_ml - changes.nadir_ng_ml)', 'changes.nadir_ng_ml') }} as pct_change_from_nadir,
    changes.change_category,
    changes.is_at_most_77pct,
    changes.is_fall_55,
    changes.is_normalised,
    changes.is_rise_from_nadir,
    coalesce(rises.is_in_time, false) as is_in_time_for_progression,
    rises.sher2_progression,
    changes.is_bound,
    changes.is_timing_unknown,
    coalesce(changes.collected_on > progressions.progression_on, false) as is_after_progression,
    coalesce(changes.collected_on > subjects.new_therapy_on, false) as is_after_new_therapy,
    changes.unusable_reason is null as is_usable,
    changes.unusable_reason
from {{ ref('int_serum_her2_changes') }} as changes
inner join {{ ref('int_subjects') }} as subjects on changes.subject_id = subjects.subject_id
left join progressions on changes.subject_id = progressions.subject_id
left join {{ ref('int_serum_her2_progression') }} as rises
    on
        changes.subject_id = rises.subject_id
        and changes.sample_id = rises.sample_id
        and changes.laboratory is not distinct from rises.laboratory
left join {{ ref('int_sample_visits') }} as visits
    on
        changes.subject_id = visits.subject_id
        and changes.sample_id = visits.sample_id
        and changes.laboratory is not distinct from visits.laboratory
