-- What workers do. They run as their caller, and only the service role may call them.
-- Every write of a worker names its run token and gets a verdict; a write by token alone decides.

-- Ends a running attempt in any way but completion. The lease has been deleted by the caller: that
-- row was the lock. What the event means for the status stands in the table of transitions.
create function videojobs.end_attempt(
  ended videojobs.leases,
  event public.video_job_event_type,
  retry_in interval default '0',
  error_code text default null,
  error_message text default null,
  data jsonb default '{}'
) returns public.video_jobs
language plpgsql set search_path = ''
as $$
declare
  job public.video_jobs;
begin
  update public.video_jobs j
  set
    status = edge.to_status,
    run_at = case edge.to_status when 'queued' then clock_timestamp() + retry_in else j.run_at end,
    -- Crashes are counted apart from failures, and a shutdown is neither.
    attempt = greatest(j.attempt - case when end_attempt.event in ('released', 'rescued') then 1 else 0 end, 0),
    lost_count = j.lost_count + case when end_attempt.event in ('rescued', 'lost') then 1 else 0 end,
    progress = case edge.to_status when 'queued' then 0 else j.progress end,
    progress_detail = case edge.to_status when 'queued' then '{}' else j.progress_detail end,
    stage = null,
    error_code = end_attempt.error_code,
    error_message = end_attempt.error_message,
    cancel_requested_at = case edge.to_status when 'queued' then null else j.cancel_requested_at end,
    completed_at = case edge.to_status when 'failed' then clock_timestamp() end,
    cancelled_at = case edge.to_status when 'cancelled' then clock_timestamp() end,
    processing_time = case edge.to_status
      when 'queued' then null
      else extract(epoch from clock_timestamp() - ended.claimed_at)
    end
  from videojobs.transitions edge
  where j.id = ended.job_id
    and j.run_token = ended.run_token
    and j.status = 'processing'
    and edge.from_status = 'processing'
    and edge.event = end_attempt.event
  returning j.* into job;
  if not found then
    return null;
  end if;

  insert into public.video_job_events (job_id, type, run_token, worker_id, data)
  values (
    ended.job_id, end_attempt.event, ended.run_token, ended.worker_id,
    jsonb_strip_nulls(data || jsonb_build_object(
      'error_code', end_attempt.error_code,
      'error_message', end_attempt.error_message,
      'run_at', case job.status when 'queued' then job.run_at end))
  );
  if job.status <> 'queued' then
    delete from videojobs.checkpoints c where c.job_id = ended.job_id;
  elsif end_attempt.event <> 'retried' then  -- a retried job is not due yet
    perform pg_notify('videojobs_queue', job.queue);
  end if;
  return job;
end
$$;

-- The wait before the next attempt: doubling from the base, capped, and spread over its upper half
-- so that jobs that failed together do not come back together.
create function videojobs.retry_delay(attempt integer) returns interval
language sql volatile set search_path = ''
as $$
  select make_interval(secs =>
    least(s.retry_base_seconds * 2 ^ least(retry_delay.attempt - 1, 30), s.retry_cap_seconds)
    * (0.5 + random() / 2))
  from videojobs.settings s
$$;

-- Takes jobs back from workers that went silent, ran into their hard deadline, or did not stop
-- within the grace time. Deleting the lease is the lock, so nothing that finishes at the same
-- moment is overwritten; revoking bumps the token, so that the old attempt's writes are refused.
-- In the order of ids, as bulk updates go, so that the two cannot lock each other out.
create function public.recover_video_jobs(row_limit integer default 100)
returns table (job_id uuid, outcome public.video_job_event_type, worker_id text)
language plpgsql set search_path = ''
as $$
declare
  moment timestamptz := clock_timestamp();
  settings videojobs.settings;
  ended videojobs.leases;
  job public.video_jobs;
