-- Live: what has changed since a moment, for those who pass changes on to people.
--
-- Neither times nor numbers tell what is new: a transaction that took a number early may commit late.
-- A moment is therefore a snapshot (pg_current_snapshot), and new is what was written by a transaction
-- that the snapshot did not see. Nothing is missed and nothing is told twice, whatever commits when.

-- The column's default is no constant, and so it is set apart: what is there already stays null.
alter table public.video_job_events add column tx xid8;
alter table public.video_job_events alter column tx set default pg_current_xact_id();
comment on column public.video_job_events.tx is 'The transaction that wrote it: whoever follows changes reads what their snapshot did not see.';
-- The changes since a snapshot. Grows at its right edge only, and leaves out what is older than itself.
create index video_job_events_by_tx on public.video_job_events (tx) where tx is not null;

-- A deleted job takes its history with it. Who it belonged to is kept for a day, for those who follow.
create table videojobs.deleted_jobs (
  tx xid8 not null default pg_current_xact_id(),
  job_id uuid not null,
  user_id uuid not null,
  team_id uuid,
  deleted_at timestamptz not null default clock_timestamp(),
  -- Its order is that of time: followers read its end, and upkeep its beginning.
  constraint deleted_jobs_pkey primary key (tx, job_id)
);
comment on table videojobs.deleted_jobs is 'Jobs that were deleted or archived in the last day or so.';
revoke all on videojobs.deleted_jobs from public, anon, authenticated, service_role;

-- Which database this is: a place in another one's changes says nothing here.
create table videojobs.change_feed (
  only_row boolean not null default true,
  feed_id uuid not null default gen_random_uuid(),
  constraint change_feed_pkey primary key (only_row),
  constraint change_feed_is_one_row check (only_row)
);
insert into videojobs.change_feed default values;
revoke all on videojobs.change_feed from public, anon, authenticated, service_role;

-- Definer, since those who delete have no right to write here. Segments are nobody's to follow.
create function videojobs.record_deleted_video_jobs() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into videojobs.deleted_jobs (job_id, user_id, team_id)
  select o.id, o.user_id, o.team_id
  from old_jobs o
  where o.parent_job_id is null;
  if found then
    -- One for all of them, and it says only that there is something to read.
    perform pg_notify('videojobs_changes', 'deleted')
    where (select s.announces_changes from videojobs.settings s);
  end if;
  return null;
end
$$;
create trigger video_jobs_record_deleted after delete on public.video_jobs
  referencing old table as old_jobs
  for each statement execute function videojobs.record_deleted_video_jobs();

-- Up to row_limit of the oldest that are older than a day are forgotten.
create function videojobs.forget_deleted_jobs(row_limit integer default 5000) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  forgotten integer;
begin
  with oldest as materialized (
    select d.tx, d.job_id, d.deleted_at from videojobs.deleted_jobs d order by d.tx, d.job_id limit row_limit
  )
  delete from videojobs.deleted_jobs d
  using oldest o
  where d.tx = o.tx and d.job_id = o.job_id and o.deleted_at < clock_timestamp() - interval '1 day';
  get diagnostics forgotten = row_count;
  return forgotten;
end
$$;

-- What was written since the snapshot "since" (a place that an earlier call gave), and the place to go
-- on from; and besides, what the jobs of "job_ids" are now, and the running jobs that were changed after
-- "running_since", since progress is no event. All of one snapshot, in one row, which no max-rows can cut.
--
-- state: "ok"; "begin" if no place was given; "lost" if the place is of another database, too old, or has
-- too much behind it; "crowded" if more jobs changed than row_limit: then owners tells whose, and no more.
create function videojobs.changes_since(
  since text, job_ids uuid[], running_since timestamptz, user_id uuid, team_ids uuid[], row_limit integer
) returns table (
  state text, feed text, place text, moment timestamptz, jobs jsonb, deleted jsonb, owners jsonb
)
-- With the plans that the index was made for; a plan for any snapshot knows nothing of this one.
language plpgsql stable security definer set search_path = '' set enable_seqscan = off
as $$
declare
  most_events constant integer := 20000;
  snapshot pg_snapshot := pg_current_snapshot();
  seen pg_snapshot;
  changed uuid[] := array[]::uuid[];
  scanned bigint;
