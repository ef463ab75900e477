-- lesions that nobody identified, that change their role, or that were measured twice
with roles as (

    select subject_id, evaluator, reader, lesion_id, min(role) as first_role, max(role) as last_role
    from {{ ref('stg_tumor_identifications') }}
    group by subject_id, evaluator, reader, lesion_id
    having min(role) <> max(role)

)

select
    'role_changed' as kind,
    subject_id,
    concat_ws('', {{ read_label('roles') }}, ' ', lesion_id, ': ', first_role, ' and ', last_role, '; the last before first dose counts') as detail,
    'warning' as severity
from roles

union all
select distinct
    'lesion_never_identified' as kind,
    measured.subject_id,
    concat_ws('', {{ read_label('measured') }}, ' ', measured.lesion_id, ': measured, but not identified at baseline; not used') as detail,
    'warning' as severity
from {{ ref('stg_tumor_measurements') }} as measured
inner join {{ ref('int_subject_timeline') }} as timeline
    on measured.subject_id = timeline.subject_id and timeline.reference_on is not null
left join {{ ref('int_measured_lesions') }} as names
    on
        measured.subject_id = names.subject_id
        and measured.evaluator = names.evaluator
        and measured.reader = names.reader
        and measured.lesion_id = names.measured_id
left join {{ ref('stg_tumor_identifications') }} as new_lesions
    on
        measured.subject_id = new_lesions.subject_id
        and measured.evaluator = new_lesions.evaluator
        and measured.reader = new_lesions.reader
        and measured.lesion_id = new_lesions.lesion_id
        and new_lesions.role = 'NEW'
where measured.test <> 'SUMDIAM' and names.lesion_id is null and new_lesions.lesion_id is null

union all
select distinct
    'lesion_measured_twice' as kind,
    readings.subject_id,
    concat_ws(
        '', {{ read_label('readings') }}, ' ', readings.measured_id, ' on ', {{ as_text('readings.seen_on') }}, ': ',
        {{ mm_text('readings.smallest_mm') }}, ' and ', {{ mm_text('readings.largest_mm') }}, ', ',
        case when readings.diameter_mm = readings.largest_mm then 'the larger counts' else 'that of the baseline''s method counts' end
    ) as detail,
    'warning' as severity
from {{ ref('int_lesion_readings') }} as readings
where readings.smallest_mm < readings.largest_mm

union all
select
    'lesion_measured_twice' as kind,
    lesion_values.subject_id,
    concat_ws(
        '', {{ read_label('lesion_values') }}, ' ', lesion_values.lesion_id, ' on ', {{ as_text('lesion_values.seen_on') }}, ': ',
        {{ mm_text('lesion_values.whole_mm') }}, ' as a whole and ', {{ mm_text('lesion_values.parts_mm') }}, ' by its parts, the larger counts'
    ) as detail,
    'warning' as severity
from {{ ref('int_lesion_values') }} as lesion_values
where lesion_values.whole_mm <> lesion_values.parts_mm
