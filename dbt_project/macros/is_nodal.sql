{# Whether a location names a lymph node: its short axis is measured, and below 10 mm it is normal tissue. #}
{% macro is_nodal(location) -%}
    (coalesce({{ location }}, '') like '%NODE%' or (coalesce({{ location }}, '') like '%NODAL%' and {{ location }} not like '%EXTRANODAL%'))
{%- endmacro %}
