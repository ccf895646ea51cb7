-- What is stored: jobs, their history, the leases of running ones, and the few settings.
-- The schema "videojobs" is not exposed by PostgREST; it holds what no client may touch.

create schema videojobs;
comment on schema videojobs is 'Internals of the video job system. Not for the API: do not expose it.';
revoke all on schema videojobs from public;
grant usage on schema videojobs to authenticated, service_role;

create type public.video_job_status as enum (
  'queued',      -- waits for a worker, or for its run_at
  'processing',  -- a worker holds its lease
  'completed',   -- final: the outputs were made and checked
  'failed',      -- final: a permanent error, or no attempts left
  'cancelled'    -- final: somebody stopped it
);
create type public.video_job_quality_preset as enum ('draft', 'standard', 'pro');
create type public.video_job_enhancement_level as enum ('none', 'basic', 'advanced');
create type public.video_job_platform_target as enum ('tiktok', 'instagram', 'youtube_shorts');
create type public.video_job_resource_type as enum ('upload', 'film', 'episode');
create type public.video_job_event_type as enum (
  'created',
  'claimed',           -- a worker got the lease
  'completed',
  'retried',           -- the attempt failed; another will follow
  'released',          -- the worker gave it back unfinished; costs no attempt
  'rescued',           -- the worker went silent; another will take over
  'failed',
  'lost',              -- too many workers went silent on it
  'cancel_requested',  -- it is running; its worker will hear of it
  'cancelled',
  'requeued',          -- a person retried it
  'changed'            -- priority, run_at or queue were set
);
create type public.video_job_verdict as enum (
  'ok',
  'cancel_requested',  -- accepted, and: stop
  'final',             -- this attempt had settled the job before
  'lost'               -- refused: the job is not this attempt's any more
);

