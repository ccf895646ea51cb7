-- For browsers with supabase-js: changes as broadcasts from the database, on private channels.
--
--   videojobs:user:<id>   a user's own jobs
--   videojobs:team:<id>   a team's
--
-- A message says only which job, its status and its progress; the page then reads what it shows, under
-- its own rights. Where there is no Realtime, there is no trigger and no cost. After installing Realtime
-- later, call: select videojobs.enable_realtime();

-- One message to the owner, and one to the team. Realtime swallows errors of its own; here all others end
-- too, since a job must never fail because nobody could be told of it.
create function videojobs.broadcast(event text, user_id uuid, team_id uuid, message jsonb) returns void
-- Nor may it wait: a statement's timeout, unlike a lock's, is caught by no handler.
language plpgsql security definer set search_path = '' set lock_timeout = '250ms'
as $$
begin
  -- Dynamic, since Realtime may come later than this function.
  execute 'select realtime.send($1, $2, $3, true)' using message, event, 'videojobs:user:' || user_id;
  if team_id is not null then
    execute 'select realtime.send($1, $2, $3, true)' using message, event, 'videojobs:team:' || team_id;
  end if;
exception
  when others then
    raise warning 'videojobs: a change could not be broadcast: %', sqlerrm;
end
$$;

create function videojobs.broadcast_changed_video_job() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform videojobs.broadcast(
    'job.changed', new.user_id, new.team_id,
    jsonb_build_object('id', new.id, 'status', new.status, 'progress', new.progress));
  return null;
end
$$;

-- Of a statement that writes many jobs, each owner hears once: to read anew.
create function videojobs.broadcast_new_or_deleted_video_jobs() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  few constant integer := 20;
  owner record;
begin
  for owner in
    select
      o.user_id, o.team_id, count(*) as jobs,
      case when count(*) <= few then
        jsonb_agg(jsonb_build_object('id', o.id, 'status', o.status, 'progress', o.progress))
      end as messages
    from some_jobs o
    where o.parent_job_id is null
    group by o.user_id, o.team_id
  loop
    if owner.messages is null then
      perform videojobs.broadcast('jobs.reset', owner.user_id, owner.team_id, jsonb_build_object('jobs', owner.jobs));
    else
      perform videojobs.broadcast(
        case tg_op when 'INSERT' then 'job.changed' else 'job.deleted' end, owner.user_id, owner.team_id, m.message)
      from jsonb_array_elements(owner.messages) m (message);
    end if;
  end loop;
  return null;
exception
  when others then
    raise warning 'videojobs: changes could not be broadcast: %', sqlerrm;
    return null;
end
$$;

-- Which channels the caller may join, for the policy on Realtime's messages.
create function videojobs.my_topics() returns setof text
language sql stable security definer set search_path = ''
as $$
  select 'videojobs:user:' || auth.uid() where auth.uid() is not null
  union all
  select 'videojobs:team:' || t from videojobs.my_team_ids() t
$$;

-- Switches broadcasts on where Realtime is, and says whether it is. Harmless to repeat.
create function videojobs.enable_realtime() returns boolean
language plpgsql set search_path = ''
as $$
begin
  if to_regprocedure('realtime.send(jsonb, text, text, boolean)') is null
    or to_regclass('realtime.messages') is null
    or to_regprocedure('realtime.topic()') is null
  then
    return false;
  end if;
  if not exists (
    select from pg_catalog.pg_policy p
    where p.polrelid = to_regclass('realtime.messages') and p.polname = 'videojobs_heard_by_owner_and_team'
  ) then
    create policy videojobs_heard_by_owner_and_team on realtime.messages
      for select to authenticated
      using (
        extension = 'broadcast'
        and (select realtime.topic()) = any (array(select videojobs.my_topics()))
      );
  end if;
  create or replace trigger video_jobs_broadcast_changed after update on public.video_jobs
    for each row when (
      new.parent_job_id is null
      and (old.status <> new.status or old.progress / 5 <> new.progress / 5
        or (old.cancel_requested_at is null) <> (new.cancel_requested_at is null)))
    execute function videojobs.broadcast_changed_video_job();
  create or replace trigger video_jobs_broadcast_new after insert on public.video_jobs
    referencing new table as some_jobs
    for each statement execute function videojobs.broadcast_new_or_deleted_video_jobs();
  create or replace trigger video_jobs_broadcast_deleted after delete on public.video_jobs
    referencing old table as some_jobs
    for each statement execute function videojobs.broadcast_new_or_deleted_video_jobs();
  return true;
end
$$;

-- Switches them off again.
create function videojobs.disable_realtime() returns void
language plpgsql set search_path = ''
as $$
begin
  drop trigger if exists video_jobs_broadcast_changed on public.video_jobs;
  drop trigger if exists video_jobs_broadcast_new on public.video_jobs;
  drop trigger if exists video_jobs_broadcast_deleted on public.video_jobs;
  if to_regclass('realtime.messages') is not null then
    drop policy if exists videojobs_heard_by_owner_and_team on realtime.messages;
  end if;
end
$$;

revoke all on function
  videojobs.broadcast(text, uuid, uuid, jsonb), videojobs.broadcast_changed_video_job(),
  videojobs.broadcast_new_or_deleted_video_jobs(), videojobs.my_topics(), videojobs.enable_realtime(),
  videojobs.disable_realtime()
from public, anon, authenticated, service_role;
grant execute on function videojobs.my_topics() to authenticated, service_role;

do $$
begin
  if not videojobs.enable_realtime() then
    raise notice 'videojobs: no Realtime here; after installing it: select videojobs.enable_realtime()';
  end if;
exception
  when insufficient_privilege then
    raise notice 'videojobs: this login may not set up Realtime; its owner may: select videojobs.enable_realtime()';
end
$$;
