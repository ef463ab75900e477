{% set drugs = var('study')['drugs'] %}

-- given doses of the study regimen: a dose that is not told counts, a dose of 0 only as placebo
select
    exposures.subject_id,
    exposures.treatment,
    exposures.start_on as dosed_on,
    exposures.start_on_text as dosed_on_text,
    exposures.moved_because,
    exposures.started_at,
    least(greatest(exposures.start_on, coalesce(exposures.end_on, exposures.start_on)), data_cutoff.cutoff_on)
        as last_dosed_on,
    exposures._file_id,
    exposures._row_number
from {{ ref('int_exposures') }} as exposures
cross join {{ ref('int_data_cutoff') }} as data_cutoff
where
    exposures.start_on <= data_cutoff.cutoff_on
    and (coalesce(exposures.dose, 1) > 0 or (exposures.dose = 0 and exposures.treatment like '%PLACEBO%'))
    {% if drugs %}
    and exposures.treatment in {{ text_list(drugs) }}
    {% endif %}