begin
  select s.* into settings from videojobs.settings s;
  -- Whoever set processing by hand made no lease: it gets one that has ended.
  insert into videojobs.leases (job_id, run_token, worker_id, claim_key, claimed_at, expires_at)
  select
    j.id, j.run_token, coalesce(j.worker_id, 'unknown'), gen_random_uuid(),
    least(j.started_at, moment - interval '2 seconds'), moment - interval '1 second'
  from public.video_jobs j
  where j.status = 'processing' and not exists (select from videojobs.leases l where l.job_id = j.id)
  limit row_limit
  on conflict on constraint leases_pkey do nothing;

  for ended in
    with overdue as materialized (
      select l.job_id
      from videojobs.leases l
      left join public.video_jobs j on j.id = l.job_id
      where l.expires_at < moment
        or l.hard_deadline < moment
        or j.cancel_requested_at < moment - make_interval(secs => settings.cancel_grace_seconds)
      order by l.expires_at
      limit row_limit
      for update of l skip locked
    ), taken as (
      delete from videojobs.leases l
      using overdue
      where l.job_id = overdue.job_id
      returning l.*
    )
    select t.* from taken t order by t.job_id
  loop
    update public.video_jobs j
    set run_token = j.run_token + 1
    where j.id = ended.job_id and j.run_token = ended.run_token and j.status = 'processing'
    returning j.* into job;
    if not found then
      continue;
    end if;
    ended.run_token := job.run_token;

    job_id := ended.job_id;
    worker_id := ended.worker_id;
    outcome := case
      when job.cancel_requested_at is not null then 'cancelled'
      when ended.expires_at >= moment then case when job.attempt < job.max_attempts then 'retried' else 'failed' end
      when job.lost_count + 1 >= settings.max_lost then 'lost'
      else 'rescued'
    end::public.video_job_event_type;
    perform videojobs.end_attempt(
      ended, outcome,
      retry_in => case outcome when 'retried' then videojobs.retry_delay(job.attempt) else '0' end,
      error_code => case
        when outcome in ('retried', 'failed') then 'deadline_exceeded'
        when outcome = 'lost' then 'worker_lost'
      end,
      error_message => case
        when outcome in ('retried', 'failed') then 'the attempt ran longer than its hard deadline allows'
        when outcome = 'lost' then format('%s workers went silent on this job; its source may crash them', job.lost_count + 1)
      end);
    return next;
  end loop;
end
$$;

create function public.find_stuck_video_jobs(running_seconds double precision default null, row_limit integer default 500)
returns setof public.video_jobs
language sql stable set search_path = ''
as $$
  select j.*
  from public.video_jobs j
  left join videojobs.leases l on l.job_id = j.id
  where j.status = 'processing'
    and (
      l.job_id is null
      or l.expires_at < clock_timestamp()
      or l.hard_deadline < clock_timestamp()
      or j.started_at < clock_timestamp() - make_interval(secs => find_stuck_video_jobs.running_seconds)
    )
  order by j.started_at
  limit find_stuck_video_jobs.row_limit
$$;

-- Moves chosen queued jobs to processing and gives out their leases. Chosen rows are locked by the
-- caller, or guarded by their status here.
create function videojobs.lease_jobs(
  job_ids uuid[], worker text, claim_key uuid, lease_seconds double precision, hard_limit_seconds double precision
) returns void
language sql volatile set search_path = ''
as $$
  with started as (
    update public.video_jobs j
    set
      -- "least", so that a row that was written with its attempts used up cannot block the queue.
      status = 'processing', attempt = least(j.attempt + 1, j.max_attempts), run_token = j.run_token + 1,
      started_at = clock_timestamp(), worker_id = lease_jobs.worker, progress = 0,
      progress_detail = '{}', stage = null, error_code = null, error_message = null
    where j.id = any (lease_jobs.job_ids) and j.status = 'queued'
    returning j.id, j.run_token, j.started_at, j.attempt
  ), told as (
    insert into public.video_job_events (job_id, type, at, run_token, worker_id, data)
    select s.id, 'claimed', s.started_at, s.run_token, lease_jobs.worker, jsonb_build_object('attempt', s.attempt)
    from started s
  )
  insert into videojobs.leases (job_id, run_token, worker_id, claim_key, claimed_at, expires_at, hard_deadline)
  select
    s.id, s.run_token, lease_jobs.worker, lease_jobs.claim_key, s.started_at,
    s.started_at + make_interval(secs => lease_jobs.lease_seconds),
    s.started_at + make_interval(secs => lease_jobs.hard_limit_seconds)
  from started s
  -- A queued job has a lease only if its status was set by hand. Its holder loses it here.
  on conflict on constraint leases_pkey do update
  set
    run_token = excluded.run_token, worker_id = excluded.worker_id, claim_key = excluded.claim_key,
    claimed_at = excluded.claimed_at, expires_at = excluded.expires_at, hard_deadline = excluded.hard_deadline
$$;

