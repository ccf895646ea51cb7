-- What owners, teams and services do with jobs. The functions in public run as their caller, under
-- its row-level policies; what must write goes through a definer function that checks the right.
-- Every function answers with a set of rows: PostgREST turns a NULL row into an object of nulls.
-- Refusals have SQLSTATEs of their own (VJ001 ...), never 40001: PostgREST repeats that for ever.

create function public.get_video_job(job_id uuid) returns setof public.video_jobs
language sql stable set search_path = ''
as $$ select j.* from public.video_jobs j where j.id = get_video_job.job_id $$;

create function public.list_video_job_events(
  job_id uuid, after_id bigint default 0, row_limit integer default 500
) returns setof public.video_job_events
language sql stable set search_path = ''
as $$
  select e.*
  from public.video_job_events e
  where e.job_id = list_video_job_events.job_id and e.id > list_video_job_events.after_id
  order by e.id
  limit list_video_job_events.row_limit
$$;

-- The filter as a condition on "j", with every value as a literal: the planner then sees partial
-- indexes and the shares of values, which it cannot behind parameters. Each value is read as its
-- type here, so that a bad one is refused as the filter's and not as a fault of the query.
create function videojobs.condition(filter jsonb) returns text
language plpgsql stable set search_path = ''
as $$
declare
  parts text[] := array[]::text[];
  field record;
  pattern text;
begin
  for field in select f.key, f.value, f.value #>> '{}' as text from jsonb_each(coalesce(filter, '{}')) f loop
    case
      when field.key in ('user_id', 'team_id') then
        parts := parts || format('j.%I = %L::uuid', field.key, field.text::uuid);
      when field.key = 'status' then
        parts := parts || coalesce(
          'j.status in (' || (
            select string_agg(format('%L::public.video_job_status', s.status::public.video_job_status), ', ')
            from jsonb_array_elements_text(
              case jsonb_typeof(field.value) when 'array' then field.value else jsonb_build_array(field.value) end
            ) s (status)
          ) || ')',
          'false');
      when field.key = 'platform_target' then
        parts := parts || format('j.platform_target = %L::public.video_job_platform_target', field.text::public.video_job_platform_target);
      when field.key = 'quality_preset' then
        parts := parts || format('j.quality_preset = %L::public.video_job_quality_preset', field.text::public.video_job_quality_preset);
      when field.key = 'resource_type' then
        parts := parts || format('j.resource_type = %L::public.video_job_resource_type', field.text::public.video_job_resource_type);
      when field.key in (
        'pipeline', 'queue', 'resource_id', 'resource_parent_id', 'worker_id', 'error_code'
      ) then
        parts := parts || format('j.%I = %L', field.key, field.text);
      when field.key = 'search' then
        pattern := '%' || regexp_replace(field.text, '([\\%_])', '\\\1', 'g') || '%';
        parts := parts || format(
          '(j.original_filename ilike %L or j.resource_name ilike %L)', pattern, pattern);
      when field.key = 'created_from' then
        perform field.text::timestamptz;
        parts := parts || format('j.created_at >= %L::timestamptz', field.text);
      when field.key = 'created_before' then
        perform field.text::timestamptz;
        parts := parts || format('j.created_at < %L::timestamptz', field.text);
      else
        raise exception using
          errcode = 'VJ004',
          message = format('filter: %s is not a field that jobs can be filtered by', field.key);
    end case;
  end loop;
  return coalesce(nullif(array_to_string(parts, ' and '), ''), 'true');
exception
  when data_exception then
    raise exception using errcode = 'VJ004', message = format('filter: %s', sqlerrm);
end
$$;

create function public.list_video_jobs(
  filter jsonb default '{}',
  row_limit integer default 50,
  row_offset integer default 0,
  before_created_at timestamptz default null,
  before_seq bigint default null
) returns setof public.video_jobs
language plpgsql stable set search_path = ''
as $$
declare
  condition text := videojobs.condition(filter);
begin
  if before_created_at is not null then
    condition := condition || format(
      ' and (j.created_at, j.seq) < (%L::timestamptz, %L::bigint)', before_created_at, before_seq);
  end if;
  return query execute format(
    'select j.* from public.video_jobs j where %s order by j.created_at desc, j.seq desc limit $1 offset $2',
    condition
  ) using row_limit, row_offset;
end
$$;

-- Refuses jobs for somebody else, and for teams that their owner is not in.
create function videojobs.check_owners(jobs jsonb) returns void
language plpgsql stable security definer set search_path = ''
as $$
declare
  caller uuid := auth.uid();
  is_service boolean := videojobs.is_service();
  wish record;
