-- What attempts leave in the storage when nobody is there to remove it: segments of a film that was
-- cancelled while it waited, that failed or is complete; files of an attempt whose worker went silent;
-- segments' jobs that are deleted. Each is listed by the transaction that makes it useless, and workers
-- remove it an hour later. Only places that attempts alone write to can be listed, and what a job tells
-- as its result is never removed. No prefix is used twice: an attempt's token never comes back.

create table videojobs.leftovers (
  -- An attempt's outputs, its segments, or all that a segment's job has made.
  prefix text not null,
  -- A mark of the storage; workers know their own. Empty where nobody told: then any worker tries.
  storage text not null default '',
  -- Long after a worker that lost its lease has stopped, and has removed what it made.
  due_at timestamptz not null default clock_timestamp() + interval '1 hour',
  tries smallint not null default 0,
  constraint leftovers_pkey primary key (prefix),
  constraint leftovers_are_places_of_attempts check (
    prefix ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(/[0-9]{1,18}([.]segments)?)?$'
  )
);
-- A worker's next ones.
create index leftovers_due on videojobs.leftovers (storage, due_at);
-- Those of storages that nobody works on any more.
create index leftovers_by_age on videojobs.leftovers (due_at);
comment on table videojobs.leftovers is 'Files of attempts that are no use any more, until a worker has removed them.';

-- What a checkpoint names no more: it went with its job's end, or its segments fit no more.
create function videojobs.leave_segments() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  named jsonb := old.checkpoint #> '{segments,kept}';
  still_named jsonb := '{}'::jsonb;