create function videojobs.leases_of_claim(worker text, claim_key uuid)
returns table (
  job jsonb, run_token bigint, worker_id text, claimed_at timestamptz, expires_at timestamptz,
  hard_deadline timestamptz, checkpoint jsonb
)
language sql stable set search_path = ''
as $$
  select to_jsonb(j), l.run_token, l.worker_id, l.claimed_at, l.expires_at, l.hard_deadline, c.checkpoint
  from videojobs.leases l
  join public.video_jobs j on j.id = l.job_id
  left join videojobs.checkpoints c on c.job_id = l.job_id
  where l.claim_key = leases_of_claim.claim_key and l.worker_id = leases_of_claim.worker
  order by j.priority desc, j.run_at, j.seq
$$;

-- Leases up to job_limit ready jobs: queues in the given order, then by priority, run_at and age.
-- The same claim_key again returns the same leases, so a lost reply loses no job.
create function public.claim_video_jobs(
  worker text,
  claim_key uuid,
  queues text[] default array['default'],
  pipelines text[] default null,
  job_limit integer default 1,
  lease_seconds double precision default 60,
  hard_limit_seconds double precision default null
) returns table (
  job jsonb, run_token bigint, worker_id text, claimed_at timestamptz, expires_at timestamptz,
  hard_deadline timestamptz, checkpoint jsonb
)
language plpgsql set search_path = ''
as $$
declare
  -- A variable, not the volatile function: the probes' index ranges then end at the first row that
  -- is not due yet, and delayed jobs never slow a claim.
  moment timestamptz := clock_timestamp();
  chosen uuid[] := array[]::uuid[];
  queue_name text;
begin
  -- PostgREST would cut a longer answer off, and the jobs cut off would wait for their leases to end.
  job_limit := least(coalesce(job_limit, 1), 100);
  perform pg_advisory_xact_lock(hashtextextended(claim_key::text, 0));
  return query select l.* from videojobs.leases_of_claim(worker, claim_key) l;
  if found then
    return;
  end if;

  if exists (select from videojobs.leases l where l.expires_at < moment) then
    perform public.recover_video_jobs(job_limit);
    moment := clock_timestamp();  -- so that what was just rescued is due
  end if;

  <<choosing>>
  foreach queue_name in array queues loop
    -- One probe for each priority: an exact range of the index, in its order.
    for level in reverse 9..0 loop
      chosen := chosen || array(
        select j.id
        from public.video_jobs j
        where j.status = 'queued'
          and j.queue = queue_name
          and j.priority = level
          and j.run_at <= moment
          and (pipelines is null or j.pipeline = any (pipelines))
        order by j.run_at, j.seq
        limit job_limit - cardinality(chosen)
        for no key update skip locked
      );
      exit choosing when cardinality(chosen) >= job_limit;
    end loop;
  end loop choosing;

  if cardinality(chosen) > 0 then
    perform videojobs.lease_jobs(chosen, worker, claim_key, lease_seconds, hard_limit_seconds);
    return query select l.* from videojobs.leases_of_claim(worker, claim_key) l;
  end if;
end
$$;

-- Leases one named job, whatever its run_at: for scripts that run a job of their choice.
create function public.start_video_job(
  job_id uuid, worker text, claim_key uuid, lease_seconds double precision default 3600
) returns table (
  job jsonb, run_token bigint, worker_id text, claimed_at timestamptz, expires_at timestamptz,
  hard_deadline timestamptz, checkpoint jsonb
)
language plpgsql set search_path = ''
as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(claim_key::text, 0));
  if not exists (select from videojobs.leases l where l.claim_key = start_video_job.claim_key) then
    perform videojobs.lease_jobs(array[start_video_job.job_id], worker, start_video_job.claim_key, lease_seconds, null);
  end if;
  return query select l.* from videojobs.leases_of_claim(worker, start_video_job.claim_key) l;
  if not found then
    perform videojobs.refuse_transition(
      videojobs.job_to_change(start_video_job.job_id), 'started', 'only queued jobs can be');
  end if;
end
$$;

-- Keeps the leases of a worker's jobs, all in one call, and takes their progress. The wide row of
-- a job is written only when its progress moved by a whole percent or its stage changed.
create function public.heartbeat_video_jobs(beats jsonb, lease_seconds double precision default 60)
returns table (
  job_id uuid, run_token bigint, verdict public.video_job_verdict, expires_at timestamptz
)
language plpgsql set search_path = ''
as $$
declare
  moment timestamptz := clock_timestamp();
  reply record;
