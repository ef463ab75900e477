-- demographics tell the date of death best, then dispositions; a status of DEAD only tells when somebody heard of it
with reports as (

    select
        subject_id,
        1 as source_rank,
        death_on,
        death_latest_on,
        is_death_on_imputed as is_imputed
    from {{ ref('stg_subjects') }}
    where death_on is not null
    union all
    select
        subject_id,
        2 as source_rank,
        occurred_on as death_on,
        occurred_latest_on as death_latest_on,
        is_occurred_on_imputed as is_imputed
    from {{ ref('stg_dispositions') }}
    where is_death and occurred_on is not null
    union all
    select
        subject_id,
        3 as source_rank,
        assessed_on as death_on,
        assessed_latest_on as death_latest_on,
        is_assessed_on_imputed as is_imputed
    from {{ ref('stg_survival_status') }}
    where status = 'DEAD' and assessed_on is not null

),

ranked as (

    select
        reports.*,
        row_number() over (
            partition by reports.subject_id
            order by
                case when reports.source_rank = 3 then 1 else 0 end, case when reports.is_imputed then 1 else 0 end,
                reports.source_rank, reports.death_on
        ) as preference,
        min(case when reports.source_rank < 3 and not reports.is_imputed then reports.death_on end)
            over (partition by reports.subject_id) as earliest_reported_on,
        max(case when reports.source_rank < 3 and not reports.is_imputed then reports.death_on end)
            over (partition by reports.subject_id) as latest_reported_on
    from reports
    cross join {{ ref('int_data_cutoff') }} as data_cutoff
    where reports.death_on <= data_cutoff.cutoff_on

)

select
    subject_id,
    death_on,
    death_latest_on,
    is_imputed,
    earliest_reported_on,
    latest_reported_on
from ranked
where preference = 1
