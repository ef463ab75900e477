with visits as (

    select
        subject_id,
        evaluator,
        reader,
        visit_no,
        min(seen_on) as seen_on,
        min(case when lesion_id is not null then source_rank end) as naming_rank,
        -- the response row decides; a new lesion without one is certain
        case
            when sum(case when source = 'response' then 1 else 0 end) > 0 then
                case
                    when sum(case when source = 'response' and status = 'YES' then 1 else 0 end) > 0 then 'YES'
                    when sum(case when source = 'response' and status = 'EQUIVOCAL' then 1 else 0 end) > 0 then 'EQUIVOCAL'
                    else 'NO'
                end
            when sum(case when source = 'identification' then 1 else 0 end) > 0 then 'YES'
            when sum(case when status = 'YES' then 1 else 0 end) > 0 then 'YES'
        end as status
    from {{ ref('int_new_lesion_mentions') }}
    group by subject_id, evaluator, reader, visit_no

),

-- a visit's status belongs to the lesions that its response row names, else to those identified there,
-- else to those measured there
lesions_at_visits as (

    select
        mentions.subject_id,
        mentions.evaluator,
        mentions.reader,
        mentions.lesion_id,
        mentions.visit_no,
        min(mentions.seen_on) as seen_on,
        coalesce(
            max(case when mentions.source = 'response' then mentions.status end),
            max(case when mentions.source = 'measurement' then mentions.status end),
            max(case when mentions.source_rank = visits.naming_rank then visits.status end)
        ) as status
    from {{ ref('int_new_lesion_mentions') }} as mentions
    inner join visits
        on
            mentions.subject_id = visits.subject_id
            and mentions.evaluator = visits.evaluator
            and mentions.reader = visits.reader
            and mentions.visit_no = visits.visit_no
    where mentions.lesion_id is not null
    group by mentions.subject_id, mentions.evaluator, mentions.reader, mentions.lesion_id, mentions.visit_no

),

lesions as (

    select
        subject_id,
        evaluator,
        reader,
        lesion_id,
        min(case when status = 'EQUIVOCAL' then seen_on end) as equivocal_on,
        max(case when status = 'YES' then seen_on end) as last_certain_on
    from lesions_at_visits
    group by subject_id, evaluator, reader, lesion_id

),

-- an uncertain lesion that is later certain was a progression when it first appeared
dated_back as (

    select distinct
        lesions_at_visits.subject_id,
        lesions_at_visits.evaluator,
        lesions_at_visits.reader,
        lesions_at_visits.visit_no,
        min(lesions_at_visits.lesion_id) over (
            partition by
                lesions_at_visits.subject_id, lesions_at_visits.evaluator, lesions_at_visits.reader, lesions_at_visits.visit_no
        ) as lesion_id
    from lesions_at_visits
    inner join lesions
        on
            lesions_at_visits.subject_id = lesions.subject_id
            and lesions_at_visits.evaluator = lesions.evaluator
            and lesions_at_visits.reader = lesions.reader
            and lesions_at_visits.lesion_id = lesions.lesion_id
            and lesions_at_visits.seen_on = lesions.equivocal_on
            and lesions.equivocal_on < lesions.last_certain_on

)

select
    visits.subject_id,
    visits.evaluator,
    visits.reader,
    visits.visit_no,
    visits.seen_on,
    visits.naming_rank is not null as is_lesion_named,
    visits.status as stated_status,
    case when dated_back.visit_no is not null then 'YES' else visits.status end as status,
    dated_back.lesion_id as dated_back_lesion_id
from visits
left join dated_back
    on
        visits.subject_id = dated_back.subject_id
        and visits.evaluator = dated_back.evaluator
        and visits.reader = dated_back.reader
        and visits.visit_no = dated_back.visit_no
