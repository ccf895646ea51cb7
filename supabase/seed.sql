-- A small working day of a video product: two people in a team, one on her own, twelve jobs.
--
-- `supabase db reset` loads it after the migrations; on a plain PostgreSQL, psql does. Loading it
-- again changes nothing. Times count back from the moment of loading, so that the pages and the
-- figures of the last days have something to show. Nobody here has a password: sign in by a link
-- from the local mailbox, or set a password in the Studio.

-- ada  administers the team, and the product: app_metadata.role is "admin"
-- ben  is a member of the team
-- cleo works alone
insert into auth.users (
  instance_id, id, aud, role, email, email_confirmed_at, raw_app_meta_data, raw_user_meta_data,
  created_at, updated_at
)
select
  '00000000-0000-0000-0000-000000000000', person.id, 'authenticated', 'authenticated', person.email,
  now() - interval '30 days', person.app_metadata, jsonb_build_object('name', person.name),
  now() - interval '30 days', now() - interval '30 days'
from (values
  (uuid '5eed0000-0000-4000-8000-00000000000a', 'Ada', 'ada@example.com',
    jsonb '{"provider": "email", "providers": ["email"], "role": "admin"}'),
  (uuid '5eed0000-0000-4000-8000-00000000000b', 'Ben', 'ben@example.com',
    jsonb '{"provider": "email", "providers": ["email"]}'),
  (uuid '5eed0000-0000-4000-8000-00000000000c', 'Cleo', 'cleo@example.com',
    jsonb '{"provider": "email", "providers": ["email"]}')
) person (id, name, email, app_metadata)
on conflict do nothing;

-- Supabase Auth cannot read NULL in these columns, which it has no defaults for. Elsewhere they do not exist.
do $$
declare
  column_name name;
begin
  for column_name in
    select a.attname
    from pg_attribute a
    where a.attrelid = 'auth.users'::regclass
      and a.attname in ('confirmation_token', 'recovery_token', 'email_change', 'email_change_token_new')
  loop
    execute format(
      $update$update auth.users set %1$I = '' where %1$I is null and id::text like '5eed0000-%%'$update$,
      column_name);
  end loop;
end
$$;

insert into public.teams (id, name, created_at) values
  ('5eed0000-0000-4000-8000-0000000000f0', 'Harbour Studio', now() - interval '29 days')
on conflict do nothing;
insert into public.team_members (team_id, user_id, role, created_at) values
  ('5eed0000-0000-4000-8000-0000000000f0', '5eed0000-0000-4000-8000-00000000000a', 'admin', now() - interval '29 days'),
  ('5eed0000-0000-4000-8000-0000000000f0', '5eed0000-0000-4000-8000-00000000000b', 'member', now() - interval '28 days')
on conflict do nothing;

-- What the jobs are, with their whole history as they stand now. The trigger adds each "created".
insert into public.video_jobs (
  id, user_id, team_id, pipeline, status, priority, run_at, attempt, run_token, progress, progress_detail, stage,
  original_filename, original_filesize, source_url, clip_count, quality_preset, enhancement_level, platform_target,
  resource_type, resource_id, resource_name, resource_parent_id, output_files, error_code, error_message, worker_id,
  cancel_requested_at, created_at, updated_at, started_at, completed_at, cancelled_at, processing_time
)
select
  job.id,
  owner.id,
  case when job.in_team then uuid '5eed0000-0000-4000-8000-0000000000f0' end,
  job.pipeline,
  job.status::public.video_job_status,
  job.priority,
  times.created_at + job.delay,
  job.attempt,
  job.attempt,
  job.progress,
  case when job.status = 'processing' then jsonb '{"1080p": 71, "720p": 38, "480p": 20}' else '{}' end,
  case when job.status = 'processing' then 'encode' end,
  job.original_filename,
  job.megabytes * 1000000::bigint,
  'uploads/' || job.original_filename,
  job.clip_count,
  job.quality_preset::public.video_job_quality_preset,
  job.enhancement_level::public.video_job_enhancement_level,
  job.platform_target::public.video_job_platform_target,
  job.resource_type::public.video_job_resource_type,
  job.resource_id,
  job.resource_name,
  job.resource_parent_id,
  case
    when job.status <> 'completed' then '[]'
    when job.pipeline = 'clips' then (
      select jsonb_agg(jsonb_build_object(
        'path', format('%s/1/clip_%s.mp4', job.id, lpad(clip.number::text, 2, '0')),
        'kind', 'video', 'name', 'clip_' || lpad(clip.number::text, 2, '0'),
        'width', 1080, 'height', 1920, 'duration_seconds', 30) order by clip.number)
      from generate_series(1, job.clip_count) clip (number))
    else (
      select jsonb_agg(jsonb_build_object(
        'path', format('%s/1/%sp.mp4', job.id, rendition.height), 'kind', 'video', 'name', rendition.height || 'p',
        'width', rendition.width, 'height', rendition.height) order by rendition.height desc)
      from (values (1920, 1080), (1280, 720), (854, 480)) rendition (width, height))
  end,
  job.error_code,
  job.error_message,
  case when job.attempt > 0 then 'seed-worker-1' end,
  null,
  times.created_at,
  coalesce(times.ended_at, times.started_at, times.created_at),
  times.started_at,
  case when job.status in ('completed', 'failed') then times.ended_at end,
  case when job.status = 'cancelled' then times.ended_at end,
  case when times.started_at is not null then extract(epoch from times.ended_at - times.started_at) end
