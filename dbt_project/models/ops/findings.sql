select kind, subject_id, detail, severity from {{ ref('int_findings_data') }}
union all
select kind, subject_id, detail, severity from {{ ref('int_findings_response') }}
union all
select kind, subject_id, detail, severity from {{ ref('int_findings_endpoints') }}
union all
select kind, subject_id, detail, severity from {{ ref('int_findings_sets') }}
