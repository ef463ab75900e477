with readings as (

    select
        *,
        -- what has merged counts once
        case when is_counted then diameter_mm when diameter_mm is not null then 0 end as counted_mm
    from {{ ref('int_lesion_readings') }}

),

-- once a lesion has split, each of its parts is expected
first_parts as (

    select subject_id, evaluator, reader, lesion_id, part_id, min(visit_no) as first_visit_no
    from readings
    where part_id is not null
    group by subject_id, evaluator, reader, lesion_id, part_id

),

expected_parts as (

    select readings.subject_id, readings.evaluator, readings.reader, readings.visit_no, readings.lesion_id,
        count(distinct first_parts.part_id) as expected_parts
    from readings
    inner join first_parts
        on
            readings.subject_id = first_parts.subject_id
            and readings.evaluator = first_parts.evaluator
            and readings.reader = first_parts.reader
            and readings.lesion_id = first_parts.lesion_id
            and readings.visit_no >= first_parts.first_visit_no
    group by readings.subject_id, readings.evaluator, readings.reader, readings.visit_no, readings.lesion_id

),

lesions as (

    select
        subject_id,
        evaluator,
        reader,
        visit_no,
        lesion_id,
        role,
        min(case when is_nodal then 1 else 0 end) = 1 as is_nodal,
        max(diameter_mm) as largest_mm,
        max(case when part_id is null then diameter_mm end) as whole_mm,
        max(case when part_id is null then counted_mm end) as counted_whole_mm,
        sum(case when part_id is not null then counted_mm end) as parts_mm,
        count(distinct case when diameter_mm is not null then part_id end) as measured_parts,
        count(distinct case when diameter_mm is not null or is_seen then part_id end) as seen_parts,
        max(case when part_id is null and is_seen then 1 else 0 end) = 1 as is_whole_seen,
        max(case when is_seen then 1 else 0 end) = 1 as is_seen,
        max(measured_on) as measured_on,
        max(seen_on) as seen_on,
        min(progression_on) as progression_on
    from readings
    group by subject_id, evaluator, reader, visit_no, lesion_id, role

),

judged as (

    select
        lesions.*,
        coalesce(lesions.measured_parts = parts.expected_parts, false) as has_all_parts,
        lesions.whole_mm is not null or coalesce(lesions.measured_parts = parts.expected_parts, false) as is_measured,
        lesions.is_whole_seen or coalesce(lesions.seen_parts = parts.expected_parts, false) as is_fully_seen
    from lesions
    left join expected_parts as parts
        on
            lesions.subject_id = parts.subject_id
            and lesions.evaluator = parts.evaluator
            and lesions.reader = parts.reader
            and lesions.visit_no = parts.visit_no
            and lesions.lesion_id = parts.lesion_id

),

-- the parts add up; beside a whole they are the same lesion told twice, and the larger counts
valued as (

    select
        *,
        cast(
            case
                when whole_mm is null then parts_mm
                when has_all_parts then greatest(counted_whole_mm, parts_mm)
                else counted_whole_mm
            end as decimal(18, 6)
        ) as diameter_mm
    from judged

)

select
    subject_id,
    evaluator,
    reader,
    visit_no,
    lesion_id,
    role,
    is_nodal,
    diameter_mm,
    cast(case when has_all_parts then whole_mm end as decimal(18, 6)) as whole_mm,
    cast(case when has_all_parts then parts_mm end as decimal(18, 6)) as parts_mm,
    -- a target needs its diameter, a non-target to be seen, measured or found absent
    is_measured or (role = 'NON-TARGET' and is_fully_seen) as is_assessed,
    case
        when progression_on is not null then false
        when is_nodal and is_measured then greatest(diameter_mm, largest_mm) < {{ var('response')['node_normal_mm'] }}
        when role = 'NON-TARGET' and is_seen then false
        else is_measured and largest_mm = 0
    end as is_gone,
    measured_on,
    seen_on,
    progression_on
from valued