from (values
  -- id, owner, in_team, pipeline, status, priority, age, delay, seconds_of_work, attempt, progress,
  -- original_filename, megabytes, clip_count, quality_preset, enhancement_level, platform_target,
  -- resource_type, resource_id, resource_name, resource_parent_id, error_code, error_message
  (uuid '5eed0000-0000-4000-8000-000000000001', 'ada@example.com', true, 'clips', 'completed', 5,
    interval '6 days 4 hours', interval '0', 312.4, 1, 100,
    'harbour_at_dawn.mp4', 840, 3, 'standard', 'basic', 'tiktok',
    'upload', null, null, null, null, null),
  (uuid '5eed0000-0000-4000-8000-000000000002', 'ben@example.com', true, 'clips', 'completed', 5,
    interval '5 days 2 hours', interval '0', 148.9, 1, 100,
    'interview_pilot.mov', 1260, 2, 'pro', 'advanced', 'instagram',
    'upload', null, null, null, null, null),
  (uuid '5eed0000-0000-4000-8000-000000000003', 'cleo@example.com', false, 'clips', 'completed', 5,
    interval '4 days 7 hours', interval '0', 95.2, 1, 100,
    'knitting_hour_12.mp4', 410, 5, 'draft', 'none', 'youtube_shorts',
    'upload', null, null, null, null, null),
  (uuid '5eed0000-0000-4000-8000-000000000004', 'ada@example.com', true, 'renditions', 'completed', 7,
    interval '3 days 9 hours', interval '0', 2714.0, 1, 100,
    'the_lighthouse_keeper.mkv', 9400, null, 'pro', 'none', null,
    'film', 'film-lighthouse-keeper', 'The Lighthouse Keeper', null, null, null),
  (uuid '5eed0000-0000-4000-8000-000000000005', 'ada@example.com', true, 'renditions', 'completed', 5,
    interval '2 days 6 hours', interval '0', 1103.7, 1, 100,
    'tides_s01e01.mp4', 3100, null, 'standard', 'none', null,
    'episode', 'tides-s01e01', 'Tides, episode 1: Ebb', 'tides-s01', null, null),
  (uuid '5eed0000-0000-4000-8000-000000000006', 'cleo@example.com', false, 'clips', 'failed', 5,
    interval '2 days 1 hour', interval '0', 6.3, 1, 0,
    'phone_2287.mp4', 35, 3, 'standard', 'basic', 'tiktok',
    'upload', null, null, null, 'corrupt_source', 'the file ends in the middle: upload it again'),
  (uuid '5eed0000-0000-4000-8000-000000000007', 'ben@example.com', true, 'clips', 'failed', 5,
    interval '1 day 5 hours', interval '0', 201.0, 3, 40,
    'regatta_drone.mp4', 5200, 4, 'pro', 'advanced', 'youtube_shorts',
    'upload', null, null, null, 'disk_full', 'the worker had no room left for the outputs'),
  (uuid '5eed0000-0000-4000-8000-000000000008', 'cleo@example.com', false, 'clips', 'cancelled', 3,
    interval '1 day 2 hours', interval '0', null, 0, 0,
    'knitting_hour_13.mp4', 395, 8, 'standard', 'none', 'instagram',
    'upload', null, null, null, null, null),
  (uuid '5eed0000-0000-4000-8000-000000000009', 'ada@example.com', true, 'renditions', 'processing', 7,
    interval '9 minutes', interval '0', null, 1, 43,
    'tides_s01e02.mp4', 3300, null, 'standard', 'none', null,
    'episode', 'tides-s01e02', 'Tides, episode 2: Flood', 'tides-s01', null, null),
  (uuid '5eed0000-0000-4000-8000-000000000010', 'ben@example.com', true, 'clips', 'queued', 8,
    interval '4 minutes', interval '0', null, 0, 0,
    'market_square.mp4', 620, 3, 'standard', 'basic', 'instagram',
    'upload', null, null, null, null, null),
  (uuid '5eed0000-0000-4000-8000-000000000011', 'cleo@example.com', false, 'clips', 'queued', 5,
    interval '3 minutes', interval '0', null, 0, 0,
    'knitting_hour_14.mp4', 402, 5, 'draft', 'none', 'youtube_shorts',
    'upload', null, null, null, null, null),
  (uuid '5eed0000-0000-4000-8000-000000000012', 'ben@example.com', false, 'clips', 'queued', 2,
    interval '2 minutes', interval '12 hours', null, 0, 0,
    'holiday_2026.mov', 2900, 10, 'draft', 'basic', 'tiktok',
    'upload', null, null, null, null, null)
) job (
  id, email, in_team, pipeline, status, priority, age, delay, seconds_of_work, attempt, progress,
  original_filename, megabytes, clip_count, quality_preset, enhancement_level, platform_target,
  resource_type, resource_id, resource_name, resource_parent_id, error_code, error_message
)
join (values
  ('ada@example.com', uuid '5eed0000-0000-4000-8000-00000000000a'),
  ('ben@example.com', uuid '5eed0000-0000-4000-8000-00000000000b'),
  ('cleo@example.com', uuid '5eed0000-0000-4000-8000-00000000000c')
) owner (email, id) on owner.email = job.email
cross join lateral (
  select
    now() - job.age as created_at,
    -- The latest attempt; each began twenty minutes after the one before.
    case when job.attempt > 0 then now() - job.age + interval '20 seconds' + (job.attempt - 1) * interval '20 minutes' end
      as started_at
) begun
cross join lateral (
  select
    begun.*,
    case
      when job.status in ('completed', 'failed') then begun.started_at + make_interval(secs => job.seconds_of_work)
      when job.status = 'cancelled' then begun.created_at + interval '6 minutes'
    end as ended_at
) times
on conflict do nothing;

