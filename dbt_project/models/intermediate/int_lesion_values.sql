with lesions as (

    select
        subject_id,
        evaluator,
        reader,
        visit_no,
        lesion_id,
        role,
        is_nodal,
        -- the parts of a split lesion add up; a merged one counts once
        cast(sum(case when is_counted then diameter_mm else 0 end) as decimal(18, 6)) as diameter_mm,
        sum(case when is_part then 1 else 0 end) as parts,
        sum(case when is_part and diameter_mm is null and not is_seen then 1 else 0 end) as parts_not_assessed,
        sum(case when is_part and diameter_mm is null then 1 else 0 end) as parts_not_measured,
        sum(case when not is_part and diameter_mm is not null then 1 else 0 end) as wholes_measured,
        max(case when is_seen then 1 else 0 end) = 1 as is_seen,
        max(seen_on) as seen_on,
        min(progression_on) as progression_on
    from {{ ref('int_lesion_readings') }}
    group by subject_id, evaluator, reader, visit_no, lesion_id, role, is_nodal

),

judged as (

    select
        *,
        (parts = 0 and wholes_measured > 0) or (parts > 0 and parts_not_measured = 0) as is_measured,
        parts > 0 and parts_not_assessed > 0 as is_partly_assessed
    from lesions

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
    -- a target needs its diameter, a non-target to be seen, measured or found absent
    case when role = 'TARGET' then is_measured else (is_measured or is_seen) and not is_partly_assessed end as is_assessed,
    case
        when progression_on is not null then false
        when is_nodal and is_measured then diameter_mm < {{ var('response')['node_normal_mm'] }}
        when role = 'NON-TARGET' and is_seen then false
        else is_measured and diameter_mm = 0
    end as is_gone,
    seen_on,
    progression_on
from judged
