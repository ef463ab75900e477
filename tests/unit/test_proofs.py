"""What is proved of a query by its text: the rest is built anew, whatever it costs."""

import pytest

from orchestration.proofs import ACCEPTED, ANYHOW, BY_SUBJECT, MARK, Query

LEDGER = "w.staging.stg_files"
ROWS = """(
    select lake_rows.*, files.path, files.delivery
    from read_parquet('/lake/records/lab_results/*.parquet', union_by_name = true) as lake_rows
    inner join w.staging.stg_files as files on lake_rows._file_id = files.file_id and lake_rows._batch = files.parcel
    where lake_rows._rejected_by is null and files.is_in_force /* of subjects: lake_rows.subject_id */
)"""


TABLES = ('"w"."marts"."one"', '"w"."marts"."two"')


def reading(text: str, views: dict[str, str] | None = None, *, is_told: bool = True) -> str:
    for name, query in (("ROWS", ROWS), ("ONE", TABLES[0]), ("TWO", TABLES[1])):
        text = text.replace(name, query)
    return Query(text, LEDGER, views, TABLES).reading(is_told=is_told)


@pytest.mark.parametrize(
    "text",
    [
        "select subject_id, value from ROWS as r where value is not null",
        "select r.subject_id, max(r.value) as value from ROWS as r group by r.subject_id, r.path",
        "select *, row_number() over (partition by subject_id, path order by value) as n from ROWS as r",
        "select *, max(value) over w as n from ROWS as r window w as (partition by subject_id)",
        "select distinct subject_id, path from ROWS as r",
        "with a as (select * from ROWS as r) select a.subject_id, s.code from a left join w.seeds.codes as s on a.value = s.value",
        "with a as (select * from ROWS as r), b as (select subject_id, count(*) as n from a group by subject_id)"
        " select a.*, b.n from a left join b on a.subject_id = b.subject_id and a.path = 'x'",
        "select subject_id, 1 as n from ROWS as r union all select subject_id, 2 as n from ROWS as r",
        "select subject_id from ROWS as r where value in (select value from w.seeds.codes limit_of)",
        "select r.subject_id, u.most from ROWS as r left join (select distinct value, most from w.seeds.units) as u on r.unit = u.value",
        "with recursive a as (select subject_id from ROWS as r union all select a.subject_id from a) select * from a",
        "select subject_id, max(value) as value from ONE group by subject_id",
        "select one.subject_id, two.value from ONE as one left join TWO as two on one.subject_id = two.subject_id",
        "select r.subject_id, one.value from ROWS as r inner join ONE as one on r.subject_id = one.subject_id",
        "select one.subject_id, s.day from ONE as one cross join w.marts.study as s",
        "select one.subject_id, s.day from ONE as one, w.marts.study as s",
        "with a as (select subject_id, value from ONE), b as (select * from a) select * from b union all select subject_id, value from TWO",
        "with recursive a as (select subject_id, day from ONE union select two.subject_id, two.day from a inner join TWO as two"
        " on a.subject_id = two.subject_id and a.day < two.day) select a.subject_id from a",
    ],
)
def test_rows_of_one_subject_are_known(text):
    assert reading(text) == BY_SUBJECT


