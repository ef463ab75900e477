{# Who read an assessment, for the text of a finding. #}
{% macro read_label(relation) -%}
    {{ trimmed("concat_ws(' ', " ~ relation ~ ".evaluator, " ~ relation ~ ".reader)") }}
{%- endmacro %}


{% macro as_text(expression) -%}
    cast({{ expression }} as {{ dbt.type_string() }})
{%- endmacro %}


{# A length as people write it, whole millimetres or with its decimals. #}
{% macro mm_text(expression) -%}
    concat_ws('', {{ as_text('cast(' ~ expression ~ ' as decimal(18, 1))') }}, ' mm')
{%- endmacro %}
