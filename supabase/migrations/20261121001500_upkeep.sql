-- What keeps the system small and lets operators set and see it. All for services only.

-- Moves up to row_limit final jobs out of the table, oldest first, one status at a time.
create function videojobs.archive_jobs(status public.video_job_status, older_than interval, row_limit integer)
returns setof uuid
language plpgsql security definer set search_path = ''
as $$
declare
  latest timestamptz := clock_timestamp() - older_than;
begin
  return query execute format(
    $query$
      with chosen as materialized (
        select j.id
        from public.video_jobs j
        where j.status = %L::public.video_job_status and j.seq >= 0
          -- A job ends after it was created: the first half is what the index can use.
          and j.created_at < $1 and coalesce(j.completed_at, j.cancelled_at) < $1
        order by j.created_at, j.seq
        limit $2
        for update skip locked
      ), gone as (
        delete from public.video_jobs j using chosen where j.id = chosen.id returning j.*
      ), forgotten as (
        delete from videojobs.checkpoints c using chosen where c.job_id = chosen.id
      )
      insert into videojobs.archived_jobs (id, user_id, team_id, status, ended_at, job)
      select g.id, g.user_id, g.team_id, g.status, coalesce(g.completed_at, g.cancelled_at), to_jsonb(g)
      from gone g
      returning id
    $query$,
    archive_jobs.status
  ) using latest, row_limit;
end
$$;

create function public.archive_video_jobs(
  statuses text[] default array['completed', 'failed', 'cancelled'],
  older_than_seconds double precision default 0,
  row_limit integer default 500
) returns table (archived_id uuid)
language plpgsql set search_path = ''
as $$
declare
  name text;
  moved integer := 0;
  batch integer;
begin
  foreach name in array coalesce(statuses, array[null]) loop
    if name is null or name not in ('completed', 'failed', 'cancelled') then
      raise exception using
        errcode = 'VJ004', message = format('statuses: %L is not final; only completed, failed and cancelled jobs are archived', name);
    end if;
    return query
    select a.id
    from videojobs.archive_jobs(
      name::public.video_job_status, make_interval(secs => older_than_seconds), row_limit - moved) a (id);
    get diagnostics batch = row_count;
    moved := moved + batch;
    exit when moved >= row_limit;
  end loop;
end
$$;

-- Drops the months of "events" or of the "archive" that ended before a moment, and tells their names.
create function videojobs.drop_months(history text, before timestamptz) returns setof text
language plpgsql security definer set search_path = '' set lock_timeout = '2s'
as $$
declare
  name text;
