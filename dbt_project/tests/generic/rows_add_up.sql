{# Nothing disappears between reading and loading. #}
{% test rows_add_up(model) %}
select *
from {{ model }}
where status in ('loaded', 'superseded') and rows_read <> rows_accepted + rows_quarantined
{% endtest %}