begin
  feed := (select f.feed_id::text from videojobs.change_feed f);
  place := snapshot::text;
  moment := clock_timestamp();
  jobs := '[]';
  deleted := '[]';
  owners := '[]';
  state := case when changes_since.since is null then 'begin' else 'ok' end;

  if changes_since.since is not null then
    seen := changes_since.since::pg_snapshot;
    if pg_snapshot_xmax(seen) > pg_snapshot_xmax(snapshot) then
      state := 'lost';
      return next;
      return;
    end if;
    -- Those that were under way, each by its number; and all that have begun since.
    select array_agg(distinct e.job_id), count(*) into changed, scanned
    from (
      (
        select e.job_id
        from public.video_job_events e
        where e.tx >= pg_snapshot_xmax(seen) and e.tx < pg_snapshot_xmax(snapshot)
        limit most_events + 1
      )
      union all
      (
        select e.job_id
        from pg_snapshot_xip(seen) late (tx)
        join public.video_job_events e on e.tx = late.tx
        limit most_events + 1
      )
    ) e;
    if scanned <= most_events then
      select count(*) into scanned
      from (
        (
          select
          from videojobs.deleted_jobs d
          where d.tx >= pg_snapshot_xmax(seen) and d.tx < pg_snapshot_xmax(snapshot)
          limit most_events + 1
        )
        union all
        (
          select
          from pg_snapshot_xip(seen) late (tx)
          join videojobs.deleted_jobs d on d.tx = late.tx
          limit most_events + 1
        )
      ) d;
    end if;
    if scanned > most_events then
      state := 'lost';
      return next;
      return;
    end if;
    select coalesce(
      jsonb_agg(jsonb_build_object('job_id', d.job_id, 'user_id', d.user_id, 'team_id', d.team_id)), '[]')
    into deleted
    from (
      (
        select d.job_id, d.user_id, d.team_id
        from videojobs.deleted_jobs d
        where d.tx >= pg_snapshot_xmax(seen) and d.tx < pg_snapshot_xmax(snapshot)
        limit most_events + 1
      )
      union all
      (
        select d.job_id, d.user_id, d.team_id
        from pg_snapshot_xip(seen) late (tx)
        join videojobs.deleted_jobs d on d.tx = late.tx
        limit most_events + 1
      )
    ) d
    where (changes_since.user_id is null
        or d.user_id = changes_since.user_id or d.team_id = any (changes_since.team_ids))
      -- Made anew under the same id: it is there.
      and not exists (select from public.video_jobs j where j.id = d.job_id);
    if jsonb_array_length(deleted) > changes_since.row_limit then
      state := 'crowded';
    end if;
  end if;

  changed := coalesce(changed, array[]::uuid[]) || changes_since.job_ids;
  if changes_since.running_since is not null then
    changed := changed || array(
      select j.id
      from public.video_jobs j
      where j.status = 'processing' and j.updated_at >= changes_since.running_since
        and (changes_since.user_id is null
          or j.user_id = changes_since.user_id or j.team_id = any (changes_since.team_ids))
      order by j.started_at desc
      limit changes_since.row_limit
    );
  end if;

  if state <> 'crowded' and cardinality(changed) > 0 then
    select coalesce(jsonb_agg(to_jsonb(j) order by j.updated_at, j.seq), '[]') into jobs
    from (
      select j.*
      from public.video_jobs j
      where j.id = any (changed)
        and (changes_since.user_id is null
          or j.user_id = changes_since.user_id or j.team_id = any (changes_since.team_ids))
      limit changes_since.row_limit + 1
    ) j;
    if jsonb_array_length(jobs) > changes_since.row_limit then
      state := 'crowded';
    end if;
  end if;
  if state = 'crowded' then
    select coalesce(jsonb_agg(distinct jsonb_build_object('user_id', o.user_id, 'team_id', o.team_id)), '[]')
    into owners
    from (
      select j.user_id, j.team_id from public.video_jobs j where j.id = any (changed)
      union
      select (d ->> 'user_id')::uuid, (d ->> 'team_id')::uuid from jsonb_array_elements(deleted) d
    ) o;
    jobs := '[]';
    deleted := '[]';
  end if;
  return next;
exception
  when data_exception then
    state := 'lost';
    return next;
end
$$;

create function public.read_video_job_changes(
  since text default null, job_ids uuid[] default '{}', running_since timestamptz default null,
  user_id uuid default null, team_ids uuid[] default '{}', row_limit integer default 500
) returns table (
  state text, feed text, place text, moment timestamptz, jobs jsonb, deleted jsonb, owners jsonb
)
language sql stable set search_path = ''
as $$
  select c.*
  from videojobs.changes_since(
    read_video_job_changes.since, coalesce(read_video_job_changes.job_ids, '{}'),
    read_video_job_changes.running_since, read_video_job_changes.user_id,
    coalesce(read_video_job_changes.team_ids, '{}'), read_video_job_changes.row_limit) c
$$;

-- Whose jobs the caller sees: the policies' own words, for one who passes on many changes to many people.
create function public.get_video_job_sight()
returns table (user_id uuid, team_ids uuid[], sees_all boolean)
language sql stable set search_path = ''
as $$
  select
    auth.uid(), array(select videojobs.my_team_ids()), videojobs.is_admin() or videojobs.is_service()
$$;

-- The teams of these users as they are now: what a sight of theirs would say.
create function videojobs.teams_of(user_ids uuid[]) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(
    jsonb_object_agg(u.id, array(select m.team_id from videojobs.memberships(u.id) m order by 1)), '{}')
  from (select distinct w.id from unnest(teams_of.user_ids) w (id) where w.id is not null) u
$$;
create function public.list_video_job_teams(user_ids uuid[]) returns table (teams jsonb)
language sql stable set search_path = ''
as $$ select videojobs.teams_of(list_video_job_teams.user_ids) $$;

revoke all on function
  videojobs.record_deleted_video_jobs(), videojobs.forget_deleted_jobs(integer),
  videojobs.changes_since(text, uuid[], timestamptz, uuid, uuid[], integer), videojobs.teams_of(uuid[])
from public, anon, authenticated, service_role;
grant execute on function
  videojobs.forget_deleted_jobs(integer),
  videojobs.changes_since(text, uuid[], timestamptz, uuid, uuid[], integer),
  videojobs.teams_of(uuid[])
to service_role;
revoke all on function
  public.read_video_job_changes(text, uuid[], timestamptz, uuid, uuid[], integer),
  public.get_video_job_sight(), public.list_video_job_teams(uuid[])
from public, anon, authenticated, service_role;
grant execute on function
  public.read_video_job_changes(text, uuid[], timestamptz, uuid, uuid[], integer),
  public.list_video_job_teams(uuid[])
to service_role;
grant execute on function public.get_video_job_sight() to authenticated, service_role;