begin
  -- Anybody's pipeline may keep what it likes in a checkpoint.
  if jsonb_typeof(named) is distinct from 'object' then
    return null;
  end if;
  if tg_op = 'UPDATE' then
    still_named := coalesce(new.checkpoint #> '{segments,kept}', '{}');
  end if;
  insert into videojobs.leftovers (prefix, storage)
  select format('%s/%s.segments', old.job_id, k.token), coalesce(old.checkpoint #>> '{segments,storage}', '')
  from jsonb_object_keys(named) k (token)
  where k.token ~ '^[0-9]{1,18}$' and not still_named ? k.token
  limit 1000
  on conflict on constraint leftovers_pkey do nothing;
  return null;
end
$$;
create trigger checkpoints_leave_segments after update or delete on videojobs.checkpoints
  for each row when (old.checkpoint ? 'segments')
  execute function videojobs.leave_segments();

-- A job that is cancelled while it waits needs no checkpoint; all other ends remove it themselves.
create function videojobs.forget_checkpoint() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from videojobs.checkpoints c where c.job_id = new.id;
  return null;
end
$$;
create trigger video_jobs_forget_checkpoint after update of status on public.video_jobs
  for each row when (old.status = 'queued' and new.status = 'cancelled')
  execute function videojobs.forget_checkpoint();

-- A new token for a running job is what takes it from its worker, who may have published by then.
create function videojobs.leave_attempt() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into videojobs.leftovers (prefix, storage, due_at)
  select
    format('%s/%s%s', old.id, old.run_token, part.suffix),
    coalesce((select w.facts ->> 'storage' from videojobs.workers w where w.worker_id = old.worker_id), ''),
    greatest(clock_timestamp(), old.started_at + make_interval(secs => old.max_runtime_seconds)) + interval '1 hour'
  from (values (''), ('.segments')) part (suffix)
  on conflict on constraint leftovers_pkey do nothing;
  return null;
end
$$;
create trigger video_jobs_leave_attempt after update of run_token on public.video_jobs
  for each row when (old.status = 'processing' and new.status = 'processing' and old.run_token < new.run_token)
  execute function videojobs.leave_attempt();

-- A segment's job that is gone, or in the archive, is no use to its film.
create function videojobs.leave_segment_job() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into videojobs.leftovers (prefix, storage)
  values (
    old.id::text,
    coalesce(
      old.output_files #>> '{0,storage}',
      (select w.facts ->> 'storage' from videojobs.workers w where w.worker_id = old.worker_id), ''))
  on conflict on constraint leftovers_pkey do nothing;
  return null;
end
$$;
create trigger video_jobs_leave_segment_job after delete on public.video_jobs
  for each row when (old.parent_job_id is not null and old.run_token > 0)
  execute function videojobs.leave_segment_job();

-- A segment that ends after its film was deleted goes too. The lock waits for a deletion that is under way.
create function videojobs.follow_deleted_film() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform from public.video_jobs p where p.id = new.parent_job_id for key share;
  if not found then
    delete from public.video_jobs j where j.id = new.id;
  end if;
  return null;
end
$$;
create trigger video_jobs_follow_deleted_film after update of status on public.video_jobs
  for each row when (new.parent_job_id is not null and new.status in ('completed', 'failed', 'cancelled'))
  execute function videojobs.follow_deleted_film();

-- Whether an attempt is at it right now.
create function videojobs.is_being_made(prefix text) returns boolean
language sql stable set search_path = ''
as $$
  select exists (
    select
    from videojobs.leases l
    where l.job_id = split_part(is_being_made.prefix, '/', 1)::uuid
      and (strpos(is_being_made.prefix, '/') = 0 or l.run_token = substring(is_being_made.prefix from '/([0-9]+)')::bigint)
  )
$$;

-- Whether a job tells files below the prefix as its result, or the next attempt will ask for them; or it is
-- the folder of a tenant's own files, whose id somebody gave to a job.
create function videojobs.is_wanted(prefix text) returns boolean
language sql stable set search_path = ''
as $$
  select exists (
    select from public.video_jobs j where j.user_id = split_part(is_wanted.prefix, '/', 1)::uuid
  ) or exists (
    select from public.video_jobs j where j.team_id = split_part(is_wanted.prefix, '/', 1)::uuid
  ) or case
    when strpos(is_wanted.prefix, '/') = 0 then exists (
      select from public.video_jobs j where j.id = is_wanted.prefix::uuid
    )
    when is_wanted.prefix like '%.segments' then exists (
      select
      from videojobs.checkpoints c
      where c.job_id = split_part(is_wanted.prefix, '/', 1)::uuid
        and c.checkpoint #> '{segments,kept}' ? substring(is_wanted.prefix from '/([0-9]+)')
    )
    else exists (
      select
      from public.get_video_job(split_part(is_wanted.prefix, '/', 1)::uuid) j
      cross join lateral jsonb_array_elements(j.output_files) o (file)
      where strpos(o.file ->> 'path', is_wanted.prefix || '/') > 0
        -- An archived segment is no result of anybody's.
        and (j.parent_job_id is null or exists (select from public.video_jobs k where k.id = j.id))
    )
  end
$$;

-- The next leftovers in the caller's storage, which are the caller's for a while: 5 minutes, and twice as
-- long after each try. Whoever removed one says so; one that was tried eight times in vain, over a day, or
-- that nobody asked for in a month is given up. The answer tells of these, too.
create function public.claim_video_job_leftovers(storage text, row_limit integer default 20)
returns table (leftover text, tries smallint, is_given_up boolean)
language plpgsql set search_path = ''
  set plan_cache_mode = 'force_generic_plan' set enable_seqscan = off set enable_bitmapscan = off
  set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  moment timestamptz := clock_timestamp();
  found_one videojobs.leftovers;
begin
  row_limit := least(coalesce(row_limit, 20), 100);
  return query
  with forgotten as materialized (
    select l.prefix
    from videojobs.leftovers l
    where l.due_at < moment - interval '30 days'
    order by l.due_at
    limit row_limit
    for update skip locked
  )
  delete from videojobs.leftovers l
  using forgotten f
  where l.prefix = f.prefix
  returning l.prefix, l.tries, true;

  for found_one in
    select head.*
    from (select distinct p.storage from unnest(array[coalesce(claim_video_job_leftovers.storage, ''), '']) p (storage)) place
    cross join lateral (
      select l.*
      from videojobs.leftovers l
      where l.storage = place.storage and l.due_at <= moment
      order by l.due_at
      limit row_limit
      for update skip locked
    ) head
    limit row_limit
  loop
    if videojobs.is_being_made(found_one.prefix) then
      update videojobs.leftovers l set due_at = moment + interval '1 hour' where l.prefix = found_one.prefix;
      continue;
    end if;
    leftover := found_one.prefix;
    tries := found_one.tries;
    is_given_up := found_one.tries >= 8;
    if is_given_up or videojobs.is_wanted(found_one.prefix) then
      delete from videojobs.leftovers l where l.prefix = found_one.prefix;
      continue when not is_given_up;
    else
      tries := (found_one.tries + 1)::smallint;
      update videojobs.leftovers l
      set tries = l.tries + 1, due_at = moment + interval '5 minutes' * 2 ^ l.tries
      where l.prefix = found_one.prefix;
    end if;
    return next;
  end loop;
end
$$;

-- They are gone.
create function public.settle_video_job_leftovers(prefixes text[]) returns table (settled text)
language sql volatile set search_path = ''
as $$
  delete from videojobs.leftovers l where l.prefix = any (prefixes) returning l.prefix
$$;

revoke all on videojobs.leftovers from public, anon, authenticated, service_role;
grant select, insert, update, delete on videojobs.leftovers to service_role;
revoke all on function
  videojobs.leave_segments(), videojobs.forget_checkpoint(), videojobs.leave_attempt(),
  videojobs.leave_segment_job(), videojobs.follow_deleted_film(),
  videojobs.is_being_made(text), videojobs.is_wanted(text),
  public.claim_video_job_leftovers(text, integer), public.settle_video_job_leftovers(text[])
from public, anon, authenticated, service_role;
grant execute on function
  videojobs.is_being_made(text), videojobs.is_wanted(text),
  public.claim_video_job_leftovers(text, integer), public.settle_video_job_leftovers(text[])
to service_role;
