-- Figures over many jobs, changes to many jobs, and the health of the whole.

-- One row: the lists in it are JSON, so that PostgREST's max-rows cannot cut them off.
create function public.get_video_job_stats(filter jsonb default '{}', group_by text default null)
returns table (
  total bigint,
  by_status jsonb,
  average_processing_seconds double precision,
  median_processing_seconds double precision,
  p95_processing_seconds double precision,
  total_processing_seconds double precision,
  by_day jsonb,
  groups jsonb
)
language plpgsql stable set search_path = ''
as $$
begin
  if group_by is not null and group_by not in ('user_id', 'team_id', 'platform_target', 'pipeline') then
    raise exception using
      errcode = 'VJ004',
      message = format('group_by: %L is not one of user_id, team_id, platform_target, pipeline', group_by);
  end if;
  execute format(
    $query$
      with chosen as materialized (
        select
          j.status, j.created_at, coalesce(j.completed_at, j.cancelled_at) as ended_at, j.processing_time,
          %s as key
        from public.video_jobs j
        where %s
      ), figures as (
        select
          count(*) as total,
          avg(c.processing_time) filter (where c.status = 'completed') as average,
          percentile_cont(0.5) within group (order by c.processing_time) filter (where c.status = 'completed') as median,
          percentile_cont(0.95) within group (order by c.processing_time) filter (where c.status = 'completed') as p95,
          coalesce(sum(c.processing_time) filter (where c.status = 'completed'), 0) as total_seconds
        from chosen c
      ), statuses as (
        select jsonb_object_agg(s.status, s.jobs) as by_status
        from (
          select e.status, count(c.status) as jobs
          from unnest(enum_range(null::public.video_job_status)) e (status)
          left join chosen c on c.status = e.status
          group by e.status
        ) s
      ), days as (
        select coalesce(jsonb_agg(to_jsonb(d) order by d.day), '[]') as by_day
        from (
          select
            m.day,
            count(*) filter (where m.what = 'created') as created,
            count(*) filter (where m.what = 'completed') as completed,
            count(*) filter (where m.what = 'failed') as failed,
            count(*) filter (where m.what = 'cancelled') as cancelled
          from (
            select (c.created_at at time zone 'utc')::date as day, 'created' as what from chosen c
            union all
            select (c.ended_at at time zone 'utc')::date, c.status::text from chosen c where c.ended_at is not null
          ) m
          group by m.day
          order by m.day desc
          limit 366
        ) d
      ), grouped as (
        select coalesce(jsonb_agg(to_jsonb(g) order by g.total desc, g.key), '[]') as groups
        from (
          select
            k.key,
            sum(k.jobs)::bigint as total,
            jsonb_object_agg(k.status, k.jobs) as by_status,
            sum(k.seconds) filter (where k.status = 'completed')
              / nullif(sum(k.jobs) filter (where k.status = 'completed'), 0) as average_processing_seconds,
            coalesce(sum(k.seconds) filter (where k.status = 'completed'), 0) as total_processing_seconds
          from (
            select c.key, c.status, count(*) as jobs, coalesce(sum(c.processing_time), 0) as seconds
            from chosen c
            where %L::boolean
            group by c.key, c.status
          ) k
          group by k.key
          order by total desc, k.key
          limit 500
        ) g
      )
      select
        f.total, s.by_status, f.average, f.median, f.p95, f.total_seconds, d.by_day, g.groups
      from figures f, statuses s, days d, grouped g
    $query$,
    case when group_by is null then 'null::text' else format('j.%I::text', group_by) end,
    videojobs.condition(filter),
    group_by is not null
  ) into
    total, by_status, average_processing_seconds, median_processing_seconds, p95_processing_seconds,
    total_processing_seconds, by_day, groups;
  return next;
end
$$;

-- Sets what the changes say on one job, and tells the outcome. With dry_run it only tells.
create function videojobs.change_job(job_id uuid, changes jsonb, dry_run boolean)
returns table (outcome text, status public.video_job_status)
language plpgsql security definer set search_path = ''
as $$
declare
  job public.video_jobs;
  wish public.video_jobs := jsonb_populate_record(null::public.video_jobs, changes);
  moves boolean;
  reschedules boolean;
