-- which samples may show progression in serum, which of them rise above the nadir, and whether the next one confirms it
{% set rise = 100 + var('analysis')['change_thresholds_pct']['rise'] %}
{% set floor = var('analysis')['rise_floor_ng_ml'] %}

with measured as (

    select
        changes.*,
        -- a value without a change still tells whether it confirms: one below the LLOQ does not, one above the ULOQ is at least that
        case when changes.unusable_reason = 'above ULOQ' then changes.uloq_ng_ml else changes.analysed_value_ng_ml end
            as at_least_ng_ml,
        (progressions.progression_on is null or changes.collected_on <= {{ add_days('progressions.progression_on', var('visits')['imaging']['sampling_window_days']) }})
        and (timeline.new_therapy_on is null or changes.collected_on < timeline.new_therapy_on) as is_in_time
    from {{ ref('int_serum_her2_changes') }} as changes
    inner join {{ ref('int_serum_her2_baseline') }} as baselines
        on changes.subject_id = baselines.subject_id and changes.assay is not distinct from baselines.assay
    inner join {{ ref('int_subject_timeline') }} as timeline on changes.subject_id = timeline.subject_id
    left join {{ ref('int_first_progression') }} as progressions
        on changes.subject_id = progressions.subject_id and progressions.evaluator = '{{ var('response')['evaluator'] }}'
    where
        changes.has_change
        or (
            changes.collected_on > changes.first_dose_on
            and changes.unusable_reason in ('baseline and value below LLOQ', 'value is 0', 'above ULOQ')
        )

),

followed as (

    select
        *,
        lead(at_least_ng_ml) over (
            partition by subject_id order by collected_on nulls last, collected_at nulls last, sample_id, laboratory nulls last
        ) as next_ng_ml,
        lead(is_in_time) over (
            partition by subject_id order by collected_on nulls last, collected_at nulls last, sample_id, laboratory nulls last
        ) as is_next_in_time
    from measured

)

select
    subject_id,
    laboratory,
    sample_id,
    is_in_time,
    case
        when not (is_rise_from_nadir and is_in_time) then null
        when is_next_in_time and 100 * next_ng_ml >= {{ rise }} * nadir_ng_ml and next_ng_ml - nadir_ng_ml >= {{ floor }}
            then 'CONFIRMED'
        else 'UNCONFIRMED'
    end as sher2_progression
from followed
where has_change
