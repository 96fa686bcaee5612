-- Rows of some 200 bytes, in an order of their own: each out of its place by up to 4096 rows.
create table rows as
    select i as id, (i + i::bigint * 7919 % 4096)::int as place, repeat(md5(i::text), 5) as body
    from generate_series(1, 300000) i;
create table few as select id / 8 as part, count(*) as times from rows group by part;
analyze;