@pytest.mark.parametrize(
    "text",
    [
        "select count(*) as n from ROWS as r",
        "select path, max(value) as value from ROWS as r group by path",
        "select subject_id, max(value) as value from ROWS as r group by rollup (subject_id)",
        "select subject_id, value - avg(value) over () as value from ROWS as r",
        "select subject_id, rank() over (partition by path order by value) as n from ROWS as r",
        "select subject_id, max(value) over w as n from ROWS as r window w as (partition by path)",
        "select subject_id, sum(value) over (partition by upper(subject_id)) as n from ROWS as r",
        "select upper(subject_id) as subject_id from ROWS as r",
        "select path as subject_id, subject_id as path from ROWS as r",
        "select path from ROWS as r",
        "select a.subject_id, b.value from ROWS as a inner join ROWS as b on a.path = b.path",
        "select a.subject_id, b.value from ROWS as a left join ROWS as b on a.subject_id = b.subject_id or a.path = b.path",
        "select b.subject_id, b.value from ROWS as a left join ROWS as b on a.subject_id = b.subject_id",
        "select a.subject_id from ROWS as a left join ROWS as b on a.subject_id = b.subject_id"
        " inner join ROWS as c on b.subject_id = c.subject_id",
        "select r.subject_id from w.seeds.codes as c left join ROWS as r on c.value = r.value",
        "select a.subject_id from ROWS as a full join ROWS as b on a.subject_id = b.subject_id",
        "select a.subject_id from ROWS as a, ROWS as b",
        "select a.subject_id from ROWS as a where value > (select avg(value) from ROWS as b)",
        "select a.subject_id from ROWS as a where exists (select 1 from ROWS as b where b.path = a.path)",
        "select subject_id, path from ROWS as r union all select path, subject_id from ROWS as r",
        "select subject_id, path from ROWS as r union all select 'S1' as subject_id, value from w.seeds.codes",
        "select subject_id from ROWS as r except select subject_id from ROWS as r where value = 1",
        "with m as (select max(value) as most from ROWS as r) select a.subject_id from ROWS as a inner join m on a.value < m.most",
        "select * exclude (subject_id), path as subject_id from ROWS as r",
        "select * replace (path as subject_id) from ROWS as r",
        "with A as (select * from ROWS as r) select subject_id, max(value) as most from w.seeds.codes inner join a on true group by value",
        "with A as (select * from ROWS as r), b as (select max(value) as most from a) select r.subject_id from ROWS as r, b",
        "with A as (select * from ROWS as r), b as (select max(value) as most from a)"
        " select r.subject_id, b.most from ROWS as r inner join b on r.value < b.most",
        'select R.subject_id, r.path as "Subject_ID" from ROWS as r',
        "select count(*) as n from ONE",
        "select value as subject_id, subject_id as value from ONE",
        "select one.subject_id, two.value from ONE as one cross join TWO as two",
        "select one.subject_id, two.value from ONE as one, TWO as two",
        "select one.subject_id, two.value from ONE as one cross join (select max(value) as value from TWO) as two",
        "select one.subject_id, two.value from ONE as one inner join TWO as two on one.value = two.value",
        "select one.subject_id from ONE as one where exists (select 1 from TWO as two where one.value = two.value)",
        "select one.subject_id, days.n from ONE as one inner join (select day, count(*) as n from ONE group by day) as days"
        " on one.day = days.day",
        "select one.subject_id from ONE as one (value, subject_id)",
        "select subject_id from ONE union all select subject_id from w.marts.study",
        "with a as (select value, subject_id from ONE), b as (select * from a) select subject_id, value from TWO union all select * from b",
        "with a as (select * from ONE), b as (select * from a) select * from b union all select subject_id, value from TWO",
        "with recursive a as (select subject_id, day from ONE union select two.subject_id, two.day from a inner join TWO as two"
        " on a.day < two.day) select a.subject_id from a",
        "with recursive a as (select 'S1' as subject_id, day from w.marts.study union select two.subject_id, two.day from TWO as two"
        " inner join a on a.day < two.day) select a.subject_id from a",
        "with recursive a as (select subject_id, day from ONE union select two.day, two.subject_id from a inner join TWO as two"
        " on a.subject_id = two.subject_id) select a.subject_id from a",
    ],
)
def test_rows_that_may_be_of_several_subjects_are_not_taken_for_one_subjects(text):
    assert reading(text) == ACCEPTED


@pytest.mark.parametrize(
    "text",
    [
        "select subject_id, current_date as day from ROWS as r",
        "select subject_id, now() as day from ROWS as r",
        "select subject_id, today() as day from ROWS as r",
        "select subject_id, age(collected_at) as old from ROWS as r",
        "select subject_id, random() as n from ROWS as r",
        "select subject_id, uuid() as n from ROWS as r",
        "select subject_id, first(value) as n from ROWS as r group by subject_id",
        "select subject_id, string_agg(value) as n from ROWS as r group by subject_id",
        "select subject_id, row_number() over (partition by subject_id) as n from ROWS as r",
        "select subject_id from ROWS as r limit 3",
        "select distinct on (subject_id) subject_id, value from ROWS as r",
        "select subject_id from ROWS as r using sample 10",
        "select subject_id from ROWS as r where path in (select path from W.STAGING.stg_FILES)",
        "select subject_id from ROWS as r, (describe w.seeds.codes)",
        "select subject_id, Current_Date as day from ROWS as r",
        "select subject_id, FIRST(value) as n from ROWS as r group by subject_id",
        "select subject_id, no_such_function(value) as n from ROWS as r",
        "select subject_id from ROWS as r where path in (select path from w.staging.stg_files)",
        "select subject_id from read_parquet('/lake/records/lab_results/*.parquet') as r",
        "select subject_id from ROWS as r where path in (select a from read_parquet('/elsewhere'))",
        "select subject_id from w.marts.dim_subject",
        "select subject_id from w.marts.one",
        "select subject_id from ONE where value in (select value from w.marts.two)",
        "select subject_id, '\"w\".\"marts\".\"one\"' as name from ONE",
        'select subject_id from ONE -- beside "w"."marts"."two"',
        "select subject_id from ONE limit 3",
        "select subject_id from ONE tablesample 10%",
        "select subject_id, random() as n from ONE",
        "select subject_id from ONE where path in (select path from w.staging.stg_files)",
        "select subject_id from ROWS as r; select 1",
        "select from where",
    ],
)
def test_what_depends_on_more_than_accepted_rows_is_never_spared(text):
    assert reading(text) == ANYHOW