-- Version 7 (RFC 9562): keys that grow with time keep inserts at the right edge of the index.
-- PostgreSQL has uuidv7() from 18 on; this serves 15 to 17 too.
create function videojobs.uuid7() returns uuid
language sql volatile set search_path = ''
return encode(
  set_bit(
    set_bit(
      overlay(
        uuid_send(gen_random_uuid())
        placing substring(
          int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
        from 1 for 6),
      52, 1),
    53, 1),
  'hex')::uuid;

create table public.video_jobs (
  id uuid not null default videojobs.uuid7(),
  seq bigint not null generated always as identity,
  user_id uuid not null default auth.uid(),
  team_id uuid,
  tenant_id uuid not null generated always as (coalesce(team_id, user_id)) stored,
  queue text not null default 'default',
  pipeline text not null default 'clips',
  status public.video_job_status not null default 'queued',
  priority smallint not null default 5,
  run_at timestamptz not null default clock_timestamp(),
  attempt smallint not null default 0,
  max_attempts smallint not null default 3,
  lost_count smallint not null default 0,
  run_token bigint not null default 0,
  progress smallint not null default 0,
  progress_detail jsonb not null default '{}',
  stage text,
  original_filename text,
  original_filesize bigint,
  source_url text,
  clip_count smallint,
  quality_preset public.video_job_quality_preset not null default 'standard',
  enhancement_level public.video_job_enhancement_level not null default 'none',
  platform_target public.video_job_platform_target,
  settings jsonb not null default '{}',
  resource_type public.video_job_resource_type not null default 'upload',
  resource_id text,
  resource_name text,
  resource_parent_id text,
  output_files jsonb not null default '[]',
  error_code text,
  error_message text,
  worker_id text,
  idempotency_key text,
  cancel_requested_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  completed_at timestamptz,
  cancelled_at timestamptz,
  processing_time double precision,

  constraint video_jobs_pkey primary key (id),
  -- The length apart from the pattern: a bounded repeat makes the match four times slower.
  constraint video_jobs_queue_is_a_slug check (queue ~ '^[a-z][a-z0-9_-]*$' and length(queue) <= 63),
  constraint video_jobs_pipeline_is_a_slug check (pipeline ~ '^[a-z][a-z0-9_-]*$' and length(pipeline) <= 63),
  constraint video_jobs_priority_is_0_to_9 check (priority between 0 and 9),
  constraint video_jobs_max_attempts_is_1_to_25 check (max_attempts between 1 and 25),
  constraint video_jobs_attempt_is_within_max_attempts check (attempt between 0 and max_attempts),
  constraint video_jobs_progress_is_0_to_100 check (progress between 0 and 100),
  constraint video_jobs_original_filesize_is_not_negative check (original_filesize >= 0),
  constraint video_jobs_clip_count_is_1_to_100 check (clip_count between 1 and 100),
  constraint video_jobs_texts_are_short check (
    length(original_filename) between 1 and 255
    and length(source_url) between 1 and 2048
    and length(resource_id) between 1 and 255
    and length(resource_name) between 1 and 255
    and length(resource_parent_id) between 1 and 255
    and length(idempotency_key) between 1 and 255
  ),
  constraint video_jobs_settings_is_an_object_of_64_kb check (
    -- Most jobs have none: the first test spares them the others, at every write of the row.
    settings = '{}' or (jsonb_typeof(settings) = 'object' and octet_length(settings::text) <= 65536)
  ),
  -- Users write settings, and services read them. Python's JSON refuses numbers of 4,300 digits and lists
  -- a thousand deep: one such row would break every page and every claim that it is part of.
  constraint video_jobs_settings_have_32_levels_and_ordinary_numbers check (
    settings = '{}' or (
      not jsonb_path_exists(settings, '$.**{33}')
      and not jsonb_path_exists(settings, '$.** ? (@.type() == "number" && (@ > 1e308 || @ < -1e308))')
    )
  ),
  -- Nor can Python hold a year beyond 9999, or "infinity".
  constraint video_jobs_run_at_is_in_1970_to_9998 check (
    run_at >= '1970-01-01 00:00:00+00' and run_at < '9999-01-01 00:00:00+00'
  ),
  constraint video_jobs_progress_detail_is_an_object check (jsonb_typeof(progress_detail) = 'object'),
  constraint video_jobs_output_files_is_an_array check (jsonb_typeof(output_files) = 'array'),
  constraint video_jobs_films_and_episodes_have_an_id check (resource_type = 'upload' or resource_id is not null),
  constraint video_jobs_only_episodes_have_a_parent check (resource_type = 'episode' or resource_parent_id is null),
  -- What a status says about the other columns, so that no impossible row can be written.
  constraint video_jobs_processing_has_started check (status <> 'processing' or started_at is not null),
  constraint video_jobs_completed_at_iff_completed_or_failed check (
    (status in ('completed', 'failed')) = (completed_at is not null)
  ),
  constraint video_jobs_cancelled_at_iff_cancelled check ((status = 'cancelled') = (cancelled_at is not null)),
  constraint video_jobs_completed_is_at_100 check (status <> 'completed' or progress = 100),
  constraint video_jobs_failed_has_an_error_code check (status <> 'failed' or error_code is not null),
  constraint video_jobs_queued_has_no_cancel_request check (status <> 'queued' or cancel_requested_at is null)
);
comment on table public.video_jobs is 'One row for each video job. Read it; change it through the functions.';

-- Repeating a create with the same key finds the first job.
create unique index video_jobs_idempotency on public.video_jobs (user_id, idempotency_key)
  where idempotency_key is not null;
-- The claim: equal to its order, and without the history, so that it stays small.
create index video_jobs_ready on public.video_jobs (queue, priority desc, run_at, seq)
  where status = 'queued';
-- The running ones: those that are stuck are found without reading the history.
create index video_jobs_running on public.video_jobs (started_at)
  where status = 'processing';
-- A user's page, and the "mine" half of the row-level policy.
create index video_jobs_of_user on public.video_jobs (user_id, created_at desc, seq desc);
-- A team's page, and the "my teams'" half.
create index video_jobs_of_team on public.video_jobs (team_id, created_at desc, seq desc)
  where team_id is not null;
-- A service's page over all tenants.
create index video_jobs_by_age on public.video_jobs (created_at desc, seq desc);

-- No foreign key to jobs: history must not make writes on the hot table wait.
create table public.video_job_events (
  id bigint not null generated always as identity,
  job_id uuid not null,
  type public.video_job_event_type not null,
  at timestamptz not null default clock_timestamp(),
  run_token bigint,
  worker_id text,
  actor_id uuid,
  data jsonb not null default '{}',
  -- Serves a job's history in its order; an index on the id alone would serve nobody.
  constraint video_job_events_pkey primary key (job_id, id)
);
comment on table public.video_job_events is 'What happened to each job. Append-only.';
-- One narrow row for each running job: a job is processing if and only if it has a lease.
-- No index but the key, and room on the page: a heartbeat is then a HOT update (89 bytes of WAL
-- instead of 1,652 on the wide, indexed row), and a scan of 50,000 leases takes 7 ms.
create table videojobs.leases (
  job_id uuid not null,
  run_token bigint not null,
  worker_id text not null,
  claim_key uuid not null,
  claimed_at timestamptz not null,
  expires_at timestamptz not null,
  hard_deadline timestamptz,
  constraint leases_pkey primary key (job_id),
  constraint leases_end_after_they_begin check (expires_at > claimed_at)
) with (fillfactor = 50);

-- What an attempt saved for its successor; apart from the lease, which ends with the attempt.
create table videojobs.checkpoints (
  job_id uuid not null,
  checkpoint jsonb not null,
  saved_at timestamptz not null default clock_timestamp(),
  constraint checkpoints_pkey primary key (job_id)
);

create table videojobs.settings (
  only_row boolean not null default true,
  retry_base_seconds double precision not null default 10,
  retry_cap_seconds double precision not null default 3600,
  max_lost smallint not null default 3,
  cancel_grace_seconds double precision not null default 30,
  constraint settings_pkey primary key (only_row),
  constraint settings_is_one_row check (only_row),
  constraint settings_retry_base_is_positive check (retry_base_seconds > 0),
  constraint settings_retry_cap_is_not_below_base check (retry_cap_seconds >= retry_base_seconds),
  constraint settings_max_lost_is_positive check (max_lost > 0),
  constraint settings_cancel_grace_is_positive check (cancel_grace_seconds > 0)
);
comment on column videojobs.settings.retry_base_seconds is 'The wait after the first failure; it doubles with each.';
comment on column videojobs.settings.max_lost is 'So many workers may go silent on a job before it fails with worker_lost.';
comment on column videojobs.settings.cancel_grace_seconds is 'A worker may take so long to stop; then the job is taken from it.';
insert into videojobs.settings default values;
