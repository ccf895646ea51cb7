-- What can be set: how an attempt may be repeated and how long it may run, who may jump the queue,
-- how many jobs may run, how long history is kept, and how the database wakes those who wait.

alter type public.video_job_event_type add value 'logged';  -- a worker's note; changes nothing

-- Every UPDATE, whatever it changes, first reads all CHECKs of its table from their stored form: with
-- the long ones inside of functions, a change of status takes a third less time.
create function videojobs.are_seconds_within_a_week(
  max_runtime double precision, retry_base double precision, retry_cap double precision
) returns boolean
language plpgsql immutable parallel safe set search_path = ''
as $$
begin
  return max_runtime between 1 and 604800 and retry_base between 0 and 604800 and retry_cap between 0 and 604800;
end
$$;

create function videojobs.are_short_texts(
  original_filename text, source_url text, resource_id text, resource_name text, resource_parent_id text, idempotency_key text
) returns boolean
language plpgsql immutable parallel safe set search_path = ''
as $$
begin
  return length(original_filename) between 1 and 255
    and length(source_url) between 1 and 2048
    and length(resource_id) between 1 and 255
    and length(resource_name) between 1 and 255
    and length(resource_parent_id) between 1 and 255
    and length(idempotency_key) between 1 and 255;
end
$$;

-- Users write settings, and services read them. Python's JSON refuses numbers of 4,300 digits and lists
-- a thousand deep: one such row would break every page and every claim that it is part of.
create function videojobs.are_readable_settings(settings jsonb) returns boolean
language plpgsql immutable parallel safe set search_path = ''
as $$
begin
  return jsonb_typeof(settings) = 'object'
    and octet_length(settings::text) <= 65536
    and not jsonb_path_exists(settings, '$.**{33}')
    and not jsonb_path_exists(settings, '$.** ? (@.type() == "number" && (@ > 1e308 || @ < -1e308))');
end
$$;
revoke all on function
  videojobs.are_seconds_within_a_week(double precision, double precision, double precision),
  videojobs.are_short_texts(text, text, text, text, text, text),
  videojobs.are_readable_settings(jsonb)
from public, anon, authenticated, service_role;
grant execute on function
  videojobs.are_seconds_within_a_week(double precision, double precision, double precision),
  videojobs.are_short_texts(text, text, text, text, text, text),
  videojobs.are_readable_settings(jsonb)
to authenticated, service_role;

alter table public.video_jobs
  add column max_runtime_seconds double precision,
  add column retry_base_seconds double precision,
  add column retry_cap_seconds double precision,
  add constraint video_jobs_times_are_up_to_a_week check (
    videojobs.are_seconds_within_a_week(max_runtime_seconds, retry_base_seconds, retry_cap_seconds)),
  drop constraint video_jobs_texts_are_short,
  add constraint video_jobs_texts_are_short check (videojobs.are_short_texts(
    original_filename, source_url, resource_id, resource_name, resource_parent_id, idempotency_key)),
  drop constraint video_jobs_settings_is_an_object_of_64_kb,
  drop constraint video_jobs_settings_have_32_levels_and_ordinary_numbers,
  add constraint video_jobs_settings_are_an_object_of_64_kb_and_32_levels check (
    settings = '{}' or videojobs.are_readable_settings(settings));
comment on column public.video_jobs.max_runtime_seconds is 'One attempt may take so long; then it ends with deadline_exceeded.';
comment on column public.video_jobs.retry_base_seconds is 'The wait after the first failure, doubling with each; the setting of the database if null.';
comment on column public.video_jobs.retry_cap_seconds is 'The longest wait between two attempts; the setting of the database if null.';
grant insert (max_runtime_seconds, retry_base_seconds, retry_cap_seconds) on public.video_jobs to authenticated;

alter table videojobs.settings
  add column max_user_priority smallint not null default 5,
  add column queue_wakeups text not null default 'coalesced',
  add column announces_changes boolean not null default true,
  add column archive_completed_after_days integer,
  add column archive_failed_after_days integer,
  add column archive_cancelled_after_days integer,
  add column drop_archive_after_days integer,
  add column drop_events_after_days integer,
  add constraint settings_max_user_priority_is_5_to_9 check (max_user_priority between 5 and 9),
  add constraint settings_queue_wakeups_is_known check (queue_wakeups in ('coalesced', 'each', 'off')),
  add constraint settings_days_are_positive check (
    archive_completed_after_days > 0 and archive_failed_after_days > 0 and archive_cancelled_after_days > 0
    and drop_archive_after_days > 0 and drop_events_after_days > 0
  );
comment on column videojobs.settings.max_user_priority is
  'What signed-in users may ask for, 5 (which jobs have by default) to 9. Services may use all.';
comment on column videojobs.settings.queue_wakeups is
  'Whether a job that gets ready wakes listening workers: coalesced (one for those that commit together), each, or off.';
comment on column videojobs.settings.announces_changes is
  'Whether each change of a job wakes those who watch it. Costs a lock of the whole database at commit.';
