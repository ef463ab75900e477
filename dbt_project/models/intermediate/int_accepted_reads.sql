with reads as (

    select
        *,
        count(*) over visit as readers,
        max(case when has_accepted_response then 1 else 0 end) over visit as accepted_responses,
        max(case when has_accepted_lesion then 1 else 0 end) over visit as accepted_lesions
    from {{ ref('int_reader_responses') }}
    window visit as (partition by subject_id, evaluator, visit_no)

)

-- the flag of the response rows, else of the lesion rows; without any flag the only reader
select
    *,
    case
        when accepted_responses = 1 then has_accepted_response
        when accepted_lesions = 1 then has_accepted_lesion
        else readers = 1
    end as is_accepted
from reads
