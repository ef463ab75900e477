{# What a visit label counts: `WEEK ` of WEEK 12, `UNSCHEDULED ` of UNSCHEDULED 9.2. Null where it holds no number. #}
{% macro label_stem(visit_name) -%}
    nullif(regexp_extract({{ visit_name }}, '^([^0-9]*)[0-9]', 1), '')
{%- endmacro %}


{# The number of a visit label: 12 of WEEK 12, 9.2 of UNSCHEDULED 9.2. #}
{% macro label_number(visit_name) -%}
    {{ to_decimal("regexp_extract(" ~ visit_name ~ ", '([0-9]+([.][0-9]+)?)', 1)", 18, 3) }}
{%- endmacro %}
