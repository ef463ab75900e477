select kind, subject_id, detail, severity from {{ ref('int_findings_lesions') }}
union all
select kind, subject_id, detail, severity from {{ ref('int_findings_assessments') }}
union all
select
    'disagreement' as kind,
    subject_id,
    concat(
        {{ read_label('disagreements') }}, ' on ', {{ as_text('assessed_on') }}, ', ', subject_matter, ': ', derived, ' derived, ',
        reported, ' reported (', reason, ')'
    ) as detail,
    'warning' as severity
from {{ ref('int_response_disagreements') }} as disagreements
