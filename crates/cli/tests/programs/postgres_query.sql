-- A backend's own memory holds all rows: sorted, hashed to be joined, grouped, in a temporary table.
set work_mem = '512MB';
set hash_mem_multiplier = 2;
set temp_buffers = '64MB';
set max_parallel_workers_per_gather = 0;
set enable_mergejoin = off;
set enable_nestloop = off;
set jit = off;
select 'sorted', sum(hashtext(body || rank)::bigint)
    from (select body, row_number() over (order by place, body) as rank from rows) as sorted;
select 'joined', count(*), sum(hashtext(a.body || b.body || b.id)::bigint), sum(times)
    from rows as a join rows as b using (body) join few on few.part = b.id / 8;
select 'grouped', count(*), sum(hashtext(last || least)::bigint), sum(many)
    from (select id / 8, max(body) as last, min(place) as least, count(*) as many from rows group by id / 8) as grouped;
create temporary table own as select id, body from rows where id % 2 = 0;
update own set body = reverse(body) where id % 3 = 0;
select 'own', count(*), sum(hashtext(body || id)::bigint) from own;