begin
  for name in
    select c.relname::text
    from pg_catalog.pg_inherits i
    join pg_catalog.pg_class c on c.oid = i.inhrelid
    where i.inhparent = case history
        when 'events' then 'public.video_job_events'::regclass
        when 'archive' then 'videojobs.archived_jobs'::regclass
      end
      and c.relname ~ '_[0-9]{4}_[0-9]{2}$'
      and (to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month')::timestamp at time zone 'utc' <= before
    order by c.relname
  loop
    begin
      -- First, so that what others put into the month just now is seen.
      execute format('lock table videojobs.%I in access exclusive mode', name);
      if history = 'archive' then
        -- A dropped table fires no triggers: its jobs are taken out of the figures here.
        insert into videojobs.tally_changes (
          user_id, team_id, queue, pipeline, platform_target, created_on, jobs,
          left_status, left_ended_on, left_milliseconds, is_archived)
        select
          a.user_id, a.team_id, a.queue, a.pipeline, a.platform_target, a.created_on, count(*),
          a.status, a.ended_on, a.milliseconds, true
        from videojobs.archived_tallies a
        where a.ended_at >= to_date(right(name, 7), 'YYYY_MM')::timestamp at time zone 'utc'
          and a.ended_at < (to_date(right(name, 7), 'YYYY_MM') + interval '1 month')::timestamp at time zone 'utc'
        group by 1, 2, 3, 4, 5, 6, 8, 9, 10;
      end if;
      execute format('drop table videojobs.%I', name);
      return next name;
    exception
      -- Somebody reads the month: it can be dropped with a later round.
      when lock_not_available then
        null;
    end;
  end loop;
end
$$;

-- Everything that has to be done from time to time, in bounded steps: jobs of silent workers, sums,
-- next month's tables, the archive and old months as the settings say, workers that are gone. Workers
-- call it on a jittered timer; pg_cron does where it exists. Harmless at any time and from anywhere.
create function public.maintain_video_jobs(row_limit integer default 500)
returns table (recovered jsonb, folded integer, archived integer, dropped jsonb)
language plpgsql set search_path = ''
as $$
declare
  settings videojobs.settings;
  moment timestamptz := clock_timestamp();
begin
  select coalesce(jsonb_agg(to_jsonb(r)), '[]') into recovered from public.recover_video_jobs(row_limit) r;
  folded := videojobs.fold_tallies();
  archived := 0;
  dropped := '[]';
  -- The rest by one at a time.
  if not pg_try_advisory_xact_lock(hashtextextended('videojobs upkeep', 0)) then
    return next;
    return;
  end if;

  select s.* into settings from videojobs.settings s;
  perform videojobs.make_partitions();
  select count(*)::integer into archived
  from (values
    ('completed'::public.video_job_status, settings.archive_completed_after_days),
    ('failed', settings.archive_failed_after_days),
    ('cancelled', settings.archive_cancelled_after_days)
  ) rule (status, days)
  cross join lateral videojobs.archive_jobs(rule.status, make_interval(days => rule.days), row_limit)
  where rule.days is not null;
  select coalesce(jsonb_agg(d.name), '[]') into dropped
  from (values ('events', settings.drop_events_after_days), ('archive', settings.drop_archive_after_days)) rule (history, days)
  cross join lateral videojobs.drop_months(rule.history, moment - make_interval(days => rule.days)) d (name)
  where rule.days is not null;
  delete from videojobs.workers w
  where w.seen_at < moment - interval '1 day'
    and not exists (select from videojobs.leases l where l.worker_id = w.worker_id);
  return next;
end
$$;

-- Sets what the object names, and answers with all settings.
create function public.configure_video_jobs(changes jsonb default '{}') returns table (settings jsonb)
language plpgsql set search_path = ''
as $$
declare
  wish videojobs.settings;
  unknown text;
begin
  select s.* into wish from videojobs.settings s;
  select string_agg(k.name, ', ') into unknown
  from jsonb_object_keys(changes - 'only_row') k (name)
  where not to_jsonb(wish) ? k.name;
  if unknown is not null or changes ? 'only_row' then
    raise exception using errcode = 'VJ004', message = format('settings: there is no %s', coalesce(unknown, 'only_row'));
  end if;
  if changes <> '{}' then
    wish := jsonb_populate_record(wish, changes);
    update videojobs.settings s
    set
      retry_base_seconds = wish.retry_base_seconds, retry_cap_seconds = wish.retry_cap_seconds,
      max_lost = wish.max_lost, cancel_grace_seconds = wish.cancel_grace_seconds,
      max_user_priority = wish.max_user_priority, queue_wakeups = wish.queue_wakeups,
      announces_changes = wish.announces_changes,
      archive_completed_after_days = wish.archive_completed_after_days,
      archive_failed_after_days = wish.archive_failed_after_days,
      archive_cancelled_after_days = wish.archive_cancelled_after_days,
      drop_archive_after_days = wish.drop_archive_after_days,
      drop_events_after_days = wish.drop_events_after_days;
  end if;
  return query select to_jsonb(s) - 'only_row' from videojobs.settings s;
exception
  when check_violation or not_null_violation or data_exception then
    raise exception using errcode = 'VJ004', message = format('settings: %s', sqlerrm);
end
$$;

-- Sets or lifts (null) a limit, and answers with all of them and how many run now.
create function public.set_video_job_limit(kind text default null, key text default null, max_running integer default null)
returns table (limit_kind text, limit_key text, limit_max_running integer, running bigint)
language plpgsql set search_path = ''
as $$
begin
  if set_video_job_limit.kind is not null and set_video_job_limit.max_running is null then
    delete from videojobs.limits l
    where l.kind = set_video_job_limit.kind and l.key = set_video_job_limit.key;
  elsif set_video_job_limit.kind is not null then
    insert into videojobs.limits (kind, key, max_running)
    values (set_video_job_limit.kind, set_video_job_limit.key, set_video_job_limit.max_running)
    on conflict on constraint limits_pkey do update set max_running = excluded.max_running;
  end if;
  return query
  select
    l.kind, l.key, l.max_running,
    (
      select count(*)
      from videojobs.leases r
      where l.key in ('*', case l.kind when 'tenant' then r.tenant_id::text when 'queue' then r.queue else r.pipeline end)
    )
  from videojobs.limits l
  order by l.kind, l.key;
exception
  when check_violation or not_null_violation then
    raise exception using errcode = 'VJ004', message = format('limit: %s', sqlerrm);
end
$$;

-- Makes a queue fair, which it is from the beginning, or strictly first come, first served.
create function public.set_video_job_queue(queue text, is_fair boolean)
returns table (queue_name text, queue_is_fair boolean)
language sql volatile set search_path = ''
as $$
  insert into videojobs.queues (queue, is_fair)
  values (set_video_job_queue.queue, set_video_job_queue.is_fair)
  on conflict on constraint queues_pkey do update set is_fair = excluded.is_fair
  returning queue, is_fair
$$;

create function public.list_video_job_workers()
returns table (
  worker_id text, started_at timestamptz, seen_at timestamptz, drain_requested_at timestamptz, facts jsonb,
  running jsonb
)
language sql stable set search_path = ''
as $$
  select
    coalesce(w.worker_id, held.worker_id), w.started_at,
    -- A heartbeat writes its lease's new end each time, and the worker's row once a minute.
    case when w.worker_id is not null then greatest(
      w.seen_at, held.expires_at - make_interval(secs => coalesce((w.facts ->> 'lease_seconds')::double precision, 60)))
    end,
    w.drain_requested_at, coalesce(w.facts, '{}'),
    coalesce(held.running, '[]')
  from videojobs.workers w
  full join (
    select
      l.worker_id,
      max(l.expires_at) as expires_at,
      jsonb_agg(jsonb_build_object(
        'job_id', l.job_id, 'run_token', l.run_token, 'claimed_at', l.claimed_at, 'expires_at', l.expires_at)
        order by l.claimed_at) as running
    from videojobs.leases l
    group by l.worker_id
  ) held on held.worker_id = w.worker_id
  order by 1
$$;

-- Asks a worker to finish what it runs and to end. It is called by its name.
create function public.drain_video_job_worker(worker text) returns table (drained boolean)
language plpgsql set search_path = ''
as $$
begin
  -- One that has claimed and not beaten yet is known by its leases alone.
  insert into videojobs.workers (worker_id)
  select worker
  where exists (select from videojobs.leases l where l.worker_id = worker)
  on conflict on constraint workers_pkey do nothing;
  update videojobs.workers w
  set drain_requested_at = coalesce(w.drain_requested_at, clock_timestamp())
  where w.worker_id = worker;
  drained := found;
  perform pg_notify('videojobs_queue', worker);
  return next;
end
$$;

-- A worker says goodbye, so that nobody looks for it.
create function public.remove_video_job_worker(worker text) returns table (removed boolean)
language plpgsql set search_path = ''
as $$
begin
  delete from videojobs.workers w where w.worker_id = worker;
  removed := found;
  return next;
end
$$;

-- What a service asks before it trusts a database: one row of facts, from sums and not from counting.
create or replace function public.check_video_jobs()
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
    coalesce((
      select sum(t.jobs)
      from videojobs.tallies t
      where t.user_id is null and t.team_id is null and t.measure = 'queued'
    ), 0)::bigint + coalesce((
      select
        coalesce(sum(c.jobs) filter (where c.entered_status = 'queued'), 0)
        - coalesce(sum(c.jobs) filter (where c.left_status = 'queued'), 0)
      from videojobs.tally_changes c
      where not c.is_archived
    ), 0)::bigint,
    (select count(*) from public.video_jobs j where j.status = 'processing'),
    (select count(*) from videojobs.leases l where l.expires_at < clock_timestamp()),
    (select count(*) from public.video_jobs j
     where j.status = 'processing' and not exists (select from videojobs.leases l where l.job_id = j.id)),
    (select count(*) from videojobs.leases l
     where not exists (select from public.video_jobs j where j.id = l.job_id and j.status = 'processing'))
$$;

revoke all on all functions in schema videojobs from public;
grant execute on function
  videojobs.archive_jobs(public.video_job_status, interval, integer),
  videojobs.drop_months(text, timestamptz),
  videojobs.make_partitions(integer)
to service_role;

revoke all on function
  public.archive_video_jobs(text[], double precision, integer),
  public.maintain_video_jobs(integer),
  public.configure_video_jobs(jsonb),
  public.set_video_job_limit(text, text, integer),
  public.set_video_job_queue(text, boolean),
  public.list_video_job_workers(),
  public.drain_video_job_worker(text),
  public.remove_video_job_worker(text)
from public, anon, authenticated, service_role;
grant execute on function
  public.archive_video_jobs(text[], double precision, integer),
  public.maintain_video_jobs(integer),
  public.configure_video_jobs(jsonb),
  public.set_video_job_limit(text, text, integer),
  public.set_video_job_queue(text, boolean),
  public.list_video_job_workers(),
  public.drain_video_job_worker(text),
  public.remove_video_job_worker(text)
to service_role;
