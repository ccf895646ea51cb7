-- Changes as broadcasts from the database, on private channels. For browsers with supabase-js:
--
--   videojobs:user:<id>           a user's own jobs
--   videojobs:team:<id>           a team's
--
-- A message says only which job, its status and its progress; the page then reads what it shows, under
-- its own rights. And for servers and workers without a direct connection, where they say what NOTIFY says
-- on one:
--
--   videojobs:service:changes     ids of jobs that changed
--   videojobs:service:queue       queues that got jobs, and workers who are asked to look
--   videojobs:service:webhooks    there is something to send
--
-- Where there is no Realtime, there is no trigger and no cost. After installing Realtime later, call:
-- select videojobs.enable_realtime();

-- Realtime swallows errors of its own; here all others end too, since a job must never fail because nobody
-- could be told of it.
create function videojobs.broadcast(topic text, event text, message jsonb) returns void
-- Nor may it wait: a statement's timeout, unlike a lock's, is caught by no handler.
language plpgsql security definer set search_path = '' set lock_timeout = '250ms'
as $$
declare
  began timestamptz := clock_timestamp();
begin
  -- Its table was locked a moment ago: one wait for a transaction, however many it has to tell.
  if current_setting('videojobs.realtime_is_busy', true) = 'yes' then
    return;
  end if;
  begin
    -- Dynamic, since Realtime may come later than this function.
    execute 'select realtime.send($1, $2, $3, true)' using message, event, topic;
  exception
    when others then
      raise warning 'videojobs: a change could not be broadcast: %', sqlerrm;
  end;
  if clock_timestamp() - began >= interval '200 milliseconds' then
    perform set_config('videojobs.realtime_is_busy', 'yes', true);
  end if;
end
$$;