begin
  select j.* into job
  from public.video_jobs j
  where j.id = change_job.job_id and videojobs.may_see(j.user_id, j.team_id)
  for no key update;
  if not found then
    return query select 'not_found', null::public.video_job_status;
    return;
  elsif not videojobs.may_change(job.user_id, job.team_id) then
    return query select 'not_allowed', job.status;
    return;
  end if;

  moves := coalesce(wish.status <> job.status, false)
    and not (wish.status = 'cancelled' and job.status = 'processing' and job.cancel_requested_at is not null);
  reschedules := (changes ?| array['priority', 'run_at', 'queue'])
    and (coalesce(wish.priority, job.priority), coalesce(wish.run_at, job.run_at), coalesce(wish.queue, job.queue))
      is distinct from (job.priority, job.run_at, job.queue);

  if (moves and wish.status = 'cancelled' and job.status not in ('queued', 'processing'))
    or (moves and wish.status = 'queued' and job.status not in ('failed', 'cancelled'))
    -- Only what waits can be rescheduled: waits now, or after this very change.
    or (reschedules and coalesce(wish.status, job.status) <> 'queued')
  then
    return query select 'invalid_transition', job.status;
    return;
  elsif not moves and not reschedules then
    return query select 'unchanged', job.status;
    return;
  elsif dry_run then
    return query
    select 'updated', case when moves and job.status <> 'processing' then wish.status else job.status end;
    return;
  end if;

  if moves and wish.status = 'cancelled' then
    perform videojobs.cancel_job(job.id, null);
  elsif moves then
    perform videojobs.retry_job(job.id, gen_random_uuid());
  end if;
  if reschedules then
    update public.video_jobs j
    set
      priority = coalesce(wish.priority, j.priority),
      run_at = coalesce(wish.run_at, j.run_at),
      queue = coalesce(wish.queue, j.queue)
    where j.id = job.id and j.status = 'queued';
    insert into public.video_job_events (job_id, type, run_token, actor_id, data)
    values (job.id, 'changed', job.run_token, auth.uid(), changes - 'status');
    perform pg_notify('videojobs_queue', coalesce(wish.queue, job.queue));
  end if;
  return query select 'updated', j.status from public.video_jobs j where j.id = job.id;
end
$$;

-- By ids: one answer for each, in their order of id, so that two calls cannot lock each other out.
-- By filter: the next row_limit jobs after after_seq that the caller sees.
create function public.bulk_update_video_jobs(
  changes jsonb,
  job_ids uuid[] default null,
  filter jsonb default null,
  dry_run boolean default false,
  after_seq bigint default 0,
  row_limit integer default 500
) returns table (job_id uuid, outcome text, status public.video_job_status, seq bigint)
language plpgsql set search_path = ''
as $$
begin
  if jsonb_typeof(changes) is distinct from 'object'
    or changes - array['status', 'priority', 'run_at', 'queue'] <> '{}'
    or changes ->> 'status' not in ('queued', 'cancelled')
  then
    raise exception using
      errcode = 'VJ004',
      message = 'changes: an object of status (queued or cancelled), priority, run_at and queue';
  end if;
  if job_ids is null then
    execute format(
      'select array(select j.id from public.video_jobs j where %s and j.seq > $1 order by j.seq limit $2)',
      videojobs.condition(filter)
    ) into job_ids using after_seq, row_limit;
  end if;
  return query
  select w.id, c.outcome, c.status, j.seq
  from (select distinct u.id from unnest(job_ids) u (id) order by u.id) w
  cross join lateral videojobs.change_job(w.id, changes, dry_run) c
  left join public.video_jobs j on j.id = w.id;
end
$$;

create function videojobs.schema_version() returns integer
language sql immutable set search_path = ''
as $$ select 1 $$;

-- What a service asks before it trusts a database: one row of facts.
create function public.check_video_jobs()
returns table (
  schema_version integer,
  server_time timestamptz,
  server_version text,
  is_service boolean,
  queued bigint,
  processing bigint,
  expired_leases bigint,
  processing_without_lease bigint,
  leases_without_job bigint
)
language sql stable set search_path = ''
as $$
  select
    videojobs.schema_version(),
    clock_timestamp(),
    current_setting('server_version'),
    videojobs.is_service(),
    (select count(*) from public.video_jobs j where j.status = 'queued'),
    (select count(*) from public.video_jobs j where j.status = 'processing'),
    (select count(*) from videojobs.leases l where l.expires_at < clock_timestamp()),
    (select count(*) from public.video_jobs j
     where j.status = 'processing' and not exists (select from videojobs.leases l where l.job_id = j.id)),
    (select count(*) from videojobs.leases l
     where not exists (select from public.video_jobs j where j.id = l.job_id and j.status = 'processing'))
$$;

revoke all on all functions in schema videojobs from public;
grant execute on function videojobs.change_job(uuid, jsonb, boolean) to authenticated, service_role;
grant execute on function videojobs.schema_version() to service_role;

revoke all on function
  public.get_video_job_stats(jsonb, text),
  public.bulk_update_video_jobs(jsonb, uuid[], jsonb, boolean, bigint, integer),
  public.check_video_jobs()
from public, anon, authenticated, service_role;
grant execute on function
  public.get_video_job_stats(jsonb, text),
  public.bulk_update_video_jobs(jsonb, uuid[], jsonb, boolean, bigint, integer)
to authenticated, service_role;
grant execute on function public.check_video_jobs() to service_role;
