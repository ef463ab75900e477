-- withdrew or was lost to follow-up: who ends treatment for another reason is still observed
with exits as (

    select
        dispositions.subject_id,
        dispositions.occurred_on as exited_on,
        dispositions.term as exit_term,
        case when dispositions.term like '%LOST%' then 'lost to follow-up' else 'withdrawal' end as exit_reason,
        row_number() over (
            partition by dispositions.subject_id
            order by dispositions.occurred_on, dispositions.term, dispositions.category
        ) as exit_number
    from {{ ref('stg_dispositions') }} as dispositions
    inner join {{ ref('int_data_cutoff') }} as data_cutoff on dispositions.occurred_on <= data_cutoff.cutoff_on
    where dispositions.term like '%LOST%' or dispositions.term like '%WITHDR%'

)

select
    subject_id,
    exited_on,
    exit_term,
    exit_reason
from exits
where exit_number = 1