create function videojobs.broadcast_to_owner(event text, user_id uuid, team_id uuid, message jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform videojobs.broadcast('videojobs:user:' || user_id, event, message);
  if team_id is not null then
    perform videojobs.broadcast('videojobs:team:' || team_id, event, message);
  end if;
end
$$;

-- Wakes servers and workers. No names: something happened, look at all.
create function videojobs.call_services(channel text, names text[]) returns void
language sql volatile security definer set search_path = ''
as $$
  select videojobs.broadcast('videojobs:service:' || channel, 'called', jsonb_build_object('names', names))
$$;

-- Of a statement that changes a few jobs, each is told; of one that changes many, each owner hears once: to
-- read anew. Segments are nobody's to follow.
create function videojobs.broadcast_video_jobs(event text, jobs jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  few constant integer := 20;
  is_few boolean := jsonb_array_length(jobs) <= few;
  told record;
begin
  if jobs is null then
    return;
  end if;
  if is_few then
    for told in
      select j.* from jsonb_to_recordset(jobs) j (id uuid, user_id uuid, team_id uuid, status text, progress smallint)
    loop
      perform videojobs.broadcast_to_owner(
        event, told.user_id, told.team_id,
        jsonb_build_object('id', told.id, 'status', told.status, 'progress', told.progress));
    end loop;
  else
    for told in
      select j.user_id, j.team_id, count(*) as jobs
      from jsonb_to_recordset(jobs) j (user_id uuid, team_id uuid)
      group by j.user_id, j.team_id
    loop
      perform videojobs.broadcast_to_owner(
        'jobs.reset', told.user_id, told.team_id, jsonb_build_object('jobs', told.jobs));
    end loop;
  end if;
  if (select s.announces_changes from videojobs.settings s) then
    perform videojobs.call_services(
      'changes',
      case
        when is_few and event = 'job.changed' then array(select j ->> 'id' from jsonb_array_elements(jobs) j)
        else '{}'::text[]
      end);
  end if;
exception
  when others then
    raise warning 'videojobs: changes could not be broadcast: %', sqlerrm;
end
$$;

create function videojobs.broadcast_new_or_deleted_video_jobs() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform videojobs.broadcast_video_jobs(
    case tg_op when 'INSERT' then 'job.changed' else 'job.deleted' end,
    (
      select jsonb_agg(jsonb_build_object(
        'id', j.id, 'user_id', j.user_id, 'team_id', j.team_id, 'status', j.status, 'progress', j.progress))
      from some_jobs j
      where j.parent_job_id is null
    ));
  return null;
end
$$;

-- Of progress, every twentieth part.
create function videojobs.broadcast_changed_video_jobs() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  workers text[];
begin
  perform videojobs.broadcast_video_jobs(
    'job.changed',
    (
      select jsonb_agg(jsonb_build_object(
        'id', n.id, 'user_id', n.user_id, 'team_id', n.team_id, 'status', n.status, 'progress', n.progress))
      from new_jobs n
      join old_jobs o on o.id = n.id
      where n.parent_job_id is null
        and (o.status <> n.status or o.progress / 5 <> n.progress / 5
          or (o.cancel_requested_at is null) <> (n.cancel_requested_at is null))
    ));
  workers := array(
    select distinct n.worker_id
    from new_jobs n
    join old_jobs o on o.id = n.id
    where n.status = 'processing' and n.cancel_requested_at is not null and o.cancel_requested_at is null
      and n.worker_id is not null
  );
  if cardinality(workers) > 0 then
    perform videojobs.call_services('queue', workers);
  end if;
  return null;
end
$$;

-- Whatever makes jobs ready, however many, calls their queue's workers once, as `wake_queue` does; NOTIFY
-- leaves out what a transaction has said before, and Realtime does not.
create function videojobs.call_queue() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  called text := coalesce(current_setting('videojobs.called_queues', true), '');
  this_queue text := format('%s;', hashtextextended('videojobs calls ' || new.queue, 0));
  mode text;
begin
  if strpos(called, this_queue) > 0 then
    return null;
  end if;
  perform set_config('videojobs.called_queues', called || this_queue, true);
  select s.queue_wakeups into mode from videojobs.settings s;
  if mode = 'each'
    or (mode = 'coalesced' and pg_try_advisory_xact_lock(hashtextextended('videojobs calls ' || new.queue, 0)))
  then
    perform videojobs.call_services('queue', array[new.queue]);
  end if;
  return null;
end
$$;

create function videojobs.call_webhook_senders() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if exists (select from new_deliveries) then
    perform videojobs.call_services('webhooks', array[]::text[]);
  end if;
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
    referencing new table as new_jobs old table as old_jobs
    for each statement execute function videojobs.broadcast_changed_video_jobs();
  create or replace trigger video_jobs_broadcast_new after insert on public.video_jobs
    referencing new table as some_jobs
    for each statement execute function videojobs.broadcast_new_or_deleted_video_jobs();
  create or replace trigger video_jobs_broadcast_deleted after delete on public.video_jobs
    referencing old table as some_jobs
    for each statement execute function videojobs.broadcast_new_or_deleted_video_jobs();
  if not exists (
    select from pg_catalog.pg_trigger t
    where t.tgrelid = 'videojobs.tally_changes'::regclass and t.tgname = 'tally_changes_call_queue'
  ) then
    create constraint trigger tally_changes_call_queue after insert on videojobs.tally_changes
      deferrable initially deferred
      for each row when (new.entered_status = 'queued' and not new.is_archived)
      execute function videojobs.call_queue();
  end if;
  create or replace trigger webhook_deliveries_call_senders after insert on videojobs.webhook_deliveries
    referencing new table as new_deliveries
    for each statement execute function videojobs.call_webhook_senders();
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
  drop trigger if exists tally_changes_call_queue on videojobs.tally_changes;
  drop trigger if exists webhook_deliveries_call_senders on videojobs.webhook_deliveries;
  if to_regclass('realtime.messages') is not null then
    drop policy if exists videojobs_heard_by_owner_and_team on realtime.messages;
  end if;
end
$$;

revoke all on function
  videojobs.broadcast(text, text, jsonb), videojobs.broadcast_to_owner(text, uuid, uuid, jsonb),
  videojobs.call_services(text, text[]), videojobs.broadcast_video_jobs(text, jsonb),
  videojobs.broadcast_changed_video_jobs(), videojobs.broadcast_new_or_deleted_video_jobs(), videojobs.call_queue(), videojobs.call_webhook_senders(),
  videojobs.my_topics(), videojobs.enable_realtime(), videojobs.disable_realtime()
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
