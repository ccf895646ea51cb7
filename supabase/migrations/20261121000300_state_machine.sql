-- The edges of the state machine, the guard that refuses any other, and the history.

create table videojobs.transitions (
  from_status public.video_job_status not null,
  event public.video_job_event_type not null,
  to_status public.video_job_status not null,
  constraint transitions_pkey primary key (from_status, event),
  constraint transitions_lead_elsewhere check (from_status <> to_status)
);
insert into videojobs.transitions (from_status, event, to_status) values
  ('queued', 'claimed', 'processing'),
  ('queued', 'cancelled', 'cancelled'),
  ('processing', 'completed', 'completed'),
  ('processing', 'retried', 'queued'),
  ('processing', 'released', 'queued'),
  ('processing', 'rescued', 'queued'),
  ('processing', 'failed', 'failed'),
  ('processing', 'lost', 'failed'),
  ('processing', 'cancelled', 'cancelled'),
  ('failed', 'requeued', 'queued'),
  ('cancelled', 'requeued', 'queued');
comment on table videojobs.transitions is 'Every way in which a job may change its status.';
revoke all on videojobs.transitions from public, anon, authenticated, service_role;
grant select on videojobs.transitions to service_role;

create function videojobs.guard_video_job() returns trigger
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
  return new;
end
$$;
create trigger video_jobs_guard before update on public.video_jobs
  for each row execute function videojobs.guard_video_job();

-- An early run_at goes first in its priority: users may wait, but not date themselves back.
create function videojobs.forbid_past_run_at() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if not videojobs.is_service() then
    new.run_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger video_jobs_forbid_past_run_at before insert or update of run_at on public.video_jobs
  for each row when (new.status = 'queued' and new.run_at < clock_timestamp() - interval '1 minute')
  execute function videojobs.forbid_past_run_at();

-- Definer, since those who insert jobs have no right to write history. One event for each new row,
-- one wake-up for each queue: a notification for each row would cap the commits of a busy database.
create function videojobs.record_created_video_jobs() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  actor uuid := auth.uid();  -- once, not for each row
begin
  insert into public.video_job_events (job_id, type, at, actor_id)
  select j.id, 'created', j.created_at, actor
  from new_jobs j;

  perform pg_notify('videojobs_queue', ready.queue)
  from (select distinct j.queue from new_jobs j where j.status = 'queued') ready;
  return null;
end
$$;
create trigger video_jobs_record_created after insert on public.video_jobs
  referencing new table as new_jobs
  for each statement execute function videojobs.record_created_video_jobs();

-- Wakes those who watch a job. The payload is the job's id and nothing that a stranger could use.
create function videojobs.announce_video_job_events() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform pg_notify('videojobs_changes', changed.job_id::text)
  from (select distinct e.job_id from new_events e where e.type <> 'created') changed;
  return null;
end
$$;
create trigger video_job_events_announce after insert on public.video_job_events
  referencing new table as new_events
  for each statement execute function videojobs.announce_video_job_events();

revoke all on function videojobs.forbid_past_run_at() from public, anon, authenticated, service_role;
revoke all on function videojobs.guard_video_job() from public, anon, authenticated, service_role;
revoke all on function videojobs.record_created_video_jobs() from public, anon, authenticated, service_role;
revoke all on function videojobs.announce_video_job_events() from public, anon, authenticated, service_role;