begin
  insert into videojobs.checkpoints (job_id, checkpoint)
  select distinct on (b.job_id) b.job_id, b.checkpoint
  from jsonb_to_recordset(beats) b (job_id uuid, run_token bigint, checkpoint jsonb)
  join videojobs.leases l on l.job_id = b.job_id and l.run_token = b.run_token
  where b.checkpoint is not null
  on conflict on constraint checkpoints_pkey
    do update set checkpoint = excluded.checkpoint, saved_at = clock_timestamp();

  for reply in
    with beat as materialized (
      select b.*
      from jsonb_to_recordset(beats) b (
        job_id uuid, run_token bigint, progress integer, progress_detail jsonb, stage text
      )
    ), kept as (
      update videojobs.leases l
      set expires_at = moment + make_interval(secs => lease_seconds)
      from beat b
      where l.job_id = b.job_id
        and l.run_token = b.run_token
        and (l.hard_deadline is null or l.hard_deadline > moment)
      returning l.job_id, l.run_token, l.expires_at
    ), moving as materialized (
      -- Locked in the order of ids, as bulk updates go, so that the two cannot lock each other out.
      select j.id
      from beat b
      join kept k on k.job_id = b.job_id
      join public.video_jobs j on j.id = b.job_id and j.run_token = b.run_token and j.status = 'processing'
      where b.progress > j.progress or coalesce(b.stage, j.stage) is distinct from j.stage
      order by j.id
      for no key update of j
    ), moved as (
      update public.video_jobs j
      set
        progress = greatest(j.progress, b.progress),
        progress_detail = coalesce(b.progress_detail, j.progress_detail),
        stage = coalesce(b.stage, j.stage)
      from beat b
      join moving m on m.id = b.job_id
      where j.id = b.job_id
        and j.run_token = b.run_token
        and j.status = 'processing'
      returning j.id
    )
    select
      b.job_id,
      b.run_token,
      k.expires_at,
      m.id is not null as moved,
      case
        when j.run_token = b.run_token and j.status <> 'processing' then 'final'
        when k.job_id is null or j.id is null then 'lost'
        when j.cancel_requested_at is null then 'ok'
        else 'cancel_requested'
      end::public.video_job_verdict as verdict
    from beat b
    left join kept k on k.job_id = b.job_id and k.run_token = b.run_token
    left join moved m on m.id = b.job_id
    left join public.video_jobs j on j.id = b.job_id
  loop
    if reply.moved then
      perform pg_notify('videojobs_changes', reply.job_id::text);
    end if;
    job_id := reply.job_id;
    run_token := reply.run_token;
    verdict := reply.verdict;
    expires_at := reply.expires_at;
    return next;
  end loop;
end
$$;

-- The answer to a write whose lease is not there. A token that settled the job itself hears
-- "final" with the stored job, so that repeating over HTTP is safe; any other hears "lost".
-- Without a token there is nobody to tell apart: the job's status decides.
create function videojobs.settled_before(job_id uuid, run_token bigint, wish text)
returns table (verdict public.video_job_verdict, job jsonb)
language plpgsql stable set search_path = ''
as $$
declare
  stored public.video_jobs;
begin
  if settled_before.run_token is null then
    perform videojobs.refuse_transition(
      videojobs.job_to_change(settled_before.job_id), wish, 'only a running job can be');
  end if;
  select j.* into stored from public.video_jobs j where j.id = settled_before.job_id;
  if stored.run_token = settled_before.run_token and stored.status <> 'processing' then
    return query select 'final'::public.video_job_verdict, to_jsonb(stored);
  else
    return query select 'lost'::public.video_job_verdict, null::jsonb;
  end if;
end
$$;

-- Without a run token: for a service that started the job itself; guarded by the status.
create function public.complete_video_job(
  job_id uuid,
  run_token bigint default null,
  output_files jsonb default '[]',
  processing_seconds double precision default null,
  detail jsonb default '{}'
) returns table (verdict public.video_job_verdict, job jsonb)
language plpgsql set search_path = ''
as $$
declare
  done public.video_jobs;
