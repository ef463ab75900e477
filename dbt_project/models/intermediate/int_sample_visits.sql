-- the planned sampling visit of each sample: the nearest planned day whose window holds it, ties to the earlier
with samples as (

    select
        subject_id,
        laboratory,
        sample_id,
        collected_on,
        collected_at,
        unusable_reason is null as is_usable,
        {{ days_between('first_dose_on', 'collected_on') }} as day_offset
    from {{ ref('int_serum_her2_changes') }}
    where first_dose_on is not null

),

visits_of_days as (

    select
        days.subject_id,
        days.day_offset,
        windows.visit_name,
        abs(days.day_offset - windows.planned_offset) as days_off,
        row_number() over (
            partition by days.subject_id, days.day_offset
            order by abs(days.day_offset - windows.planned_offset), windows.planned_offset
        ) as nearest_first
    from (select distinct subject_id, day_offset from samples) as days
    inner join {{ ref('int_visit_windows') }} as windows
        on days.day_offset between windows.sampling_start_offset and windows.sampling_end_offset
    where windows.is_sampling_visit

)

select
    samples.subject_id,
    samples.laboratory,
    samples.sample_id,
    visits.visit_name as analysis_visit_name,
    samples.is_usable and row_number() over (
        partition by samples.subject_id, visits.visit_name, samples.is_usable
        order by
            visits.days_off, samples.collected_on, samples.collected_at nulls last, samples.sample_id,
            samples.laboratory nulls last
    ) = 1 as is_visit_value
from samples
inner join visits_of_days as visits
    on samples.subject_id = visits.subject_id and samples.day_offset = visits.day_offset and visits.nearest_first = 1
