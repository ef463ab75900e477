with accepted_reads as (

    select
        reads.subject_id,
        reads.evaluator,
        reads.reader,
        reads.visit_no,
        reads.assessed_on,
        reads.reference_on,
        case when reads.overall_response = 'NA' then 'NE' else reads.overall_response end as overall_response,
        reads.is_derived,
        ranks.is_adequate,
        -- assessments of one day: the worst counts
        row_number() over (
            partition by reads.subject_id, reads.evaluator, reads.assessed_on
            order by ranks.worst_rank desc, reads.visit_no, reads.reader
        ) as worst_first
    from {{ ref('int_accepted_reads') }} as reads
    inner join {{ ref('overall_response_rank') }} as ranks on reads.overall_response = ranks.response
    where reads.is_accepted and reads.assessed_on > reads.reference_on

)

select
    subject_id,
    evaluator,
    reader,
    visit_no,
    assessed_on,
    reference_on,
    overall_response,
    is_derived,
    is_adequate,
    row_number() over (partition by subject_id, evaluator order by assessed_on) as response_no
from accepted_reads
where worst_first = 1