begin
  -- The common bulk of a service: somebody is named for each job, and no team.
  if is_service and not jobs @? '$[*] ? (!exists(@.user_id) || exists(@.team_id))' then
    return;
  end if;
  for wish in
    select distinct j.user_id, j.team_id
    from jsonb_to_recordset(jobs) j (user_id uuid, team_id uuid)
  loop
    if wish.user_id is null and caller is null then
      raise exception using
        errcode = 'VJ004', message = 'user_id: a service caller must say whose job it is';
    end if;
    if not is_service and wish.user_id is distinct from caller and wish.user_id is not null then
      raise exception using
        errcode = 'VJ005',
        message = format('user_id %s is not yours: a signed-in user creates jobs for themselves', wish.user_id);
    end if;
    if wish.team_id is not null and not exists (
      select from videojobs.memberships(coalesce(wish.user_id, caller)) m where m.team_id = wish.team_id
    ) then
      raise exception using
        errcode = 'VJ005',
        message = format('team_id %s is not a team of user %s', wish.team_id, coalesce(wish.user_id, caller)),
        hint = 'add the user to the team, or leave team_id out';
    end if;
  end loop;
end
$$;

-- The job that a wish's id or idempotency key names. Refuses it when its content is another one.
create function videojobs.job_of_wish(wish public.video_jobs) returns public.video_jobs
language plpgsql stable set search_path = ''
as $$
declare
  job public.video_jobs;
  differing text;
begin
  select j.* into job
  from public.video_jobs j
  where j.id = wish.id
    or (j.user_id = coalesce(wish.user_id, auth.uid()) and j.idempotency_key = wish.idempotency_key)
  order by j.id = wish.id desc
  limit 1;
  if not found then
    raise exception using
      errcode = 'VJ003', message = format('the id %s is taken by a job that you cannot see', wish.id);
  end if;

  -- What the work is must be the same; when it runs may have been changed since.
  select string_agg(field.name, ', ' order by field.name) into differing
  from unnest(array[
    'team_id', 'pipeline', 'original_filename', 'original_filesize', 'source_url', 'clip_count',
    'quality_preset', 'enhancement_level', 'platform_target', 'settings', 'resource_type',
    'resource_id', 'resource_name', 'resource_parent_id'
  ]) field (name)
  where to_jsonb(job) -> field.name is distinct from to_jsonb(wish) -> field.name;
  if differing is not null then
    raise exception using
      errcode = 'VJ003',
      message = format(
        'the idempotency key %L already names job %s, which differs in: %s',
        wish.idempotency_key, job.id, differing),
      hint = 'use another key for other content';
  end if;
  return job;
end
$$;

-- Creates each job, or finds the one that its id or idempotency key names already, and answers in
-- the order of the wishes. The id comes from the client, so that a call whose reply was lost can be
-- repeated without a second job.
create function public.create_video_jobs(jobs jsonb) returns setof public.video_jobs
language plpgsql set search_path = ''
as $$
declare
  made integer;
begin
  perform videojobs.check_owners(jobs);

  insert into public.video_jobs (
    id, user_id, team_id, queue, pipeline, priority, run_at, max_attempts, original_filename,
    original_filesize, source_url, clip_count, quality_preset, enhancement_level, platform_target,
    settings, resource_type, resource_id, resource_name, resource_parent_id, idempotency_key
  )
  select
    w.id, coalesce(w.user_id, auth.uid()), w.team_id, w.queue, w.pipeline, w.priority,
    coalesce(w.run_at, clock_timestamp()), w.max_attempts, w.original_filename, w.original_filesize,
    w.source_url, w.clip_count, w.quality_preset, w.enhancement_level, w.platform_target, w.settings,
    w.resource_type, w.resource_id, w.resource_name, w.resource_parent_id, w.idempotency_key
  from jsonb_populate_recordset(null::public.video_jobs, jobs) w
  on conflict do nothing;
  get diagnostics made = row_count;

  -- New statements, hence new snapshots: they see what a concurrent caller has just committed.
  if made = jsonb_array_length(jobs) then
    return query
    select j.*
    from rows from (jsonb_to_recordset(jobs) as (id uuid)) with ordinality w (id, position)
    join public.video_jobs j on j.id = w.id
    order by w.position;
  else
    return query
    select job.*
    from jsonb_array_elements(jobs) with ordinality wish (content, position)
    cross join lateral jsonb_populate_record(null::public.video_jobs, wish.content) w
    cross join lateral videojobs.job_of_wish(w) job
    order by wish.position;
  end if;
end
$$;