-- The running job's lease ends ten minutes from now: its worker does not exist, so that recovery
-- will then give the job to a real one.
insert into videojobs.leases (job_id, run_token, worker_id, claim_key, claimed_at, expires_at)
select
  j.id, j.run_token, j.worker_id, '5eed0000-0000-4000-8000-0000000000c9', j.started_at, now() + interval '10 minutes'
from public.video_jobs j
where j.id = '5eed0000-0000-4000-8000-000000000009' and j.status = 'processing'
on conflict do nothing;

-- What happened after each "created". Only where nothing else is told yet: on the first loading.
insert into public.video_job_events (job_id, type, at, run_token, worker_id, actor_id, data)
select told.job_id, told.type::public.video_job_event_type, told.at, told.run_token, told.worker_id, told.actor_id, told.data
from (
  -- Failed attempts before the last one, each with its claim: only the drone film's.
  select
    j.id as job_id, step.type, j.started_at - step.before as at, step.token as run_token, j.worker_id,
    null::uuid as actor_id, step.data
  from public.video_jobs j
  cross join (values
    ('claimed', interval '40 minutes', 1, jsonb '{"attempt": 1}'),
    ('retried', interval '37 minutes', 1, jsonb '{"error_code": "disk_full", "error_message": "the worker had no room left for the outputs"}'),
    ('claimed', interval '20 minutes', 2, jsonb '{"attempt": 2}'),
    ('retried', interval '17 minutes', 2, jsonb '{"error_code": "disk_full", "error_message": "the worker had no room left for the outputs"}')
  ) step (type, before, token, data)
  where j.id = '5eed0000-0000-4000-8000-000000000007'
  union all
  select j.id, 'claimed', j.started_at, j.run_token, j.worker_id, null, jsonb_build_object('attempt', j.attempt)
  from public.video_jobs j
  where j.started_at is not null
  union all
  select
    j.id, j.status::text, coalesce(j.completed_at, j.cancelled_at), j.run_token, j.worker_id,
    case j.status when 'cancelled' then j.user_id end,
    jsonb_strip_nulls(jsonb_build_object(
      'outputs', case j.status when 'completed' then jsonb_array_length(j.output_files) end,
      'processing_seconds', case j.status when 'completed' then j.processing_time end,
      'error_code', j.error_code, 'error_message', j.error_message,
      'reason', case j.status when 'cancelled' then 'wrong file' end))
  from public.video_jobs j
  where j.status in ('completed', 'failed', 'cancelled')
) told
where told.job_id::text like '5eed0000-%'
  and not exists (
    select from public.video_job_events e where e.job_id = told.job_id and e.type <> 'created'
  )
order by told.job_id, told.at;
