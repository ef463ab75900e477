-- the first anticancer therapy after the first dose that is not the study regimen; prior lines never count
with new_therapies as (

    select
        therapies.subject_id,
        therapies.started_on,
        therapies._file_id,
        therapies._row_number,
        row_number() over (
            partition by therapies.subject_id
            order by therapies.started_on, therapies.treatment, therapies._file_id, therapies._row_number
        ) as start_number
    from {{ ref('stg_therapies') }} as therapies
    cross join {{ ref('int_data_cutoff') }} as data_cutoff
    inner join (
        select
            subject_id,
            min(dosed_on) as first_dose_on
        from {{ ref('int_doses') }}
        group by subject_id
    ) as first_doses
        on therapies.subject_id = first_doses.subject_id and therapies.started_on > first_doses.first_dose_on
    left join (
        select distinct
            subject_id,
            treatment
        from {{ ref('int_doses') }}
    ) as regimen
        on therapies.subject_id = regimen.subject_id and therapies.treatment = regimen.treatment
    where
        therapies.started_on <= data_cutoff.cutoff_on
        and therapies.category in {{ text_list(var('therapies')['anticancer_categories']) }}
        and therapies.category not in {{ text_list(var('therapies')['ignored_categories'] or ['']) }}
        and therapies.treatment not in {{ text_list(var('study')['drugs'] or ['']) }}
        and regimen.treatment is null

)

select
    subject_id,
    started_on as new_therapy_on,
    _file_id,
    _row_number
from new_therapies
where start_number = 1