-- Why nothing was changed: no such job, not the caller's to change, or the job itself for the
-- caller of this function to judge.
create function videojobs.job_to_change(job_id uuid) returns public.video_jobs
language plpgsql stable set search_path = ''
as $$
declare
  job public.video_jobs;
begin
  select j.* into job from public.video_jobs j where j.id = job_to_change.job_id;
  if not found or not videojobs.may_see(job.user_id, job.team_id) then
    raise exception using
      errcode = 'VJ001', message = format('there is no job %s, or it is not yours', job_to_change.job_id);
  end if;
  if not videojobs.may_change(job.user_id, job.team_id) then
    raise exception using
      errcode = 'VJ005',
      message = format('job %s is your team''s: only its owner and the team''s admins may change it', job.id);
  end if;
  return job;
end
$$;

create function videojobs.refuse_transition(job public.video_jobs, wish text, hint text) returns void
language plpgsql immutable set search_path = ''
as $$
begin
  raise exception using
    errcode = 'VJ002',
    message = format('job %s is %s and cannot be %s', job.id, job.status, wish),
    hint = refuse_transition.hint;
end
$$;

-- Queued: cancelled at once. Running: its worker hears of it with the next heartbeat.
-- Cancelled or asked to stop before: nothing changes, so that repeating is harmless.
create function videojobs.cancel_job(job_id uuid, reason text) returns setof public.video_jobs
language plpgsql security definer set search_path = ''
as $$
declare
  job public.video_jobs;
begin
  return query
  with changed as (
    update public.video_jobs j
    set
      status = case j.status when 'queued' then 'cancelled' else j.status end,
      cancelled_at = case j.status when 'queued' then clock_timestamp() end,
      cancel_requested_at = case j.status when 'processing' then clock_timestamp() end
    where j.id = cancel_job.job_id
      and (j.status = 'queued' or (j.status = 'processing' and j.cancel_requested_at is null))
      and videojobs.may_change(j.user_id, j.team_id)
    returning j.*
  ), told as (
    insert into public.video_job_events (job_id, type, run_token, actor_id, data)
    select
      c.id,
      case c.status when 'cancelled' then 'cancelled' else 'cancel_requested' end::public.video_job_event_type,
      c.run_token, auth.uid(), jsonb_strip_nulls(jsonb_build_object('reason', left(reason, 255)))
    from changed c
  )
  select c.* from changed c;
  if found then
    return;
  end if;

  job := videojobs.job_to_change(cancel_job.job_id);
  if job.status in ('completed', 'failed') then
    perform videojobs.refuse_transition(job, 'cancelled', 'only queued and running jobs can be');
  end if;
  return next job;
end
$$;

-- Back to the queue with all its attempts; the old result stays in the events. The key makes a
-- repeat of the same wish harmless.
create function videojobs.retry_job(job_id uuid, retry_key uuid) returns setof public.video_jobs
language plpgsql security definer set search_path = ''
as $$
declare
  job public.video_jobs;
begin
  return query
  with old as materialized (
    select j.*
    from public.video_jobs j
    where j.id = retry_job.job_id
      and j.status in ('failed', 'cancelled')
      and videojobs.may_change(j.user_id, j.team_id)
    for no key update
  ), changed as (
    update public.video_jobs j
    set
      status = 'queued', run_at = clock_timestamp(), attempt = 0, lost_count = 0,
      run_token = j.run_token + 1, progress = 0, progress_detail = '{}', stage = null,
      output_files = '[]', error_code = null, error_message = null, cancel_requested_at = null,
      completed_at = null, cancelled_at = null, processing_time = null
    from old
    where j.id = old.id and j.status in ('failed', 'cancelled')
    returning j.*
  ), told as (
    insert into public.video_job_events (job_id, type, run_token, actor_id, data)
    select
      old.id, 'requeued', old.run_token + 1, auth.uid(),
      jsonb_strip_nulls(jsonb_build_object(
        'retry_key', retry_job.retry_key, 'status', old.status, 'attempt', old.attempt,
        'error_code', old.error_code, 'error_message', old.error_message, 'worker_id', old.worker_id,
        'processing_time', old.processing_time))
    from old
  )
  select c.* from changed c;
  if found then
    perform pg_notify('videojobs_queue', j.queue) from public.video_jobs j where j.id = retry_job.job_id;
    return;
  end if;

  job := videojobs.job_to_change(retry_job.job_id);
  if not exists (
    select
    from public.video_job_events e
    where e.job_id = job.id and e.type = 'requeued' and e.data ->> 'retry_key' = retry_job.retry_key::text
  ) then
    perform videojobs.refuse_transition(job, 'retried', 'only failed and cancelled jobs can be');
  end if;
  return next job;
