{# `Cycle 2 Day 1` and `C2D1` name the same visit. #}
{% macro planned_visit_key(visit_name) -%}
    replace(replace(replace({{ upper_case(visit_name) }}, ' ', ''), 'CYCLE', 'C'), 'DAY', 'D')
{%- endmacro %}


{# Study day of a number of days after day 1: there is no day 0. #}
{% macro study_day_of_offset(offset) -%}
    {{ offset + 1 if offset >= 0 else offset }}
{%- endmacro %}
