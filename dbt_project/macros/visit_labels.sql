{#
    What a visit label counts: `WEEK ` of WEEK 12, `UNSCHEDULED ` of UNSCHEDULED 9.2.
    Null where it holds no number, or one with a sign (DAY -7), which may be meant as a minus or as a dash.
#}
{% macro label_stem(visit_name) -%}
    case when {{ visit_name }} not like '% -%' then nullif(regexp_extract({{ visit_name }}, '^([^0-9]*)[0-9]', 1), '') end
{%- endmacro %}


{# The number of a visit label: 12 of WEEK 12, 9.2 of UNSCHEDULED 9.2. #}
{% macro label_number(visit_name) -%}
    {{ to_decimal("regexp_extract(" ~ visit_name ~ ", '([0-9]+([.][0-9]+)?)', 1)", 18, 3) }}
{%- endmacro %}