end
$$;

-- Final jobs only, with their history. Answers with the ids that are gone. Locks in the order of
-- ids, as bulk updates do, so that the two cannot lock each other out.
create function videojobs.delete_jobs(job_ids uuid[]) returns setof uuid
language sql volatile security definer set search_path = ''
as $$
  with chosen as materialized (
    select j.id
    from public.video_jobs j
    where j.id = any (delete_jobs.job_ids)
      and j.status in ('completed', 'failed', 'cancelled')
      and videojobs.may_change(j.user_id, j.team_id)
    order by j.id
    for update
  ), gone as (
    delete from public.video_jobs j
    using chosen
    where j.id = chosen.id
    returning j.id
  ), events_gone as (
    delete from public.video_job_events e using gone where e.job_id = gone.id
  ), checkpoints_gone as (
    delete from videojobs.checkpoints c using gone where c.job_id = gone.id
  )
  select gone.id from gone
$$;

create function videojobs.delete_job(job_id uuid) returns setof uuid
language plpgsql security definer set search_path = ''
as $$
begin
  return query select d.id from videojobs.delete_jobs(array[delete_job.job_id]) d (id);
  if not found then
    perform videojobs.refuse_transition(
      videojobs.job_to_change(delete_job.job_id), 'deleted', 'cancel it first, or wait until it is final');
  end if;
end
$$;

create function public.cancel_video_job(job_id uuid, reason text default null) returns setof public.video_jobs
language sql volatile set search_path = ''
as $$ select c.* from videojobs.cancel_job(cancel_video_job.job_id, cancel_video_job.reason) c $$;

create function public.retry_video_job(job_id uuid, retry_key uuid default gen_random_uuid())
returns setof public.video_jobs
language sql volatile set search_path = ''
as $$ select r.* from videojobs.retry_job(retry_video_job.job_id, retry_video_job.retry_key) r $$;

create function public.delete_video_job(job_id uuid) returns table (deleted_id uuid)
language sql volatile set search_path = ''
as $$ select d.id from videojobs.delete_job(delete_video_job.job_id) d (id) $$;

-- Deletes up to row_limit final jobs that the caller sees through its policies and may change.
-- Oldest first.
create function public.clear_video_jobs(
  filter jsonb default '{}',
  finished_before timestamptz default null,
  older_than_seconds double precision default null,
  row_limit integer default 500
) returns table (deleted_id uuid)
language plpgsql set search_path = ''
as $$
declare
  condition text := videojobs.condition(filter);
  chosen uuid[];
begin
  finished_before := least(finished_before, clock_timestamp() - make_interval(secs => older_than_seconds));
  if finished_before is not null then
    condition := condition || format(' and coalesce(j.completed_at, j.cancelled_at) < %L::timestamptz', finished_before);
  end if;
  execute format(
    $query$
      select array(
        select j.id from public.video_jobs j
        where j.status in ('completed', 'failed', 'cancelled') and videojobs.may_change(j.user_id, j.team_id) and %s
        order by j.created_at, j.seq limit $1
      )
    $query$,
    condition
  ) into chosen using row_limit;
  return query select d.id from videojobs.delete_jobs(chosen) d (id);
end
$$;

revoke all on all functions in schema videojobs from public;
grant execute on function
  videojobs.condition(jsonb),
  videojobs.check_owners(jsonb),
  videojobs.job_of_wish(public.video_jobs),
  videojobs.cancel_job(uuid, text),
  videojobs.retry_job(uuid, uuid),
  videojobs.delete_jobs(uuid[]),
  videojobs.delete_job(uuid)
to authenticated, service_role;

revoke all on function
  public.get_video_job(uuid),
  public.list_video_job_events(uuid, bigint, integer),
  public.list_video_jobs(jsonb, integer, integer, timestamptz, bigint),
  public.create_video_jobs(jsonb),
  public.cancel_video_job(uuid, text),
  public.retry_video_job(uuid, uuid),
  public.delete_video_job(uuid),
  public.clear_video_jobs(jsonb, timestamptz, double precision, integer)
from public, anon, authenticated, service_role;
grant execute on function
  public.get_video_job(uuid),
  public.list_video_job_events(uuid, bigint, integer),
  public.list_video_jobs(jsonb, integer, integer, timestamptz, bigint),
  public.create_video_jobs(jsonb),
  public.cancel_video_job(uuid, text),
  public.retry_video_job(uuid, uuid),
  public.delete_video_job(uuid),
  public.clear_video_jobs(jsonb, timestamptz, double precision, integer)
to authenticated, service_role;