@pytest.mark.parametrize(
    ("changed", "into"),
    [
        ("inner join", "left join"),
        ("lake_rows._file_id = files.file_id and", "true and"),
        ("and files.is_in_force /*", "or files.is_in_force /*"),
        ("lake_rows.*, files.path", "lake_rows.* exclude (subject_id), files.path as subject_id"),
        ("/* of subjects: lake_rows.subject_id */", "/* of subjects: lake_rows.path */"),
        ("/* of subjects: lake_rows.subject_id */", ""),
        (")", "limit 10)"),
    ],
)
def test_rows_come_in_as_the_macro_reads_them_or_nothing_is_spared(changed, into):
    query = "select subject_id from ROWS as r"
    head, _, tail = ROWS.rpartition(changed)
    assert Query(query.replace("ROWS", ROWS), LEDGER).reading() == BY_SUBJECT
    assert Query(query.replace("ROWS", head + into + tail), LEDGER).reading() == ANYHOW


def test_a_view_is_read_as_it_reads_the_lake():
    text = "select subject_id, max(value) as value from w.staging.versions group by subject_id"
    assert [reading(text, {"w.staging.versions": how}) for how in (BY_SUBJECT, ACCEPTED, ANYHOW)] == [
        BY_SUBJECT, ACCEPTED, ANYHOW,
    ]  # fmt: skip


def test_the_tables_that_a_query_reads_are_told():
    text = "with a as (select 1 as n) select * from a, w.marts.one, (select * from w.marts.two where n in (select n from three))"
    assert Query(text).tables() == {"w.marts.one", "w.marts.two", "three"}
    assert not Query("drop table w.marts.one").is_steady()


def test_the_folders_that_a_query_reads_are_told():
    assert Query(f"select * from {ROWS} as r").folders() == {"lab_results"}
    assert Query("select * from read_parquet('/elsewhere/a.parquet') as r").folders() == {""}
    assert Query("select * from read_parquet(['/a/*.parquet', '/b/*.parquet']) as r").folders() == {""}
    assert Query("select * from read_csv('/lab_results/*.parquet') as r").folders() == {""}


@pytest.mark.parametrize(
    "text",
    [
        "select value from ONE where value is null",
        "select subject_id as it, count(*) as n from ONE group by subject_id having count(*) > 1",
        "select value from ONE group by subject_id, value having count(*) > 1",
        "select one.value from ONE as one inner join TWO as two on one.subject_id = two.subject_id where one.value < two.value",
    ],
)
def test_what_a_test_finds_need_not_tell_its_subject(text):
    assert (reading(text), reading(text, is_told=False)) == (ACCEPTED, BY_SUBJECT)


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("select value from ONE group by value having count(*) > 1", ACCEPTED),
        ("select count(*) as n from ONE having count(*) > 1", ACCEPTED),
        ("select value as subject_id, row_number() over (partition by subject_id order by value) as n from ONE", ACCEPTED),
        ("select value from ONE where value > (select avg(value) from TWO)", ACCEPTED),
        ("select value from (select value from ONE) as values_of_all", ACCEPTED),
        ("select one.value from ONE as one inner join TWO as two on one.value = two.value", ACCEPTED),
        ("select value from ONE where value is null limit 1", ANYHOW),
    ],
)
def test_a_test_that_looks_at_several_subjects_is_not_taken_for_one_that_does_not(text, how):
    assert reading(text, is_told=False) == how


def test_what_a_query_reads_is_marked_where_rows_of_subjects_come_in():
    text = Query(f"select * from {TABLES[0]} as a left join w.seeds.codes as b on true", "", None, TABLES).text
    assert [mark.group(1) for mark in MARK.finditer(text)] == ["subject_id"]
    assert MARK.sub("", text) == f"select * from (select * from {TABLES[0]} where true ) as a left join w.seeds.codes as b on true"
