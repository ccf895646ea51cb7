-- History by months, so that old history is dropped as a table and not deleted row by row; and the
-- archive, where final jobs go when the queue's table shall stay small.

-- The history so far becomes the first month's.
do $$
declare
  last_id bigint;
  month date;
  until timestamptz;
  first_partition text;
begin
  lock table public.video_job_events in access exclusive mode;
  month := date_trunc('month', clock_timestamp() at time zone 'utc');
  until := (month + interval '1 month')::timestamp at time zone 'utc';
  first_partition := 'video_job_events_' || to_char(month, 'YYYY_MM');
  -- What a service dated ahead belongs to a later month.
  create temporary table videojobs_later_events on commit drop as
  select e.* from public.video_job_events e where e.at >= until;
  delete from public.video_job_events e where e.at >= until;
  select greatest(max(e.id), (select max(l.id) from videojobs_later_events l), 0) into last_id from public.video_job_events e;
  drop function public.list_video_job_events(uuid, bigint, integer);
  drop trigger video_job_events_announce on public.video_job_events;
  drop policy video_job_events_open_to_service on public.video_job_events;
  drop policy video_job_events_seen_with_their_job on public.video_job_events;
  revoke all on public.video_job_events from public, anon, authenticated, service_role;
  alter table public.video_job_events disable row level security;
  alter table public.video_job_events alter column id drop identity;
  alter table public.video_job_events drop constraint video_job_events_pkey;
  alter table public.video_job_events set schema videojobs;
  execute format('alter table videojobs.video_job_events rename to %I', first_partition);

  create table public.video_job_events (
    id bigint not null generated always as identity,
    job_id uuid not null,
    type public.video_job_event_type not null,
    at timestamptz not null default clock_timestamp(),
    run_token bigint,
    worker_id text,
    actor_id uuid,
    data jsonb not null default '{}',
    -- Serves a job's history in its order. The time is in it because it divides the table.
    constraint video_job_events_pkey primary key (job_id, id, at)
  ) partition by range (at);
  perform setval(pg_get_serial_sequence('public.video_job_events', 'id'), last_id + 1, false);
  execute format(
    'alter table public.video_job_events attach partition videojobs.%I for values from (minvalue) to (%L)',
    first_partition, until);
  -- Takes what no month was made for; nothing is refused because maintenance never ran.
  create table videojobs.video_job_events_other partition of public.video_job_events default;
  insert into public.video_job_events (id, job_id, type, at, run_token, worker_id, actor_id, data)
  overriding system value
  select l.id, l.job_id, l.type, l.at, l.run_token, l.worker_id, l.actor_id, l.data
  from videojobs_later_events l;
end
$$;
comment on table public.video_job_events is 'What happened to each job. Append-only.';

alter table public.video_job_events enable row level security;
create policy video_job_events_open_to_service on public.video_job_events
  for all to service_role using (true) with check (true);
revoke all on public.video_job_events from public, anon, authenticated, service_role;
revoke all on sequence public.video_job_events_id_seq from public, anon, authenticated, service_role;
grant select on public.video_job_events to authenticated;
grant select, insert, delete on public.video_job_events to service_role;
create trigger video_job_events_announce after insert on public.video_job_events
  referencing new table as new_events
  for each statement execute function videojobs.announce_video_job_events();

create function public.list_video_job_events(
  job_id uuid, after_id bigint default 0, row_limit integer default 500
) returns setof public.video_job_events
language sql stable set search_path = ''
as $$
  select e.*
  from public.video_job_events e
  where e.job_id = list_video_job_events.job_id and e.id > list_video_job_events.after_id
  order by e.id
  limit list_video_job_events.row_limit
$$;

-- As the whole row, so that a column that is added to jobs later needs no change here.
create table videojobs.archived_jobs (
  id uuid not null,
  user_id uuid not null,
  team_id uuid,
  status public.video_job_status not null,
  ended_at timestamptz not null,
  archived_at timestamptz not null default clock_timestamp(),
  job jsonb not null,
  constraint archived_jobs_pkey primary key (id, ended_at),
  constraint archived_jobs_are_final check (status in ('completed', 'failed', 'cancelled'))
) partition by range (ended_at);
comment on table videojobs.archived_jobs is 'Final jobs that were moved out of the way. Read them as public.archived_video_jobs.';
create table videojobs.archived_jobs_other partition of videojobs.archived_jobs default;
-- A user's and a team's archived jobs, newest first, and those of all.
create index archived_jobs_of_user on videojobs.archived_jobs (user_id, ended_at desc);
create index archived_jobs_of_team on videojobs.archived_jobs (team_id, ended_at desc) where team_id is not null;
create index archived_jobs_by_age on videojobs.archived_jobs (ended_at desc);
alter table videojobs.archived_jobs enable row level security;
create policy archived_jobs_seen_by_owner_team_and_admin on videojobs.archived_jobs
  for select to authenticated
  using (
    user_id = (select auth.uid())
    or team_id = any (array(select videojobs.my_team_ids()))
    or (select videojobs.is_admin())
  );
create policy archived_jobs_open_to_service on videojobs.archived_jobs
  for all to service_role using (true) with check (true);
revoke all on videojobs.archived_jobs from public, anon, authenticated, service_role;
grant select on videojobs.archived_jobs to authenticated;
grant select, insert, delete on videojobs.archived_jobs to service_role;

create policy video_job_events_seen_with_their_job on public.video_job_events
  for select to authenticated
  using (
    exists (select from public.video_jobs j where j.id = job_id)
    or exists (select from videojobs.archived_jobs a where a.id = job_id)
  );