begin
  with ended as (
    delete from videojobs.leases l
    where l.job_id = complete_video_job.job_id
      and (complete_video_job.run_token is null or l.run_token = complete_video_job.run_token)
    returning l.*
  )
  update public.video_jobs j
  set
    status = 'completed', progress = 100, stage = null,
    -- The last heartbeat came before the end: what it counted is done now.
    progress_detail = (
      select coalesce(jsonb_object_agg(d.key, case jsonb_typeof(d.value) when 'number' then '100' else d.value end), '{}')
      from jsonb_each(j.progress_detail) d
    ),
    output_files = complete_video_job.output_files,
    completed_at = clock_timestamp(),
    processing_time = coalesce(processing_seconds, extract(epoch from clock_timestamp() - ended.claimed_at))
  from ended
  where j.id = ended.job_id and j.run_token = ended.run_token and j.status = 'processing'
  returning j.* into done;

  if not found then
    -- A repeat without a token, with the very result that is stored: the first reply was lost.
    select j.* into done
    from public.video_jobs j
    where j.id = complete_video_job.job_id
      and complete_video_job.run_token is null
      and j.status = 'completed'
      and j.output_files = complete_video_job.output_files;
    if found then
      return query select 'final'::public.video_job_verdict, to_jsonb(done);
    else
      return query
      select s.verdict, s.job
      from videojobs.settled_before(complete_video_job.job_id, complete_video_job.run_token, 'completed') s;
    end if;
    return;
  end if;

  insert into public.video_job_events (job_id, type, run_token, worker_id, data)
  values (
    done.id, 'completed', done.run_token, done.worker_id,
    complete_video_job.detail || jsonb_build_object(
      'outputs', jsonb_array_length(done.output_files), 'processing_seconds', done.processing_time,
      'cancel_was_requested', done.cancel_requested_at is not null)
  );
  delete from videojobs.checkpoints c where c.job_id = done.id;
  return query select 'ok'::public.video_job_verdict, to_jsonb(done);
end
$$;

-- Ends the attempt of the holder of the lease with the given event, or says who settled it.
create function videojobs.give_up_lease(
  job_id uuid, run_token bigint, event public.video_job_event_type, error_code text, error_message text, data jsonb
) returns table (verdict public.video_job_verdict, job jsonb)
language plpgsql set search_path = ''
as $$
declare
  ended videojobs.leases;
  stored public.video_jobs;
begin
  delete from videojobs.leases l
  where l.job_id = give_up_lease.job_id
    and (give_up_lease.run_token is null or l.run_token = give_up_lease.run_token)
  returning l.* into ended;
  if not found then
    return query
    select s.verdict, s.job
    from videojobs.settled_before(give_up_lease.job_id, give_up_lease.run_token, event::text) s;
    return;
  end if;

  -- Locked, or a wish to cancel that arrives now would be forgotten with the attempt.
  select j.* into stored from public.video_jobs j where j.id = ended.job_id for no key update;
  -- Who asked to stop gets a stopped job, however the attempt ended.
  if stored.cancel_requested_at is not null then
    event := 'cancelled';
  elsif event = 'retried' and stored.attempt >= stored.max_attempts then
    event := 'failed';
  end if;
  return query
  select 'ok'::public.video_job_verdict, to_jsonb(e)
  from videojobs.end_attempt(
    ended, event,
    case event when 'retried' then videojobs.retry_delay(stored.attempt) else '0' end,
    case when event in ('retried', 'failed') then give_up_lease.error_code end,
    case when event in ('retried', 'failed') then give_up_lease.error_message end,
    give_up_lease.data
  ) e;
end
$$;

create function public.fail_video_job(
  job_id uuid,
  run_token bigint default null,
  error_code text default 'processing_failed',
  error_message text default null,
  retryable boolean default true,
  detail jsonb default '{}'
) returns table (verdict public.video_job_verdict, job jsonb)
language sql volatile set search_path = ''
as $$
  select g.verdict, g.job
  from videojobs.give_up_lease(
    fail_video_job.job_id, fail_video_job.run_token,
    case when fail_video_job.retryable then 'retried' else 'failed' end::public.video_job_event_type,
    fail_video_job.error_code, fail_video_job.error_message, fail_video_job.detail
  ) g
$$;

create function public.release_video_job(job_id uuid, run_token bigint)
returns table (verdict public.video_job_verdict, job jsonb)
language sql volatile set search_path = ''
as $$
  select g.verdict, g.job
  from videojobs.give_up_lease(release_video_job.job_id, release_video_job.run_token, 'released', null, null, '{}') g
$$;

create function public.confirm_video_job_cancel(job_id uuid, run_token bigint)
returns table (verdict public.video_job_verdict, job jsonb)
language sql volatile set search_path = ''
as $$
  select g.verdict, g.job
  from videojobs.give_up_lease(
    confirm_video_job_cancel.job_id, confirm_video_job_cancel.run_token, 'cancelled', null, null, '{}') g
