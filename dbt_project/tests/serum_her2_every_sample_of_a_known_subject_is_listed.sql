with known as (

    select count(*) as samples
    from {{ ref('stg_lab_results') }} as results
    inner join {{ ref('dim_subject') }} as subjects on results.subject_id = subjects.subject_id
    where results.is_declared_analyte

),

listed as (

    select count(*) as samples from {{ ref('fct_her2_delta') }}

)

select known.samples, listed.samples as listed_samples
from known
cross join listed
where known.samples <> listed.samples
