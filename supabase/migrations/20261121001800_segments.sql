-- One film, several workers: a job may be split into jobs for its segments. It waits in the queue
-- until they are done, holds no lease meanwhile, and is then claimed again to join them.

alter table public.video_jobs add column parent_job_id uuid;
comment on column public.video_jobs.parent_job_id is
  'The job that this one is a segment of. Lists leave segments out unless they are asked for.';
-- The segments of a job, and whether all of them are done; each is there once.
create unique index video_jobs_of_parent on public.video_jobs (parent_job_id, (settings ->> 'only_segment'))
  where parent_job_id is not null;

-- Jobs for these segments of a running job, which goes back to the queue until they are done. Segments
-- that were made stay as they are; those that failed or were cancelled are tried again.
create function videojobs.split_job(job_id uuid, run_token bigint, segments integer[])
returns table (verdict public.video_job_verdict, job jsonb)
language plpgsql set search_path = ''
as $$
declare
  parent public.video_jobs;
begin
  select g.verdict, g.job into verdict, job
  from videojobs.give_up_lease(
    split_job.job_id, split_job.run_token, 'released', null, null,
    jsonb_build_object('segments', cardinality(split_job.segments))) g;
  if verdict = 'ok' and job ->> 'status' = 'queued' then
    parent := jsonb_populate_record(null::public.video_jobs, job);
    perform videojobs.retry_job(c.id, gen_random_uuid())
    from public.video_jobs c
    where c.parent_job_id = parent.id and c.status in ('failed', 'cancelled');
    insert into public.video_jobs (
      parent_job_id, user_id, team_id, queue, pipeline, priority, max_attempts, max_runtime_seconds,
      retry_base_seconds, retry_cap_seconds, source_url, original_filename, original_filesize, quality_preset,
      enhancement_level, platform_target, resource_type, resource_id, resource_name, resource_parent_id,
      settings)
    select
      parent.id, parent.user_id, parent.team_id, parent.queue, parent.pipeline, parent.priority, parent.max_attempts,
      parent.max_runtime_seconds, parent.retry_base_seconds, parent.retry_cap_seconds, parent.source_url,
      parent.original_filename, parent.original_filesize, parent.quality_preset, parent.enhancement_level,
      parent.platform_target, parent.resource_type, parent.resource_id, parent.resource_name, parent.resource_parent_id,
      (parent.settings - 'fan_out') || jsonb_build_object('only_segment', s.number)
    from unnest(split_job.segments) s (number)
    order by s.number
    on conflict do nothing;
    -- Its last segment wakes it. Should that get lost, it looks again by itself.
    update public.video_jobs j
    set
      run_at = case when videojobs.segments_left(parent.id) = 0 then now() else clock_timestamp() + interval '5 minutes' end,
      stage = 'segments'
    where j.id = parent.id and j.status = 'queued'
    returning to_jsonb(j) into job;
  end if;
  return next;
end
$$;

create function videojobs.segments_left(parent_id uuid) returns bigint
language sql stable set search_path = ''
as $$
  select count(*)
  from public.video_jobs c
  where c.parent_job_id = segments_left.parent_id and c.status in ('queued', 'processing')
$$;

-- The end of a segment shows in the progress of its film; the last one, or one that failed for good,
-- wakes it. The film's row is locked first: of two segments that end together, one sees the other.
create function videojobs.tell_parent() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  parent public.video_jobs;
  counts record;
begin
  select p.* into parent
  from public.video_jobs p
  where p.id = new.parent_job_id and p.status::text = 'queued' and p.stage = 'segments'
  for no key update;
  if not found then
    return null;
  end if;
  select
    count(*) as whole, count(*) filter (where c.status = 'completed') as made,
    count(*) filter (where c.status in ('queued', 'processing')) as missing
  into counts
  from public.video_jobs c
  where c.parent_job_id = parent.id;
  update public.video_jobs p
  set
    progress = greatest(p.progress, 95 * counts.made / greatest(counts.whole, 1)),
    progress_detail = jsonb_build_object('segments', counts.made, 'of', counts.whole),
    -- Of the transaction's start: a claim in the same one finds it due.
    run_at = case when counts.missing = 0 or new.status <> 'completed' then now() else p.run_at end
  where p.id = parent.id;
  if counts.missing = 0 or new.status <> 'completed' then
    perform pg_notify('videojobs_queue', parent.queue)
    where (select s.queue_wakeups from videojobs.settings s) <> 'off';
  end if;
  return null;
end
$$;
create trigger video_jobs_tell_parent after update of status on public.video_jobs
  for each row when (new.parent_job_id is not null and new.status in ('completed', 'failed', 'cancelled'))
  execute function videojobs.tell_parent();

-- A film that ends takes its segments with it: finished ones are deleted, the others are stopped first.
create function videojobs.end_segments() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform videojobs.cancel_job(c.id, 'its film has ended')
  from public.video_jobs c
  where c.parent_job_id = new.id and c.status in ('queued', 'processing');
  -- Should it be tried again, what was made is used, and what failed is made anew.
  delete from public.video_jobs c
  where c.parent_job_id = new.id
    and (c.status in ('failed', 'cancelled') or (c.status = 'completed' and new.status = 'completed'));
  return null;
end
$$;
create trigger video_jobs_end_segments after update of status on public.video_jobs
  for each row when (
    new.status in ('completed', 'failed', 'cancelled') and old.status <> new.status
    and new.parent_job_id is null and new.settings @> '{"fan_out": true}')
  execute function videojobs.end_segments();

create function videojobs.delete_segments() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  -- Or each deletion, even of nothing, would call for the next.
  if exists (select from old_jobs o where o.parent_job_id is null) then
    delete from public.video_jobs c
    using old_jobs o
    where c.parent_job_id = o.id and c.status in ('completed', 'failed', 'cancelled');
  end if;
  return null;
end
$$;
create trigger video_jobs_delete_segments after delete on public.video_jobs
  referencing old table as old_jobs
  for each statement execute function videojobs.delete_segments();

revoke all on function
  videojobs.split_job(uuid, bigint, integer[]), videojobs.segments_left(uuid),
  videojobs.tell_parent(), videojobs.end_segments(), videojobs.delete_segments()
from public, anon, authenticated, service_role;
grant execute on function videojobs.split_job(uuid, bigint, integer[]), videojobs.segments_left(uuid) to service_role;

-- The last word of this version's migrations: whoever reads 2 has all of them.
create or replace function videojobs.schema_version() returns integer
language sql immutable set search_path = ''
as $$ select 2 $$;
