select
    'left_out_of_set' as kind,
    subject_id,
    concat_ws('', left_out_of, ': ', left_out_because) as detail,
    'info' as severity
from {{ ref('int_analysis_sets') }}
where left_out_of is not null
