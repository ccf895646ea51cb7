-- How long the completed jobs of each of the last days took, days in UTC by creation. Of a day with more
-- than a thousand, the latest thousand stand for all, so that it costs the same at a million jobs.
create function public.get_video_job_times(filter jsonb default '{}', days integer default 14)
returns table (day date, jobs integer, median_seconds double precision, p95_seconds double precision)
language plpgsql stable set search_path = ''
as $$
declare
  most constant integer := 1000;
  condition text := videojobs.condition(filter);
  today date := (clock_timestamp() at time zone 'UTC')::date;
begin
  if days is null or days not between 1 and 90 then
    raise exception using errcode = 'VJ004', message = format('days: %s is not between 1 and 90', coalesce(days::text, 'null'));
  end if;
  for day, jobs, median_seconds, p95_seconds in execute format(
    $query$
      select wanted.day, t.jobs, t.median_seconds, t.p95_seconds
      from (select $1 - back as day from generate_series($2 - 1, 0, -1) back) wanted
      cross join lateral (
        select
          count(*)::integer as jobs,
          percentile_cont(0.5) within group (order by latest.processing_time) as median_seconds,
          percentile_cont(0.95) within group (order by latest.processing_time) as p95_seconds
        from (
          select j.processing_time
          from public.video_jobs j
          where j.status = 'completed' and j.processing_time is not null
            and j.created_at >= wanted.day::timestamp at time zone 'UTC'
            and j.created_at < (wanted.day + 1)::timestamp at time zone 'UTC'
            and %s
          order by j.created_at desc
          limit %s
        ) latest
      ) t
      where t.jobs > 0
      order by wanted.day
    $query$,
    condition, most)
  using today, days
  loop
    return next;
  end loop;
end
$$;
revoke all on function public.get_video_job_times(jsonb, integer) from public, anon, authenticated, service_role;
grant execute on function public.get_video_job_times(jsonb, integer) to authenticated, service_role;