comment on column videojobs.settings.archive_completed_after_days is 'Never if null; the same for the others.';

-- No row: no limit, and no cost.
create table videojobs.limits (
  kind text not null,
  key text not null,
  max_running integer not null,
  constraint limits_pkey primary key (kind, key),
  constraint limits_kind_is_known check (kind in ('tenant', 'queue', 'pipeline')),
  constraint limits_key_is_short check (length(key) between 1 and 63),
  constraint limits_max_running_is_not_negative check (max_running >= 0)
);
comment on table videojobs.limits is
  'How many jobs of a tenant, a queue or a pipeline may run at once. The key * is for each that has no row of its own.';

-- Queues that are not what a queue is without a row: fair.
create table videojobs.queues (
  queue text not null,
  is_fair boolean not null default true,
  constraint queues_pkey primary key (queue)
);
comment on column videojobs.queues.is_fair is
  'Fair: tenants in turn within a priority. Else strictly by priority, run_at and age.';

-- Whose turn it is: the tenant that was served last. Written by claims that found several tenants.
create table videojobs.turns (
  queue text not null,
  priority smallint not null,
  tenant_id uuid not null,
  constraint turns_pkey primary key (queue, priority)
) with (fillfactor = 50);

-- Workers that are or were there, for people and for orders to them. Claims never read it.
create table videojobs.workers (
  worker_id text not null,
  started_at timestamptz not null default clock_timestamp(),
  seen_at timestamptz not null default clock_timestamp(),
  drain_requested_at timestamptz,
  facts jsonb not null default '{}',
  constraint workers_pkey primary key (worker_id),
  constraint workers_worker_id_is_short check (length(worker_id) between 1 and 255),
  constraint workers_facts_are_an_object_of_4_kb check (
    jsonb_typeof(facts) = 'object' and octet_length(facts::text) <= 4096)
) with (fillfactor = 50);
comment on column videojobs.workers.seen_at is 'Refreshed about once a minute: presence is not worth a write with every beat.';

-- The facts that limits count by, so that they are counted on these narrow rows alone.
alter table videojobs.leases
  add column tenant_id uuid,
  add column queue text,
  add column pipeline text;
update videojobs.leases l
set tenant_id = j.tenant_id, queue = j.queue, pipeline = j.pipeline
from public.video_jobs j
where j.id = l.job_id;
-- Finds a repeated claim. Heartbeats do not change the column, so they stay HOT.
create index leases_of_claim on videojobs.leases (claim_key);

revoke all on videojobs.limits, videojobs.queues, videojobs.turns, videojobs.workers
from public, anon, authenticated, service_role;
grant select, insert, update, delete
on videojobs.limits, videojobs.queues, videojobs.turns, videojobs.workers to service_role;

-- The hot tables. A status change cannot be HOT, since the partial indexes of the queue depend on it;
-- progress can, if the page has room. Vacuum comes by the count of dead rows and does not dawdle:
-- dead entries at the head of the queue's index slow every claim (7 times within a minute, measured).
alter table public.video_jobs set (
  fillfactor = 85,
  autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
  autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 1000
);
-- Few live rows and many dead ones; a vacuum of these takes milliseconds.
alter table videojobs.leases set (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0,
  autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 500
);
alter table videojobs.turns set (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0
);
alter table videojobs.checkpoints set (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0
);

-- The queue's order, for a worker that runs certain pipelines: each probe is an exact range that ends
-- at the first job that is not due, so neither delayed jobs nor those of other pipelines slow a claim.
drop index public.video_jobs_ready;
create index video_jobs_ready on public.video_jobs (queue, priority desc, pipeline, run_at, seq)
  where status = 'queued';
-- The same with tenants in turn: the next tenant is one probe away, however many jobs each has.
create index video_jobs_ready_by_tenant on public.video_jobs (queue, priority desc, pipeline, tenant_id, run_at, seq)
  where status = 'queued';
-- A service's page over all tenants. The condition is always true, but only a query that says it can
-- use the index: where a filter has an index of its own, the planner would often walk this one instead,
-- in the hope that what it looks for is spread evenly, and read a million newer jobs on the way.
drop index public.video_jobs_by_age;
create index video_jobs_by_age on public.video_jobs (created_at desc, seq desc) where seq > 0;
-- Pages of one status over all tenants, likewise only for those who ask for no tenant; running ones are
-- few and have an index of their own.
create index video_jobs_by_status on public.video_jobs (status, created_at desc, seq desc)
  where status <> 'processing' and seq >= 0;
-- A user's page of a status, and a team's.
create index video_jobs_of_user_by_status on public.video_jobs (user_id, status, created_at desc, seq desc)
  where status <> 'processing';
create index video_jobs_of_team_by_status on public.video_jobs (team_id, status, created_at desc, seq desc)
  where team_id is not null and status <> 'processing';
-- All jobs of a film or an episode.
create index video_jobs_of_resource on public.video_jobs (resource_id, created_at desc, seq desc)
  where resource_id is not null;
