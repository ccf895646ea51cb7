-- Figures that cost the same however many jobs there are: every change of a job appends a row that
-- says what left and what entered, maintenance folds those rows into sums, and a reader adds the
-- rows that are not folded yet. Never one mutable counter: a transaction that creates jobs and
-- stays open would hold it, and everybody else's creates with it.

create table videojobs.tally_changes (
  user_id uuid not null,
  team_id uuid,
  queue text not null,
  pipeline text not null,
  platform_target public.video_job_platform_target,
  created_on date not null,
  jobs integer not null default 1,
  -- How the jobs were before, if they were there; and how they are, if they still are.
  left_status public.video_job_status,
  left_ended_on date,
  left_milliseconds bigint,
  entered_status public.video_job_status,
  entered_ended_on date,
  entered_milliseconds bigint,
  is_archived boolean not null default false
);
alter table videojobs.tally_changes set (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
  autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000
);

-- The sums. Each is kept for an owner, once more for the team alone, and once for everybody.
create table videojobs.tallies (
  user_id uuid,
  team_id uuid,
  queue text not null,
  pipeline text not null,
  platform_target public.video_job_platform_target,
  -- A status: jobs that have it; with a day: jobs that got it then, archived ones too.
  -- "created": jobs of that day. "took": completed jobs by processing time, in buckets.
  measure text not null,
  day date,
  bucket smallint,
  jobs bigint not null,
  milliseconds bigint not null,
  -- Finds the row to add to, and a user's figures.
  constraint tallies_key unique nulls not distinct
    (user_id, team_id, queue, pipeline, platform_target, measure, day, bucket)
) with (fillfactor = 70);
alter table videojobs.tallies set (
  autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
-- The figures of a team's users side by side, without their days.
create index tallies_of_team on videojobs.tallies (team_id)
  where team_id is not null and day is null and bucket is null;
-- The figures of all users side by side, without their days.
create index tallies_of_statuses on videojobs.tallies (user_id, team_id) where day is null and bucket is null;

revoke all on videojobs.tally_changes, videojobs.tallies from public, anon, authenticated, service_role;
grant select, insert on videojobs.tally_changes to service_role;
grant select on videojobs.tallies to service_role;

-- What the unfolded changes add to the sums of their owners. Processing times are counted in sixteen
-- buckets for each doubling: a percentile read from them is off by 2.2 % at the most.
create view videojobs.pending_tallies as
select
  c.ctid as change, c.user_id, c.team_id, c.queue, c.pipeline, c.platform_target,
  m.measure, m.day, m.bucket, m.sign * c.jobs as jobs, m.sign * c.jobs * m.milliseconds as milliseconds
from videojobs.tally_changes c
cross join lateral (
  select -1 as sign, c.left_status::text as measure, null::date as day, null::smallint as bucket, coalesce(c.left_milliseconds, 0) as milliseconds
  where c.left_status is not null and not c.is_archived
  union all
  select 1, c.entered_status::text, null, null, coalesce(c.entered_milliseconds, 0)
  where c.entered_status is not null and not c.is_archived
  union all
  select -1, c.left_status::text, c.left_ended_on, null, coalesce(c.left_milliseconds, 0)
  where c.left_ended_on is not null
  union all
  select 1, c.entered_status::text, c.entered_ended_on, null, coalesce(c.entered_milliseconds, 0)
  where c.entered_ended_on is not null
  union all
  select case when c.left_status is null then 1 else -1 end, 'created', c.created_on, null, 0
  where (c.left_status is null) <> (c.entered_status is null)
  union all
  select -1, 'took', null, floor(16 * ln(greatest(c.left_milliseconds, 1)) / ln(2))::smallint, 0
  where c.left_status = 'completed' and not c.is_archived
  union all
  select 1, 'took', null, floor(16 * ln(greatest(c.entered_milliseconds, 1)) / ln(2))::smallint, 0
  where c.entered_status = 'completed' and not c.is_archived
) m;
revoke all on videojobs.pending_tallies from public, anon, authenticated, service_role;
grant select on videojobs.pending_tallies to service_role;

-- The guard of transitions sees each change of a row: it writes the tally of a changed status too.
create or replace function videojobs.guard_video_job() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if new.status = old.status then
    if old.status in ('completed', 'failed', 'cancelled') then
      raise exception using
        errcode = 'VJ002',
        message = format('job %s is %s and cannot be changed any more', old.id, old.status),
        hint = 'retry it or delete it';
    end if;
  elsif not exists (
    select from videojobs.transitions t where t.from_status = old.status and t.to_status = new.status
  ) then
    raise exception using
      errcode = 'VJ002',
      message = format('job %s cannot go from %s to %s', old.id, old.status, new.status);
  end if;
  new.updated_at := clock_timestamp();

  if (new.user_id, new.queue, new.pipeline) <> (old.user_id, old.queue, old.pipeline)
    or new.team_id is distinct from old.team_id
    or new.platform_target is distinct from old.platform_target
    or new.created_at <> old.created_at
  then
    insert into videojobs.tally_changes (
      user_id, team_id, queue, pipeline, platform_target, created_on, left_status, left_ended_on, left_milliseconds)
    values (
      old.user_id, old.team_id, old.queue, old.pipeline, old.platform_target, (old.created_at at time zone 'utc')::date,
      old.status, (coalesce(old.completed_at, old.cancelled_at) at time zone 'utc')::date,
      case old.status when 'completed' then round(old.processing_time * 1000)::bigint end);
    insert into videojobs.tally_changes (
      user_id, team_id, queue, pipeline, platform_target, created_on, entered_status, entered_ended_on, entered_milliseconds)
    values (
      new.user_id, new.team_id, new.queue, new.pipeline, new.platform_target, (new.created_at at time zone 'utc')::date,
      new.status, (coalesce(new.completed_at, new.cancelled_at) at time zone 'utc')::date,
      case new.status when 'completed' then round(new.processing_time * 1000)::bigint end);
  elsif new.status <> old.status then
    insert into videojobs.tally_changes (
      user_id, team_id, queue, pipeline, platform_target, created_on,
      left_status, left_ended_on, left_milliseconds, entered_status, entered_ended_on, entered_milliseconds)
    values (
      new.user_id, new.team_id, new.queue, new.pipeline, new.platform_target, (new.created_at at time zone 'utc')::date,
      old.status, (coalesce(old.completed_at, old.cancelled_at) at time zone 'utc')::date,
      case old.status when 'completed' then round(old.processing_time * 1000)::bigint end,
      new.status, (coalesce(new.completed_at, new.cancelled_at) at time zone 'utc')::date,
      case new.status when 'completed' then round(new.processing_time * 1000)::bigint end);
  end if;
  return new;
end
$$;

-- Definer, since those who insert jobs have no right to write history. One event for each new row,
-- one tally for each kind of job among them.
create or replace function videojobs.record_created_video_jobs() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  actor uuid := auth.uid();  -- once, not for each row
  highest smallint;
begin
  if not videojobs.is_service() then
    select s.max_user_priority into highest from videojobs.settings s;
    if exists (select from new_jobs j where j.priority > highest) then
      raise exception using
        errcode = 'VJ005',
        message = format('priority: signed-in users may ask for %s at the most', highest),
        hint = 'leave priority out, or create the job as a service';
    end if;
  end if;

  insert into public.video_job_events (job_id, type, at, actor_id)
  select j.id, 'created', j.created_at, actor
  from new_jobs j;

  insert into videojobs.tally_changes (
    user_id, team_id, queue, pipeline, platform_target, created_on, jobs,
    entered_status, entered_ended_on, entered_milliseconds)
  select
    j.user_id, j.team_id, j.queue, j.pipeline, j.platform_target, (j.created_at at time zone 'utc')::date, count(*),
    j.status, (coalesce(j.completed_at, j.cancelled_at) at time zone 'utc')::date,
    case j.status when 'completed' then round(j.processing_time * 1000)::bigint end
  from new_jobs j
  group by 1, 2, 3, 4, 5, 6, 8, 9, 10;
  return null;
end
$$;

create function videojobs.tally_deleted_video_jobs() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into videojobs.tally_changes (
    user_id, team_id, queue, pipeline, platform_target, created_on, jobs,
    left_status, left_ended_on, left_milliseconds)
  select
    j.user_id, j.team_id, j.queue, j.pipeline, j.platform_target, (j.created_at at time zone 'utc')::date, count(*),
    j.status, (coalesce(j.completed_at, j.cancelled_at) at time zone 'utc')::date,
    case j.status when 'completed' then round(j.processing_time * 1000)::bigint end
  from old_jobs j
  group by 1, 2, 3, 4, 5, 6, 8, 9, 10;
  return null;
end
$$;
create trigger video_jobs_tally_deleted after delete on public.video_jobs
  referencing old table as old_jobs
  for each statement execute function videojobs.tally_deleted_video_jobs();

-- What an archived job adds to the figures of days.
create view videojobs.archived_tallies as
select
  a.ended_at, j.user_id, j.team_id, j.queue, j.pipeline, j.platform_target, (j.created_at at time zone 'utc')::date as created_on,
  a.status, (a.ended_at at time zone 'utc')::date as ended_on,
  case a.status when 'completed' then round(j.processing_time * 1000)::bigint end as milliseconds
from videojobs.archived_jobs a
cross join lateral jsonb_populate_record(null::public.video_jobs, a.job) j;
revoke all on videojobs.archived_tallies from public, anon, authenticated, service_role;

create function videojobs.tally_archived_jobs() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    insert into videojobs.tally_changes (
      user_id, team_id, queue, pipeline, platform_target, created_on,
      entered_status, entered_ended_on, entered_milliseconds, is_archived)
    select
      j.user_id, j.team_id, j.queue, j.pipeline, j.platform_target, (j.created_at at time zone 'utc')::date,
      a.status, (a.ended_at at time zone 'utc')::date,
      case a.status when 'completed' then round(j.processing_time * 1000)::bigint end, true
    from changed_jobs a
    cross join lateral jsonb_populate_record(null::public.video_jobs, a.job) j;
  else
    insert into videojobs.tally_changes (
      user_id, team_id, queue, pipeline, platform_target, created_on,
      left_status, left_ended_on, left_milliseconds, is_archived)
    select
      j.user_id, j.team_id, j.queue, j.pipeline, j.platform_target, (j.created_at at time zone 'utc')::date,
      a.status, (a.ended_at at time zone 'utc')::date,
      case a.status when 'completed' then round(j.processing_time * 1000)::bigint end, true
    from changed_jobs a
    cross join lateral jsonb_populate_record(null::public.video_jobs, a.job) j;
  end if;
  return null;
end
$$;
create trigger archived_jobs_tally_inserted after insert on videojobs.archived_jobs
  referencing new table as changed_jobs
  for each statement execute function videojobs.tally_archived_jobs();
create trigger archived_jobs_tally_deleted after delete on videojobs.archived_jobs
  referencing old table as changed_jobs
  for each statement execute function videojobs.tally_archived_jobs();

-- Whatever makes jobs ready, however many, wakes their queue once: at commit, when others can see
-- them. Of transactions that commit at the same moment one does it for all, since every NOTIFY
-- takes a lock of the whole database; a worker that was woken looks again before it sleeps.
create function videojobs.wake_queue() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  mode text;
begin
  select s.queue_wakeups into mode from videojobs.settings s;
  if mode = 'each'
    or (mode = 'coalesced' and pg_try_advisory_xact_lock(hashtextextended('videojobs wakes ' || new.queue, 0)))
  then
    perform pg_notify('videojobs_queue', new.queue);
  end if;
  return null;
end
$$;
create constraint trigger tally_changes_wake_queue after insert on videojobs.tally_changes
  deferrable initially deferred
  for each row when (new.entered_status = 'queued' and not new.is_archived)
  execute function videojobs.wake_queue();

create or replace function videojobs.announce_video_job_events() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform pg_notify('videojobs_changes', changed.job_id::text)
  from (select distinct e.job_id from new_events e where e.type <> 'created') changed
  where (select s.announces_changes from videojobs.settings s);
  return null;
end
$$;

-- Folds up to row_limit changes into the sums. One at a time; whoever comes second has nothing to do.
create function videojobs.fold_tallies(row_limit integer default 20000) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  chosen tid[];
begin
  if not pg_try_advisory_xact_lock(hashtextextended('videojobs folds tallies', 0)) then
    return 0;
  end if;
  -- Nobody else deletes these rows and nobody updates them: their places stay theirs.
  chosen := array(select c.ctid from videojobs.tally_changes c limit row_limit);
  if cardinality(chosen) = 0 then
    return 0;
  end if;
  with pending as materialized (
    select p.* from videojobs.pending_tallies p where p.change = any (chosen)
  ), folded as (
    delete from videojobs.tally_changes c where c.ctid = any (chosen)
  )
  insert into videojobs.tallies (
    user_id, team_id, queue, pipeline, platform_target, measure, day, bucket, jobs, milliseconds)
  select
    owner.user_id, owner.team_id, p.queue, p.pipeline, p.platform_target, p.measure, p.day, p.bucket,
    sum(p.jobs), sum(p.milliseconds)
  from pending p
  cross join lateral (
    select p.user_id, p.team_id
    union all
    select null, p.team_id where p.team_id is not null
    union all
    select null, null
  ) owner (user_id, team_id)
  group by owner.user_id, owner.team_id, p.queue, p.pipeline, p.platform_target, p.measure, p.day, p.bucket
  having sum(p.jobs) <> 0 or sum(p.milliseconds) <> 0
  on conflict on constraint tallies_key
    do update set jobs = tallies.jobs + excluded.jobs, milliseconds = tallies.milliseconds + excluded.milliseconds;
  return cardinality(chosen);
end
$$;

-- The figures that match the filter and that the caller may see: owner by owner where users are
-- asked for or told apart, else those of everybody at once.
create function videojobs.tallied(filter jsonb, by_owner boolean) returns setof videojobs.tallies
language plpgsql stable security definer set search_path = ''
as $$
declare
  sees_all boolean := videojobs.is_service() or videojobs.is_admin();
  of_all boolean := sees_all and not by_owner and not coalesce(filter, '{}') ?| array['user_id', 'team_id'];
  condition text := videojobs.condition(filter);
  mine text := 'true';
  summed text := 'j.user_id is not null';
begin
  if not sees_all then
    mine := format(
      '(j.user_id = %L::uuid or j.team_id = any (%L::uuid[]))',
      auth.uid(), array(select videojobs.my_team_ids()));
  end if;
  if of_all then
    summed := 'j.user_id is null and j.team_id is null';
  elsif by_owner then
    summed := 'j.user_id is not null and j.day is null and j.bucket is null and ' || mine;
  elsif filter ? 'user_id' then
    summed := 'j.user_id is not null and ' || mine;
  elsif sees_all then
    summed := 'j.user_id is null and j.team_id is not null';
  else
    -- Teams by their own sums: those of all their members would be as many rows as members and days.
    summed := format(
      '(j.user_id = %1$L::uuid and (j.team_id is null or j.team_id <> all (%2$L::uuid[]))'
      ' or j.user_id is null and j.team_id = any (%2$L::uuid[]))',
      auth.uid(), array(select videojobs.my_team_ids()));
  end if;
  return query execute format(
    $query$
      select
        j.user_id, j.team_id, j.queue, j.pipeline, j.platform_target, j.measure, j.day, j.bucket, j.jobs, j.milliseconds
      from videojobs.tallies j
      where %s and %s
      union all
      select
        j.user_id, j.team_id, j.queue, j.pipeline, j.platform_target, j.measure, j.day, j.bucket,
        sum(j.jobs)::bigint, sum(j.milliseconds)::bigint
      from videojobs.pending_tallies j
      where %s and %s
      group by 1, 2, 3, 4, 5, 6, 7, 8
    $query$,
    summed, condition, condition, mine);
end
$$;

-- What each job counts for: the same sums, made from the jobs themselves.
create view videojobs.job_measures with (security_invoker = true) as
select j.*, m.measure, m.day, m.bucket, m.milliseconds
from public.video_jobs j
cross join lateral (
  select j.status::text as measure, null::date as day, null::smallint as bucket,
    case j.status when 'completed' then round(j.processing_time * 1000)::bigint else 0 end as milliseconds
  union all
  select 'created', (j.created_at at time zone 'utc')::date, null, 0
  union all
  select j.status::text, (coalesce(j.completed_at, j.cancelled_at) at time zone 'utc')::date, null,
    case j.status when 'completed' then round(j.processing_time * 1000)::bigint else 0 end
  where j.status in ('completed', 'failed', 'cancelled')
  union all
  select 'took', null, floor(16 * ln(greatest(round(j.processing_time * 1000)::bigint, 1)) / ln(2))::smallint, 0
  where j.status = 'completed'
) m;
revoke all on videojobs.job_measures from public, anon, authenticated, service_role;
grant select on videojobs.job_measures to authenticated, service_role;

-- One row: the lists in it are JSON, so that PostgREST's max-rows cannot cut them off.
-- Filtered by user, team, queue, pipeline and platform, or not at all, it reads sums alone; any other
-- filter counts the jobs that it matches.
create or replace function public.get_video_job_stats(filter jsonb default '{}', group_by text default null)
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
declare
  -- Read first, so that a bad filter is refused as such.
  condition text := videojobs.condition(filter);
  columns text := 'j.user_id, j.team_id, j.platform_target, j.pipeline, j.measure, j.day, j.bucket, j.milliseconds';
  is_summed boolean := coalesce(filter, '{}') - array['user_id', 'team_id', 'queue', 'pipeline', 'platform_target'] = '{}';
  figures text;
  grouped text := 'select f.* from figures f';
begin
  if group_by is not null and group_by not in ('user_id', 'team_id', 'platform_target', 'pipeline') then
    raise exception using
      errcode = 'VJ004',
      message = format('group_by: %L is not one of user_id, team_id, platform_target, pipeline', group_by);
  end if;
  if is_summed then
    figures := format('select %s, j.jobs from videojobs.tallied(%L, false) j', columns, filter);
  else
    figures := format(
      'select %s, 1::bigint as jobs from videojobs.job_measures j where %s', columns, condition);
  end if;
  if is_summed and group_by in ('user_id', 'team_id') then
    grouped := format('select %s, j.jobs from videojobs.tallied(%L, true) j', columns, filter);
  end if;
  execute format(
    $query$
      with figures as materialized (
        %s
      ), statuses as (
        select e.status, coalesce(sum(f.jobs), 0)::bigint as jobs, coalesce(sum(f.milliseconds), 0)::bigint as milliseconds
        from unnest(enum_range(null::public.video_job_status)) e (status)
        left join figures f on f.measure = e.status::text and f.day is null and f.bucket is null
        group by e.status
      ), times as (
        select f.bucket, sum(sum(f.jobs)) over (order by f.bucket) as so_far, sum(sum(f.jobs)) over () as of_all
        from figures f
        where f.measure = 'took'
        group by f.bucket
      ), percentiles as (
        -- Between the two jobs that are nearest to the share, as percentile_cont has it.
        select
          w.share,
          low.seconds + (w.place - floor(w.place)) * (high.seconds - low.seconds) as seconds
        from (
          select s.share, s.share * (max(t.of_all) - 1) as place
          from times t, (values (0.5), (0.95)) s (share)
          group by s.share
        ) w
        cross join lateral (
          select 2 ^ ((min(t.bucket) + 0.5) / 16) / 1000 as seconds from times t where t.so_far > floor(w.place)
        ) low
        cross join lateral (
          select 2 ^ ((min(t.bucket) + 0.5) / 16) / 1000 as seconds from times t where t.so_far > ceil(w.place)
        ) high
      ), days as (
        select
          f.day,
          coalesce(sum(f.jobs) filter (where f.measure = 'created'), 0)::bigint as created,
          coalesce(sum(f.jobs) filter (where f.measure = 'completed'), 0)::bigint as completed,
          coalesce(sum(f.jobs) filter (where f.measure = 'failed'), 0)::bigint as failed,
          coalesce(sum(f.jobs) filter (where f.measure = 'cancelled'), 0)::bigint as cancelled
        from (
          select f.day, f.measure, sum(f.jobs) as jobs
          from figures f
          where f.day is not null
          group by f.day, f.measure
          having sum(f.jobs) <> 0
        ) f
        group by f.day
        order by f.day desc
        limit 366
      ), grouped as (
        %s
      ), kinds as (
        select g.%I::text as key, g.measure, sum(g.jobs)::bigint as jobs, sum(g.milliseconds)::bigint as milliseconds
        from grouped g
        where %L::boolean and g.day is null and g.bucket is null
        group by 1, 2
        having sum(g.jobs) > 0
      )
      select
        (select sum(s.jobs) from statuses s),
        (select jsonb_object_agg(s.status, s.jobs) from statuses s),
        (select s.milliseconds / nullif(s.jobs, 0)::double precision / 1000 from statuses s where s.status = 'completed'),
        (select p.seconds from percentiles p where p.share = 0.5),
        (select p.seconds from percentiles p where p.share = 0.95),
        (select s.milliseconds / 1000.0 from statuses s where s.status = 'completed'),
        (select coalesce(jsonb_agg(to_jsonb(d) order by d.day), '[]') from days d),
        (select coalesce(jsonb_agg(to_jsonb(g) order by g.total desc, g.key), '[]') from (
          select
            k.key,
            sum(k.jobs)::bigint as total,
            jsonb_object_agg(k.measure, k.jobs) as by_status,
            sum(k.milliseconds) filter (where k.measure = 'completed')
              / nullif(sum(k.jobs) filter (where k.measure = 'completed'), 0) / 1000.0 as average_processing_seconds,
            coalesce(sum(k.milliseconds) filter (where k.measure = 'completed'), 0) / 1000.0 as total_processing_seconds
          from kinds k
          group by k.key
          order by total desc, k.key
          limit 500
        ) g)
    $query$,
    figures, grouped, coalesce(group_by, 'pipeline'), group_by is not null
  ) into
    total, by_status, average_processing_seconds, median_processing_seconds, p95_processing_seconds,
    total_processing_seconds, by_day, groups;
  return next;
end
$$;

-- The sums that differ from what is really there, read in one snapshot, so that it is exact while
-- others work. With repair the differences are added to the sums. Counts every job: takes its time.
create function videojobs.reconcile_stats(repair boolean)
returns table (
  user_id uuid, team_id uuid, queue text, pipeline text, platform_target public.video_job_platform_target,
  measure text, day date, bucket smallint, counted bigint, summed bigint
)
language plpgsql security definer set search_path = ''
as $$
begin
  if repair then
    -- In a statement of its own: the next one then sees what the repair before this one wrote.
    perform pg_advisory_xact_lock(hashtextextended('videojobs repairs tallies', 0));
  end if;
  return query
  with facts as (
    select
      j.user_id, j.team_id, j.queue, j.pipeline, j.platform_target, j.measure, j.day, j.bucket,
      1 as jobs, j.milliseconds, true as is_counted
    from videojobs.job_measures j
    union all
    select
      a.user_id, a.team_id, a.queue, a.pipeline, a.platform_target, m.measure, m.day, null,
      1, m.milliseconds, true
    from videojobs.archived_tallies a
    cross join lateral (
      values ('created', a.created_on, 0), (a.status::text, a.ended_on, coalesce(a.milliseconds, 0))
    ) m (measure, day, milliseconds)
    union all
    select
      p.user_id, p.team_id, p.queue, p.pipeline, p.platform_target, p.measure, p.day, p.bucket,
      p.jobs, p.milliseconds, false
    from videojobs.pending_tallies p
  ), both_scopes as (
    select
      owner.user_id, owner.team_id, f.queue, f.pipeline, f.platform_target, f.measure, f.day, f.bucket,
      f.jobs, f.milliseconds, f.is_counted
    from facts f
    cross join lateral (
      select f.user_id, f.team_id
      union all
      select null, f.team_id where f.team_id is not null
      union all
      select null, null
    ) owner (user_id, team_id)
    union all
    select
      t.user_id, t.team_id, t.queue, t.pipeline, t.platform_target, t.measure, t.day, t.bucket,
      t.jobs, t.milliseconds, false
    from videojobs.tallies t
  ), drift as materialized (
    select
      b.user_id, b.team_id, b.queue, b.pipeline, b.platform_target, b.measure, b.day, b.bucket,
      coalesce(sum(b.jobs) filter (where b.is_counted), 0)::bigint as counted,
      coalesce(sum(b.jobs) filter (where not b.is_counted), 0)::bigint as summed,
      coalesce(sum(b.milliseconds) filter (where b.is_counted), 0)::bigint
        - coalesce(sum(b.milliseconds) filter (where not b.is_counted), 0)::bigint as milliseconds
    from both_scopes b
    group by 1, 2, 3, 4, 5, 6, 7, 8
    having sum(case when b.is_counted then b.jobs else -b.jobs end) <> 0
      or sum(case when b.is_counted then b.milliseconds else -b.milliseconds end) <> 0
  ), repaired as (
    insert into videojobs.tallies (
      user_id, team_id, queue, pipeline, platform_target, measure, day, bucket, jobs, milliseconds)
    select
      d.user_id, d.team_id, d.queue, d.pipeline, d.platform_target, d.measure, d.day, d.bucket,
      d.counted - d.summed, d.milliseconds
    from drift d
    where reconcile_stats.repair
    on conflict on constraint tallies_key
      do update set jobs = tallies.jobs + excluded.jobs, milliseconds = tallies.milliseconds + excluded.milliseconds
  )
  select
    d.user_id, d.team_id, d.queue, d.pipeline, d.platform_target, d.measure, d.day, d.bucket, d.counted, d.summed
  from drift d
  limit 500;
end
$$;

create function public.reconcile_video_job_stats(repair boolean default false)
returns table (
  user_id uuid, team_id uuid, queue text, pipeline text, platform_target public.video_job_platform_target,
  measure text, day date, bucket smallint, counted bigint, summed bigint
)
language sql volatile set search_path = ''
as $$ select r.* from videojobs.reconcile_stats(reconcile_video_job_stats.repair) r $$;

-- TRUNCATE takes all jobs at once, and fires no other trigger: what is left is counted anew.
create function videojobs.tally_truncated_video_jobs() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform videojobs.reconcile_stats(true);
  return null;
end
$$;
create trigger video_jobs_tally_truncated after truncate on public.video_jobs
  for each statement execute function videojobs.tally_truncated_video_jobs();

-- The jobs that are there already.
insert into videojobs.tally_changes (
  user_id, team_id, queue, pipeline, platform_target, created_on, jobs,
  entered_status, entered_ended_on, entered_milliseconds)
select
  j.user_id, j.team_id, j.queue, j.pipeline, j.platform_target, (j.created_at at time zone 'utc')::date, count(*),
  j.status, (coalesce(j.completed_at, j.cancelled_at) at time zone 'utc')::date,
  case j.status when 'completed' then round(j.processing_time * 1000)::bigint end
from public.video_jobs j
group by 1, 2, 3, 4, 5, 6, 8, 9, 10;

revoke all on all functions in schema videojobs from public;
grant execute on function videojobs.tallied(jsonb, boolean) to authenticated, service_role;
grant execute on function videojobs.fold_tallies(integer), videojobs.reconcile_stats(boolean) to service_role;
revoke all on function
  videojobs.tally_deleted_video_jobs(), videojobs.tally_truncated_video_jobs(), videojobs.tally_archived_jobs(),
  videojobs.wake_queue()
from public, anon, authenticated, service_role;
revoke all on function public.reconcile_video_job_stats(boolean) from public, anon, authenticated, service_role;
grant execute on function public.reconcile_video_job_stats(boolean) to service_role;