create view public.archived_video_jobs with (security_invoker = true) as
select a.ended_at, a.archived_at, j.*
from videojobs.archived_jobs a
cross join lateral jsonb_populate_record(null::public.video_jobs, a.job) j;
comment on view public.archived_video_jobs is 'Final jobs that were moved out of video_jobs, as they were.';
revoke all on public.archived_video_jobs from public, anon, authenticated, service_role;
grant select on public.archived_video_jobs to authenticated, service_role;

create function videojobs.archived_job(job_id uuid) returns setof public.video_jobs
language sql stable set search_path = ''
as $$
  select j.*
  from videojobs.archived_jobs a
  cross join lateral jsonb_populate_record(null::public.video_jobs, a.job) j
  where a.id = archived_job.job_id
$$;

-- The archive is asked only for what is not in the table: its filter is decided before it is read.
create or replace function public.get_video_job(job_id uuid) returns setof public.video_jobs
language sql stable set search_path = ''
as $$
  select j.* from public.video_jobs j where j.id = get_video_job.job_id
  union all
  select a.*
  from videojobs.archived_job(get_video_job.job_id) a
  where not exists (select from public.video_jobs j where j.id = get_video_job.job_id)
$$;

create or replace function videojobs.job_to_change(job_id uuid) returns public.video_jobs
language plpgsql stable set search_path = ''
as $$
declare
  job public.video_jobs;
begin
  select j.* into job from public.get_video_job(job_to_change.job_id) j;
  if not found or not videojobs.may_see(job.user_id, job.team_id) then
    raise exception using
      errcode = 'VJ001', message = format('there is no job %s, or it is not yours', job_to_change.job_id);
  end if;
  if not videojobs.may_change(job.user_id, job.team_id) then
    raise exception using
      errcode = 'VJ005',
      message = format('job %s is your team''s: only its owner and the team''s admins may change it', job.id);
  end if;
  if not exists (select from public.video_jobs j where j.id = job.id) then
    raise exception using
      errcode = 'VJ002',
      message = format('job %s is archived and cannot be changed any more', job.id),
      hint = 'create a new job from it';
  end if;
  return job;
end
$$;

-- As before, and the archive's too: a repeated write by the token that settled the job hears "final".
create or replace function videojobs.settled_before(job_id uuid, run_token bigint, wish text)
returns table (verdict public.video_job_verdict, job jsonb)
language plpgsql stable set search_path = ''
as $$
declare
  stored public.video_jobs;
begin
  if settled_before.run_token is null then
    perform videojobs.refuse_transition(
      videojobs.job_to_change(settled_before.job_id), wish, 'only a running job can be');
  end if;
  select j.* into stored from public.get_video_job(settled_before.job_id) j;
  if stored.run_token = settled_before.run_token and stored.status <> 'processing' then
    return query select 'final'::public.video_job_verdict, to_jsonb(stored);
  else
    return query select 'lost'::public.video_job_verdict, null::jsonb;
  end if;
end
$$;

-- Makes the tables of this month and the next ones. Rows that came before their month was made are
-- moved into it. Waits for no lock longer than a moment: it will be called again.
create function videojobs.make_partitions(months_ahead integer default 3) returns integer
language plpgsql security definer set search_path = '' set lock_timeout = '2s'
as $$
declare
  made integer := 0;
  parent record;
  this_month timestamp := date_trunc('month', clock_timestamp() at time zone 'utc');
  months timestamp[];
  month timestamp;
  low timestamptz;
  high timestamptz;
  name text;
begin
  for parent in
    select * from (values
      ('public', 'video_job_events', 'at'),
      ('videojobs', 'archived_jobs', 'ended_at')
    ) p (schema_name, prefix, key)
  loop
    -- Also the months of what came when there was no table for it, such as the archive's older jobs.
    execute format(
      'select array(select distinct date_trunc(''month'', o.%I at time zone ''utc'') from videojobs.%I o'
      ' where o.%I >= ''1970-01-01'' and o.%I < ''9999-01-01'')',
      parent.key, parent.prefix || '_other', parent.key, parent.key)
    into months;
    for month in
      select distinct m.month
      from unnest(
        months || array(select this_month + make_interval(months => a) from generate_series(0, months_ahead) a)
      ) m (month)
      order by m.month
    loop
      name := parent.prefix || '_' || to_char(month, 'YYYY_MM');
      continue when to_regclass('videojobs.' || quote_ident(name)) is not null;
      low := month at time zone 'utc';
      high := (month + interval '1 month') at time zone 'utc';
      execute format('lock table videojobs.%I in access exclusive mode', parent.prefix || '_other');
      execute format(
        'create table videojobs.%I (like %I.%I including defaults including constraints)',
        name, parent.schema_name, parent.prefix);
      execute format(
        'with moved as (delete from videojobs.%I o where o.%I >= %L and o.%I < %L returning o.*) insert into videojobs.%I select * from moved',
        parent.prefix || '_other', parent.key, low, parent.key, high, name);
      execute format('revoke all on videojobs.%I from public, anon, authenticated, service_role', name);
      execute format(
        'alter table %I.%I attach partition videojobs.%I for values from (%L) to (%L)',
        parent.schema_name, parent.prefix, name, low, high);
      made := made + 1;
    end loop;
  end loop;
  return made;
exception
  when lock_not_available then
    return 0;
end
$$;

select videojobs.make_partitions();

revoke all on all functions in schema videojobs from public;
revoke all on videojobs.video_job_events_other, videojobs.archived_jobs_other
from public, anon, authenticated, service_role;
revoke all on function public.list_video_job_events(uuid, bigint, integer)
from public, anon, authenticated, service_role;
grant execute on function public.list_video_job_events(uuid, bigint, integer) to authenticated, service_role;
grant execute on function videojobs.archived_job(uuid) to authenticated, service_role;
