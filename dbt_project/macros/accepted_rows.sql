{#
    Rows of a record that count: accepted by validation, of the parcel that their file's verdict names.

    A row for every path that holds the file, with
      path         where the file lay
      source_name  layout that read it
      exported_on  date of the export where the source declares it
      delivery     order of the deliveries at this path (comparable within a path only)

    The comment marks where orchestration.replay puts the subjects of a new delivery. It does so only where
    orchestration.proofs finds that each row of the model is made of the rows of one subject: subject_id is part of every
    key, partition and group.

    In a data cut, no row whose event is dated after the day: dates are ISO text, so a partial one is compared as far as
    it goes.
#}
{% macro accepted_rows(record) -%}
    {%- set event_date = {
        'subjects': 'enrolled_on',
        'exposures': 'start_on',
        'visits': 'visit_on',
        'lab_results': 'collected_at_on',
        'tumor_identifications': 'identified_on',
        'tumor_measurements': 'assessed_on',
        'tumor_responses': 'assessed_on',
        'dispositions': 'occurred_on',
        'therapies': 'started_on',
        'survival_status': 'assessed_on',
    }[record] -%}
    select
        lake_rows.*,
        files.path,
        files.source as source_name,
        files.exported_on,
        files.delivery
    from {{ source('lake', record) }} as lake_rows
    inner join {{ ref('stg_files') }} as files
        on lake_rows._file_id = files.file_id and lake_rows._batch = files.parcel
    where
        lake_rows._rejected_by is null
        and files.is_in_force
        /* of subjects: lake_rows.subject_id */
        {%- if var('cut', none) %}
        and coalesce(substr(lake_rows.{{ event_date }}, 1, 10), '') <= '{{ var('cut')['on'] }}'
        {%- endif %}
{%- endmacro %}