$$;

-- Brings a job to a status, for services without a lease: each status has its own function, and
-- this is the table of them. Setting processing again, on a running job, takes its progress.
create function public.update_video_job_status(
  job_id uuid,
  status public.video_job_status,
  progress integer default null,
  stage text default null,
  worker text default null,
  output_files jsonb default '[]',
  error_code text default 'processing_failed',
  error_message text default null
) returns setof public.video_jobs
language plpgsql set search_path = ''
as $$
declare
  current_status public.video_job_status;
begin
  -- The lease before the job, as workers lock them, so that the two cannot lock each other out.
  perform from videojobs.leases l where l.job_id = update_video_job_status.job_id for update;
  select j.status into current_status
  from public.video_jobs j
  where j.id = update_video_job_status.job_id
  for no key update;

  case
    when update_video_job_status.status = 'processing' then
      if current_status is distinct from 'processing' then
        perform public.start_video_job(
          update_video_job_status.job_id, coalesce(worker, 'manual'), gen_random_uuid());
      end if;
      update public.video_jobs j
      set
        progress = greatest(j.progress, update_video_job_status.progress),
        stage = coalesce(update_video_job_status.stage, j.stage)
      where j.id = update_video_job_status.job_id and j.status = 'processing';
      perform pg_notify('videojobs_changes', update_video_job_status.job_id::text);
    when update_video_job_status.status = 'completed' then
      perform public.complete_video_job(
        update_video_job_status.job_id, output_files => update_video_job_status.output_files);
    when update_video_job_status.status = 'failed' then
      perform public.fail_video_job(
        update_video_job_status.job_id, error_code => update_video_job_status.error_code,
        error_message => update_video_job_status.error_message, retryable => false);
    when update_video_job_status.status = 'cancelled' then
      perform public.cancel_video_job(update_video_job_status.job_id);
    when update_video_job_status.status is null then
      raise exception using errcode = 'VJ004', message = 'status: it must be given';
    when current_status = 'processing' then
      perform videojobs.give_up_lease(update_video_job_status.job_id, null, 'released', null, null, '{}');
    else
      perform public.retry_video_job(update_video_job_status.job_id);
  end case;
  return query select j.* from public.video_jobs j where j.id = update_video_job_status.job_id;
end
$$;

revoke all on all functions in schema videojobs from public;
grant execute on function
  videojobs.end_attempt(videojobs.leases, public.video_job_event_type, interval, text, text, jsonb),
  videojobs.retry_delay(integer),
  videojobs.lease_jobs(uuid[], text, uuid, double precision, double precision),
  videojobs.leases_of_claim(text, uuid),
  videojobs.settled_before(uuid, bigint, text),
  videojobs.give_up_lease(uuid, bigint, public.video_job_event_type, text, text, jsonb),
  videojobs.job_to_change(uuid),
  videojobs.may_see(uuid, uuid),
  videojobs.refuse_transition(public.video_jobs, text, text)
to service_role;

revoke all on function
  public.recover_video_jobs(integer),
  public.find_stuck_video_jobs(double precision, integer),
  public.claim_video_jobs(text, uuid, text[], text[], integer, double precision, double precision),
  public.start_video_job(uuid, text, uuid, double precision),
  public.heartbeat_video_jobs(jsonb, double precision),
  public.complete_video_job(uuid, bigint, jsonb, double precision, jsonb),
  public.fail_video_job(uuid, bigint, text, text, boolean, jsonb),
  public.release_video_job(uuid, bigint),
  public.confirm_video_job_cancel(uuid, bigint),
  public.update_video_job_status(uuid, public.video_job_status, integer, text, text, jsonb, text, text)
from public, anon, authenticated, service_role;
grant execute on function
  public.recover_video_jobs(integer),
  public.find_stuck_video_jobs(double precision, integer),
  public.claim_video_jobs(text, uuid, text[], text[], integer, double precision, double precision),
  public.start_video_job(uuid, text, uuid, double precision),
  public.heartbeat_video_jobs(jsonb, double precision),
  public.complete_video_job(uuid, bigint, jsonb, double precision, jsonb),
  public.fail_video_job(uuid, bigint, text, text, boolean, jsonb),
  public.release_video_job(uuid, bigint),
  public.confirm_video_job_cancel(uuid, bigint),
  public.update_video_job_status(uuid, public.video_job_status, integer, text, text, jsonb, text, text)
to service_role;
