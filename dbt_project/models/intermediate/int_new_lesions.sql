with visits as (

    select
        assessments.subject_id,
        assessments.evaluator,
        assessments.reader,
        assessments.visit_no,
        assessments.days_from_reference,
        statements.seen_on,
        statements.status,
        statements.visit_no is not null as has_statement
    from {{ ref('int_assessments') }} as assessments
    left join {{ ref('int_new_lesion_statements') }} as statements
        on
            assessments.subject_id = statements.subject_id
            and assessments.evaluator = statements.evaluator
            and assessments.reader = statements.reader
            and assessments.visit_no = statements.visit_no
    where assessments.is_post_baseline

)

-- once there is a new lesion, every later visit is a progression
select
    subject_id,
    evaluator,
    reader,
    visit_no,
    has_statement,
    case
        when days_from_reference >= min(case when status = 'YES' then days_from_reference end) over (
            partition by subject_id, evaluator, reader
        ) then 'YES'
        else coalesce(status, 'NO')
    end as new_lesion,
    case when status = 'YES' then seen_on end as progression_on
from visits
