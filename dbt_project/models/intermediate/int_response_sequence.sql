with considered as (

    select
        responses.subject_id,
        responses.evaluator,
        responses.response_no,
        responses.assessed_on,
        responses.overall_response,
        {{ days_between('responses.reference_on', 'responses.assessed_on') }} as days_from_reference
    from {{ ref('int_overall_response') }} as responses
    inner join {{ ref('int_subject_timeline') }} as timeline on responses.subject_id = timeline.subject_id
    left join {{ ref('int_first_progression') }} as progressions
        on responses.subject_id = progressions.subject_id and responses.evaluator = progressions.evaluator
    where
        (responses.assessed_on <= progressions.progression_on or progressions.progression_on is null)
        {% if var('response')['stop_at_new_therapy'] %}
        and (responses.assessed_on <= timeline.new_therapy_on or timeline.new_therapy_on is null)
        {% endif %}

)

-- running counts, so that what lies between two responses is a difference
select
    *,
    count(case when overall_response = 'NE' then 1 end) over so_far as ne_so_far,
    count(case when overall_response = 'SD' then 1 end) over so_far as sd_so_far,
    count(case when overall_response not in ('CR', 'NE') then 1 end) over so_far as breaks_of_cr_so_far,
    count(case when overall_response not in ('CR', 'PR', 'SD', 'NE') then 1 end) over so_far as breaks_of_pr_so_far,
    max(case when overall_response = 'PR' then response_no end) over so_far as latest_pr_no,
    min(case when overall_response = 'CR' then response_no end) over (
        partition by subject_id, evaluator
        order by response_no
        rows between 1 following and unbounded following
    ) as next_cr_no
from considered
window so_far as (
    partition by subject_id, evaluator
    order by response_no
    rows between unbounded preceding and current row
)
