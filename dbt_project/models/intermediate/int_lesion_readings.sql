with measurements as (

    select
        visits.subject_id,
        visits.evaluator,
        visits.reader,
        visits.visit_no,
        visits.seen_on,
        lesions.lesion_id,
        names.measured_id,
        names.part_id,
        names.is_counted,
        names.is_nodal,
        lesions.role,
        case
            when measurements.is_not_done then null
            when measurements.diameter_mm is not null then measurements.diameter_mm
            when measurements.state_code = 'TOO SMALL TO MEASURE' then {{ var('response')['too_small_mm'] }}
            when measurements.state_code = 'ABSENT' then 0
        end as diameter_mm,
        case when not measurements.is_not_done then measurements.state_code end as state_code,
        -- what the reader put into the sum, else the axis of the rule, else the state
        case
            when measurements.test = 'DIAMETER' then 1
            when measurements.test in ('LPERP', 'SAXIS') and names.is_nodal then 2
            when measurements.test = 'LDIAM' and not names.is_nodal then 2
            when measurements.test = 'TUMSTATE' then 3
        end as test_rank,
        coalesce(measurements.method = lesions.method, false) as is_method_of_baseline
    from {{ ref('stg_tumor_measurements') }} as measurements
    inner join {{ ref('int_assessment_visits') }} as visits
        on
            measurements.subject_id = visits.subject_id
            and measurements.evaluator = visits.evaluator
            and measurements.reader = visits.reader
            and coalesce(measurements.visit_name, '') = visits.visit_name
            and coalesce(measurements.assessed_on_text, '') = visits.on_text
    inner join {{ ref('int_measured_lesions') }} as names
        on
            measurements.subject_id = names.subject_id
            and measurements.evaluator = names.evaluator
            and measurements.reader = names.reader
            and measurements.lesion_id = names.measured_id
    inner join {{ ref('int_baseline_lesions') }} as lesions
        on
            names.subject_id = lesions.subject_id
            and names.evaluator = lesions.evaluator
            and names.reader = lesions.reader
            and names.lesion_id = lesions.lesion_id

),

ranked as (

    select
        *,
        min(case when diameter_mm is not null then test_rank end) over reading as best_rank,
        -- the baseline's method before others
        min(case when diameter_mm is not null then 2 * test_rank - case when is_method_of_baseline then 1 else 0 end end)
            over reading as best_preference
    from measurements
    where test_rank is not null
    window reading as (partition by subject_id, evaluator, reader, visit_no, lesion_id, part_id, measured_id)

),

preferred as (

    select
        *,
        test_rank = best_rank as is_of_best_test,
        2 * test_rank - case when is_method_of_baseline then 1 else 0 end = best_preference as is_preferred
    from ranked

)

select
    subject_id,
    evaluator,
    reader,
    visit_no,
    lesion_id,
    part_id,
    measured_id,
    role,
    is_nodal,
    is_counted,
    cast(max(case when is_preferred then diameter_mm end) as decimal(18, 6)) as diameter_mm,
    cast(min(case when is_of_best_test then diameter_mm end) as decimal(18, 6)) as smallest_mm,
    cast(max(case when is_of_best_test then diameter_mm end) as decimal(18, 6)) as largest_mm,
    max(case when is_preferred then seen_on end) as measured_on,
    max(case when is_preferred or state_code is not null then seen_on end) as seen_on,
    min(case when state_code = 'UNEQUIVOCAL' then seen_on end) as progression_on,
    max(case when state_code in ('PRESENT', 'EQUIVOCAL', 'TOO SMALL TO MEASURE', 'UNEQUIVOCAL') then 1 else 0 end) = 1
        as is_seen
from preferred
group by
    subject_id, evaluator, reader, visit_no, lesion_id, part_id, measured_id, role, is_nodal, is_counted
