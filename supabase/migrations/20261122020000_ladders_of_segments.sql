-- A film per title: what its samples found lies in its checkpoint, and goes to the jobs of its segments,
-- so that all of them make the same ladder and none samples again.
create or replace function videojobs.split_job(job_id uuid, run_token bigint, segments integer[])
returns table (verdict public.video_job_verdict, job jsonb)
language plpgsql set search_path = ''
as $$
declare
  parent public.video_jobs;
  rung_kbps jsonb;
begin
  select g.verdict, g.job into verdict, job
  from videojobs.give_up_lease(
    split_job.job_id, split_job.run_token, 'released', null, null,
    jsonb_build_object('segments', cardinality(split_job.segments))) g;
  if verdict = 'ok' and job ->> 'status' = 'queued' then
    parent := jsonb_populate_record(null::public.video_jobs, job);
    select c.checkpoint #> '{complexity,kbps}' into rung_kbps
    from videojobs.checkpoints c
    where c.job_id = parent.id and jsonb_typeof(c.checkpoint #> '{complexity,kbps}') = 'object';
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
      (parent.settings - 'fan_out')
      || jsonb_strip_nulls(jsonb_build_object('only_segment', s.number, 'rung_kbps', rung_kbps))
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
