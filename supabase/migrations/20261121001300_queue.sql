-- The queue: who is next, how many may run, and how attempts end, several of them in one commit.
--
-- The functions that a worker calls have the plans that their indexes were made for, whatever the
-- statistics say: made once for a connection, since planning anew costs more than the work does, and
-- with neither a scan of the table nor a sort, which look cheap to a plan that was made while the
-- table was empty. Where a job is named by its id, its status is compared as text: to such a plan the
-- whole index of the queued or the running jobs looks as good as the key.

-- A lease for each chosen job, in the order of the list, in one statement. Chosen rows are locked by
-- the caller, or guarded by their status here. An array of objects, like everything that the claim is
-- made of: a set of rows would be stored and read again at each of its floors.
drop function videojobs.leases_of_claim(text, uuid);
drop function videojobs.lease_jobs(uuid[], text, uuid, double precision, double precision);
create function videojobs.lease_jobs(
  job_ids uuid[], worker text, claim_key uuid, lease_seconds double precision, hard_limit_seconds double precision
) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  leases jsonb;
begin
  with started as (
    update public.video_jobs j
    set
      -- "least", so that a row that was written with its attempts used up cannot block the queue.
      status = 'processing', attempt = least(j.attempt + 1, j.max_attempts), run_token = j.run_token + 1,
      started_at = clock_timestamp(), worker_id = lease_jobs.worker, progress = 0,
      progress_detail = '{}', stage = null, error_code = null, error_message = null
    where j.id = any (lease_jobs.job_ids) and j.status::text = 'queued'
    returning
      j.id, j.run_token, j.started_at, j.attempt, j.tenant_id, j.queue, j.pipeline, j.max_runtime_seconds,
      to_jsonb(j) as job
  ), told as (
    insert into public.video_job_events (job_id, type, at, run_token, worker_id, data)
    select s.id, 'claimed', s.started_at, s.run_token, lease_jobs.worker, jsonb_build_object('attempt', s.attempt)
    from started s
  ), leased as (
    insert into videojobs.leases (
      job_id, run_token, worker_id, claim_key, claimed_at, expires_at, hard_deadline, tenant_id, queue, pipeline)
    select
      s.id, s.run_token, lease_jobs.worker, lease_jobs.claim_key, s.started_at,
      s.started_at + make_interval(secs => lease_jobs.lease_seconds),
      s.started_at + make_interval(secs => least(lease_jobs.hard_limit_seconds, s.max_runtime_seconds)),
      s.tenant_id, s.queue, s.pipeline
    from started s
    -- A queued job has a lease only if its status was set by hand. Its holder loses it here.
    on conflict on constraint leases_pkey do update
    set
      run_token = excluded.run_token, worker_id = excluded.worker_id, claim_key = excluded.claim_key,
      claimed_at = excluded.claimed_at, expires_at = excluded.expires_at, hard_deadline = excluded.hard_deadline,
      tenant_id = excluded.tenant_id, queue = excluded.queue, pipeline = excluded.pipeline
    returning leases.job_id, leases.run_token, leases.worker_id, leases.claimed_at, leases.expires_at, leases.hard_deadline
  )
  select jsonb_agg(
    jsonb_build_object(
      'job', s.job, 'run_token', l.run_token, 'worker_id', l.worker_id, 'claimed_at', l.claimed_at,
      'expires_at', l.expires_at, 'hard_deadline', l.hard_deadline, 'checkpoint', c.checkpoint)
    order by array_position(lease_jobs.job_ids, s.id))
  into leases
  from started s
  join leased l on l.job_id = s.id
  left join videojobs.checkpoints c on c.job_id = s.id;
  return coalesce(leases, '[]');
end
$$;

-- What an earlier call with the same key got; only the reply was lost. Null if there was none.
create function videojobs.leases_of_claim(worker text, claim_key uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return (
    select jsonb_agg(
      jsonb_build_object(
        'job', to_jsonb(j), 'run_token', l.run_token, 'worker_id', l.worker_id, 'claimed_at', l.claimed_at,
        'expires_at', l.expires_at, 'hard_deadline', l.hard_deadline, 'checkpoint', c.checkpoint)
      order by j.priority desc, j.run_at, j.seq)
    from videojobs.leases l
    join public.video_jobs j on j.id = l.job_id
    left join videojobs.checkpoints c on c.job_id = l.job_id
    where l.claim_key = leases_of_claim.claim_key and l.worker_id = leases_of_claim.worker
  );
end
$$;

-- The pipelines of a queue's queued jobs, of one priority or of all: one probe of the index for each.
create function videojobs.queued_pipelines(queue_name text, level smallint default null) returns text[]
language plpgsql stable set search_path = ''
as $$
declare
  names text[] := array[]::text[];
  name text := '';
begin
  if level is null then
    level := 10::smallint;
    loop
      select j.priority into level
      from public.video_jobs j
      where j.status = 'queued' and j.queue = queue_name and j.priority < level
      order by j.priority desc
      limit 1;
      exit when not found;
      names := names || videojobs.queued_pipelines(queue_name, level);
    end loop;
    return array(select distinct n.name from unnest(names) n (name));
  end if;
  loop
    select j.pipeline into name
    from public.video_jobs j
    where j.status = 'queued' and j.queue = queue_name and j.priority = level and j.pipeline > name
    order by j.pipeline
    limit 1;
    exit when not found;
    names := names || name;
  end loop;
  return names;
end
$$;

-- The tenants whose turn it is, up to "wanted" of them, each with a due job: those that follow the one
-- served last, then from the beginning. A step costs one probe for each pipeline, however many jobs a
-- tenant has. Tenants whose jobs are all delayed cost a step too, so the steps are bounded: what they
-- do not find is taken by age, and the next claim goes on from "last_seen".
create function videojobs.tenants_in_turn(
  queue_name text, level smallint, lanes text[], wanted integer, moment timestamptz, blocked uuid[],
  out tenants uuid[], out served_last uuid, out last_seen uuid
)
language plpgsql stable set search_path = ''
as $$
declare
  nobody constant uuid := '00000000-0000-0000-0000-000000000000'::uuid;
  -- Where tenants are blocked, turns are nearly all that there is: then they may go further.
  steps_left integer := wanted + 16 + cardinality(blocked) + case cardinality(blocked) when 0 then 0 else 100 end;
  has_wrapped boolean;
  tenant uuid;
  is_due boolean;
begin
  tenants := array[]::uuid[];
  select t.tenant_id into served_last from videojobs.turns t where t.queue = queue_name and t.priority = level;
  last_seen := coalesce(served_last, nobody);
  has_wrapped := served_last is null;
  while steps_left > 0 and cardinality(tenants) < wanted loop
    steps_left := steps_left - 1;
    select head.tenant_id, head.run_at <= moment into tenant, is_due
    from unnest(lanes) lane (pipeline)
    cross join lateral (
      select j.tenant_id, j.run_at
      from public.video_jobs j
      where j.status = 'queued' and j.queue = queue_name and j.priority = level
        and j.pipeline = lane.pipeline and j.tenant_id > last_seen
      order by j.tenant_id, j.run_at, j.seq
      limit 1
    ) head
    order by head.tenant_id, head.run_at
    limit 1;
    if not found and not has_wrapped then
      has_wrapped := true;
      last_seen := nobody;
      continue;
    end if;
    exit when not found or (has_wrapped and tenant > served_last);
    last_seen := tenant;
    if is_due and tenant <> all (blocked) then
      tenants := tenants || tenant;
    end if;
  end loop;
end
$$;

-- Remembers whose turn it was. While another claim remembers, nothing is: to wait would make claims
-- follow one another, for an order that is good enough without.
create function videojobs.end_turn(queue_name text, level smallint, tenant uuid) returns void
language plpgsql set search_path = ''
as $$
begin
  if pg_try_advisory_xact_lock(hashtextextended('videojobs turn ' || level || ' ' || queue_name, 0)) then
    insert into videojobs.turns (queue, priority, tenant_id)
    values (queue_name, level, tenant)
    on conflict on constraint turns_pkey do update set tenant_id = excluded.tenant_id;
  end if;
end
$$;

-- Ready jobs of one queue, locked: by priority; within it by turns of the tenants, if the queue is fair;
-- then by run_at and age. What others have locked is passed over, and so are blocked tenants.
create function videojobs.choose_jobs(
  queue_name text, pipelines text[], wanted integer, moment timestamptz, is_fair boolean,
  blocked uuid[] default array[]::uuid[]
) returns uuid[]
language plpgsql set search_path = ''
as $$
declare
  chosen uuid[] := array[]::uuid[];
  picked uuid[];
  level smallint := 10::smallint;
  lanes text[];
  missing integer := wanted;
  share integer;
  turn record;
  served uuid;
begin
  while missing > 0 loop
    -- One probe for each priority that has queued jobs, not one for each that could have.
    select j.priority into level
    from public.video_jobs j
    where j.status = 'queued' and j.queue = queue_name and j.priority < level
    order by j.priority desc
    limit 1;
    exit when not found;

    lanes := coalesce(pipelines, videojobs.queued_pipelines(queue_name, level));
    -- Where all jobs of a priority are delayed, no tenant has a turn.
    continue when not exists (
      select
      from unnest(lanes) lane (pipeline)
      cross join lateral (
        select j.run_at
        from public.video_jobs j
        where j.status = 'queued' and j.queue = queue_name and j.priority = level and j.pipeline = lane.pipeline
        order by j.run_at, j.seq
        limit 1
      ) head
      where head.run_at <= moment
    );
    if is_fair then
      turn := videojobs.tenants_in_turn(queue_name, level, lanes, missing, moment, blocked);
      served := turn.last_seen;
      if cardinality(turn.tenants) = 1 then
        chosen := chosen || array(
          select ready.id
          from unnest(lanes) lane (pipeline)
          cross join lateral (
            select j.id, j.run_at, j.seq
            from public.video_jobs j
            where j.status = 'queued' and j.queue = queue_name and j.priority = level
              and j.pipeline = lane.pipeline and j.tenant_id = turn.tenants[1] and j.run_at <= moment
            order by j.run_at, j.seq
            limit missing
            for no key update skip locked
          ) ready
          order by ready.run_at, ready.seq
          limit missing
        );
        served := turn.tenants[1];
      elsif cardinality(turn.tenants) > 1 then
        share := (missing + cardinality(turn.tenants) - 1) / cardinality(turn.tenants);
        with heads as materialized (
          select head.id, tenant.turn, head.run_at, head.seq
          from unnest(turn.tenants) with ordinality tenant (id, turn)
          cross join unnest(lanes) lane (pipeline)
          cross join lateral (
            select j.id, j.run_at, j.seq
            from public.video_jobs j
            where j.status = 'queued' and j.queue = queue_name and j.priority = level
              and j.pipeline = lane.pipeline and j.tenant_id = tenant.id and j.run_at <= moment
            order by j.run_at, j.seq
            limit share
            for no key update skip locked
          ) head
        ), in_rounds as (
          select h.id, h.turn, row_number() over (partition by h.turn order by h.run_at, h.seq) as round
          from heads h
        ), next_ones as (
          select r.id, r.turn, r.round from in_rounds r where r.round <= share order by r.round, r.turn limit missing
        )
        select
          array_agg(n.id order by n.round, n.turn),
          (array_agg(turn.tenants[n.turn] order by n.round desc, n.turn desc))[1]
        into picked, served
        from next_ones n;
        chosen := chosen || picked;
        served := coalesce(served, turn.last_seen);
      end if;
      if served is distinct from turn.served_last then
        perform videojobs.end_turn(queue_name, level, served);
      end if;
    end if;

    missing := wanted - cardinality(chosen);
    if missing > 0 and cardinality(blocked) > 0 then
      -- The oldest jobs may all be of tenants who are blocked: so many are looked at and no more.
      chosen := chosen || array(
        select j.id
        from public.video_jobs j
        where j.status::text = 'queued'
          and j.id = any (array(
            select ready.id
            from unnest(lanes) lane (pipeline)
            cross join lateral (
              select j.id, j.tenant_id
              from public.video_jobs j
              where j.status = 'queued' and j.queue = queue_name and j.priority = level
                and j.pipeline = lane.pipeline and j.run_at <= moment
              order by j.run_at, j.seq
              limit 200
            ) ready
            where ready.tenant_id <> all (blocked) and ready.id <> all (chosen)
          ))
        order by j.run_at, j.seq
        limit missing
        for no key update skip locked
      );
      missing := wanted - cardinality(chosen);
    elsif missing > 0 then
      chosen := chosen || array(
        select ready.id
        from unnest(lanes) lane (pipeline)
        cross join lateral (
          select j.id, j.run_at, j.seq
          from public.video_jobs j
          where j.status = 'queued' and j.queue = queue_name and j.priority = level
            and j.pipeline = lane.pipeline and j.run_at <= moment and j.id <> all (chosen)
          order by j.run_at, j.seq
          limit missing
          for no key update skip locked
        ) ready
        order by ready.run_at, ready.seq
        limit missing
      );
      missing := wanted - cardinality(chosen);
    end if;
  end loop;
  return chosen;
end
$$;

create function videojobs.is_fair(queue_name text) returns boolean
language plpgsql stable set search_path = ''
as $$
begin
  return coalesce((select q.is_fair from videojobs.queues q where q.queue = queue_name), true);
end
$$;

-- How many more of its jobs may run now; null where nothing limits them. Exact for whoever holds the
-- lock of the limit, since leases only get fewer without it.
create function videojobs.room(kind text, key text) returns integer
language sql stable set search_path = ''
as $$
  select
    l.max_running - (
      select count(*)::integer
      from videojobs.leases r
      where room.key = case room.kind
        when 'tenant' then r.tenant_id::text
        when 'queue' then r.queue
        else r.pipeline
      end
    )
  from videojobs.limits l
  where l.kind = room.kind and l.key in (room.key, '*')
  order by l.key = '*'
  limit 1
$$;

create function videojobs.lock_of_limit(kind text, key text) returns bigint
language sql immutable set search_path = ''
return hashtextextended('videojobs limit ' || lock_of_limit.kind || ' ' || lock_of_limit.key, 0);

-- The first job of the queues that no limit holds back, locked, with the locks of its limits held to
-- the end of the transaction. Tenants that are full are passed over.
create function videojobs.choose_within_limits(
  queues text[], pipelines text[], moment timestamptz, may_wait boolean
) returns uuid
language plpgsql set search_path = ''
as $$
declare
  blocked uuid[] := array(
    select r.tenant_id
    from videojobs.leases r
    group by r.tenant_id
    having count(*) >= (
      select l.max_running
      from videojobs.limits l
      where l.kind = 'tenant' and l.key in (r.tenant_id::text, '*')
      order by l.key = '*'
      limit 1
    )
  );
  queue_name text;
  lanes text[];
  candidate uuid;
  tenant uuid;
  room integer;
  passed integer := 0;
begin
  foreach queue_name in array queues loop
    continue when videojobs.room('queue', queue_name) <= 0;
    lanes := array(
      select lane.name
      from unnest(coalesce(pipelines, videojobs.queued_pipelines(queue_name))) lane (name)
      where coalesce(videojobs.room('pipeline', lane.name), 1) > 0
    );
    loop
      candidate := (videojobs.choose_jobs(
        queue_name, lanes, 1, moment, videojobs.is_fair(queue_name), blocked))[1];
      if candidate is null and cardinality(blocked) > 0 and not videojobs.is_fair(queue_name) then
        -- Only turns get past the jobs of a tenant who is blocked, however many there are.
        candidate := (videojobs.choose_jobs(queue_name, lanes, 1, moment, true, blocked))[1];
      end if;
      exit when candidate is null;
      select j.tenant_id into tenant from public.video_jobs j where j.id = candidate;
      room := videojobs.room('tenant', tenant::text);
      if room is null then
        return candidate;
      elsif room <= 0 then
        -- To pass over takes no lock, and so many are passed: the next claim goes on from this turn.
        blocked := blocked || tenant;
        passed := passed + 1;
        exit when passed >= 50;
        continue;
      end if;
      -- Whoever holds one tenant's lock waits for nothing any more; so to wait for the first is safe.
      if may_wait then
        perform pg_advisory_xact_lock(videojobs.lock_of_limit('tenant', tenant::text));
        may_wait := false;
      elsif not pg_try_advisory_xact_lock(videojobs.lock_of_limit('tenant', tenant::text)) then
        blocked := blocked || tenant;
        continue;
      end if;
      if videojobs.room('tenant', tenant::text) > 0 then
        return candidate;
      end if;
      blocked := blocked || tenant;
    end loop;
  end loop;
  return null;
end
$$;

-- Leases what is ready now. Without limits that concern it, all at once; else one by one, each counted.
create function videojobs.claim_ready(
  worker text, claim_key uuid, queues text[], pipelines text[], job_limit integer,
  lease_seconds double precision, hard_limit_seconds double precision, may_wait boolean
) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  -- A variable, not the volatile function: the probes' index ranges then end at the first row that
  -- is not due yet, and delayed jobs never slow a claim.
  moment timestamptz := clock_timestamp();
  chosen uuid[] := array[]::uuid[];
  leases jsonb := '[]'::jsonb;
  queue_name text;
begin
  if not exists (
    select
    from videojobs.limits l
    where l.kind = 'tenant'
      or (l.kind = 'queue' and (l.key = '*' or l.key = any (queues)))
      or (l.kind = 'pipeline' and (l.key = '*' or pipelines is null or l.key = any (pipelines)))
  ) then
    foreach queue_name in array queues loop
      chosen := chosen || videojobs.choose_jobs(
        queue_name, pipelines, job_limit - cardinality(chosen), moment, videojobs.is_fair(queue_name));
      exit when cardinality(chosen) >= job_limit;
    end loop;
    if cardinality(chosen) = 0 then
      return leases;
    end if;
    return videojobs.lease_jobs(chosen, worker, claim_key, lease_seconds, hard_limit_seconds);
  end if;

  -- In one order, so that two claims cannot lock each other out; tenants' locks come after these.
  perform pg_advisory_xact_lock(limited.lock)
  from (
    select videojobs.lock_of_limit(l.kind, l.key) as lock
    from videojobs.limits l
    where (l.kind = 'queue' and (l.key = '*' or l.key = any (queues)))
      or (l.kind = 'pipeline' and (l.key = '*' or pipelines is null or l.key = any (pipelines)))
    order by 1
  ) limited;
  for nth in 1..job_limit loop
    chosen[1] := videojobs.choose_within_limits(queues, pipelines, moment, may_wait and nth = 1);
    exit when chosen[1] is null;
    leases := leases || videojobs.lease_jobs(chosen, worker, claim_key, lease_seconds, hard_limit_seconds);
  end loop;
  return leases;
end
$$;

-- Leases up to job_limit ready jobs: queues in the given order, then by priority, by turns of the
-- tenants, by run_at and age. The same claim_key again returns the same leases: a lost reply loses no
-- job. Where less is ready than wanted, it also takes back what silent workers hold.
create function videojobs.claim_jobs(
  worker text, claim_key uuid, queues text[], pipelines text[], job_limit integer,
  lease_seconds double precision, hard_limit_seconds double precision
) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  leases jsonb;
begin
  -- PostgREST would cut a longer answer off, and the jobs cut off would wait for their leases to end.
  job_limit := least(coalesce(job_limit, 1), 100);
  perform pg_advisory_xact_lock(hashtextextended(claim_key::text, 0));
  if exists (select from videojobs.leases l where l.claim_key = claim_jobs.claim_key) then
    return coalesce(videojobs.leases_of_claim(worker, claim_key), '[]');
  end if;

  leases := videojobs.claim_ready(
    worker, claim_key, queues, pipelines, job_limit, lease_seconds, hard_limit_seconds, may_wait => true);
  if jsonb_array_length(leases) < job_limit
    and exists (select from videojobs.leases l where l.expires_at < clock_timestamp())
  then
    perform public.recover_video_jobs(job_limit);
    leases := leases || videojobs.claim_ready(
      worker, claim_key, queues, pipelines, job_limit - jsonb_array_length(leases), lease_seconds, hard_limit_seconds,
      -- It may hold a tenant's lock already: to wait for another could be to wait for each other.
      may_wait => false);
  end if;
  return leases;
end
$$;

create or replace function public.claim_video_jobs(
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
  set plan_cache_mode = 'force_generic_plan' set enable_seqscan = off set enable_bitmapscan = off
  set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  return query
  select l.*
  from jsonb_to_recordset(
    videojobs.claim_jobs(worker, claim_key, queues, pipelines, job_limit, lease_seconds, hard_limit_seconds)
  ) l (
    job jsonb, run_token bigint, worker_id text, claimed_at timestamptz, expires_at timestamptz,
    hard_deadline timestamptz, checkpoint jsonb
  );
end
$$;

-- Leases one named job, whatever its run_at and the limits: for scripts that run a job of their choice.
create or replace function public.start_video_job(
  job_id uuid, worker text, claim_key uuid, lease_seconds double precision default 3600
) returns table (
  job jsonb, run_token bigint, worker_id text, claimed_at timestamptz, expires_at timestamptz,
  hard_deadline timestamptz, checkpoint jsonb
)
language plpgsql set search_path = ''
  set plan_cache_mode = 'force_generic_plan' set enable_seqscan = off set enable_bitmapscan = off
  set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  leases jsonb;
begin
  perform pg_advisory_xact_lock(hashtextextended(claim_key::text, 0));
  leases := jsonb_path_query_array(
    coalesce(videojobs.leases_of_claim(worker, claim_key), '[]'),
    '$[*] ? (@.job.id == $id)', jsonb_build_object('id', job_id));
  if leases = '[]' then
    leases := videojobs.lease_jobs(array[job_id], worker, claim_key, lease_seconds, null);
  end if;
  if leases = '[]' then
    perform videojobs.refuse_transition(videojobs.job_to_change(job_id), 'started', 'only queued jobs can be');
  end if;
  return query
  select l.*
  from jsonb_to_recordset(leases) l (
    job jsonb, run_token bigint, worker_id text, claimed_at timestamptz, expires_at timestamptz,
    hard_deadline timestamptz, checkpoint jsonb
  );
end
$$;

-- Attempts that ended well: their leases go, their jobs are completed, in one statement for all of
-- them. Answers with the verdicts of those whose token still held the lease. The list is in the order
-- of ids, and its callers have no plans but nested loops, which keep it: bulk updates lock in that order
-- too.
create function videojobs.complete_attempts(settlements jsonb) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  settled jsonb;
begin
  with wish as materialized (
    select w.*
    from jsonb_to_recordset(complete_attempts.settlements) w (
      job_id uuid, run_token bigint, output_files jsonb, processing_seconds double precision, detail jsonb
    )
    order by w.job_id
  ), ended as (
    delete from videojobs.leases l
    using wish w
    where l.job_id = w.job_id and l.run_token = w.run_token
    returning l.job_id, l.run_token, l.claimed_at, w.output_files, w.processing_seconds, w.detail
  ), done as (
    update public.video_jobs j
    set
      status = 'completed', progress = 100, stage = null,
      -- The last heartbeat came before the end: what it counted is done now.
      progress_detail = case when j.progress_detail = '{}' then j.progress_detail else (
        select coalesce(jsonb_object_agg(d.key, case jsonb_typeof(d.value) when 'number' then '100' else d.value end), '{}')
        from jsonb_each(j.progress_detail) d
      ) end,
      output_files = coalesce(e.output_files, '[]'),
      completed_at = clock_timestamp(),
      processing_time = coalesce(e.processing_seconds, extract(epoch from clock_timestamp() - e.claimed_at))
    from ended e
    where j.id = e.job_id and j.run_token = e.run_token and j.status::text = 'processing'
    returning
      j.id, j.run_token, j.worker_id, to_jsonb(j) as job,
      coalesce(e.detail, '{}') || jsonb_build_object(
        'outputs', jsonb_array_length(j.output_files), 'processing_seconds', j.processing_time,
        'cancel_was_requested', j.cancel_requested_at is not null) as data
  ), told as (
    insert into public.video_job_events (job_id, type, run_token, worker_id, data)
    select d.id, 'completed', d.run_token, d.worker_id, d.data
    from done d
  ), forgotten as (
    delete from videojobs.checkpoints c using done d where c.job_id = d.id
  )
  select jsonb_agg(jsonb_build_object('job_id', d.id, 'run_token', d.run_token, 'verdict', 'ok', 'job', d.job))
  into settled
  from done d;
  return coalesce(settled, '[]');
end
$$;

-- Without a run token: for a service that started the job itself; guarded by the status.
create or replace function public.complete_video_job(
  job_id uuid,
  run_token bigint default null,
  output_files jsonb default '[]',
  processing_seconds double precision default null,
  detail jsonb default '{}'
) returns table (verdict public.video_job_verdict, job jsonb)
language plpgsql set search_path = ''
  set plan_cache_mode = 'force_generic_plan' set enable_seqscan = off set enable_bitmapscan = off
  set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  settled jsonb;
  stored public.video_jobs;
begin
  settled := videojobs.complete_attempts(jsonb_build_array(jsonb_build_object(
    'job_id', job_id,
    'run_token', coalesce(
      complete_video_job.run_token,
      (select l.run_token from videojobs.leases l where l.job_id = complete_video_job.job_id)),
    'output_files', output_files, 'processing_seconds', processing_seconds, 'detail', detail)));
  if settled <> '[]' then
    verdict := 'ok';
    job := settled #> '{0,job}';
    return next;
    return;
  end if;

  -- A repeat without a token, with the very result that is stored: the first reply was lost.
  select j.* into stored
  from public.video_jobs j
  where j.id = complete_video_job.job_id
    and complete_video_job.run_token is null
    and j.status = 'completed'
    and j.output_files = complete_video_job.output_files;
  if found then
    return query select 'final'::public.video_job_verdict, to_jsonb(stored);
  else
    return query
    select s.verdict, s.job
    from videojobs.settled_before(complete_video_job.job_id, complete_video_job.run_token, 'completed') s;
  end if;
end
$$;

-- Settles attempts and claims the next jobs in the same commit: half the round trips and half the
-- waits for the disk. Each settlement is an object of job_id, run_token and outcome (completed, failed,
-- released, cancelled or split), with what that outcome's own function takes; "claim" is an object of
-- what claim_video_jobs takes. Both lists come back as JSON, so that max-rows cannot cut them off.
create function public.settle_video_jobs(settlements jsonb, claim jsonb default null)
returns table (settled jsonb, leased jsonb)
language plpgsql set search_path = ''
  set plan_cache_mode = 'force_generic_plan' set enable_seqscan = off set enable_bitmapscan = off
  set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  wish record;
  reply record;
begin
  settled := '[]';
  if jsonb_array_length(settlements) > 0 then
    if settlements @? '$[*] ? (!(@.outcome == "completed" || @.outcome == "failed" || @.outcome == "released" || @.outcome == "cancelled" || @.outcome == "split"))' then
      raise exception using
        errcode = 'VJ004', message = 'settlements: each outcome is completed, failed, released, cancelled or split';
    end if;
    if jsonb_array_length(settlements) > 1 then
      -- What has completed is settled first and the rest after it: the order of ids, in which bulk
      -- updates lock too, is kept by locking all of them now.
      perform
      from (select w.job_id from jsonb_to_recordset(settlements) w (job_id uuid) order by w.job_id) w
      join videojobs.leases l on l.job_id = w.job_id
      for update of l;
      perform
      from (select w.job_id from jsonb_to_recordset(settlements) w (job_id uuid) order by w.job_id) w
      join public.video_jobs j on j.id = w.job_id
      for no key update of j;
    end if;
    settled := videojobs.complete_attempts(jsonb_path_query_array(settlements, '$[*] ? (@.outcome == "completed")'));
  end if;
  if jsonb_array_length(settled) < jsonb_array_length(settlements) then
    for wish in
      select w.*
      from jsonb_to_recordset(settlements) w (
        job_id uuid, run_token bigint, outcome text, error_code text, error_message text, retryable boolean, detail jsonb,
        segments integer[]
      )
      where not settled @> jsonb_build_array(jsonb_build_object('job_id', w.job_id, 'run_token', w.run_token))
      order by w.job_id
    loop
      if wish.outcome = 'completed' then
        select s.verdict, s.job into reply
        from videojobs.settled_before(wish.job_id, wish.run_token, 'completed') s;
      elsif wish.outcome = 'split' then
        select s.verdict, s.job into reply
        from videojobs.split_job(wish.job_id, wish.run_token, wish.segments) s;
      else
        select g.verdict, g.job into reply
        from videojobs.give_up_lease(
          wish.job_id, wish.run_token,
          case
            when wish.outcome in ('released', 'cancelled') then wish.outcome
            when coalesce(wish.retryable, true) then 'retried'
            else 'failed'
          end::public.video_job_event_type,
          coalesce(wish.error_code, 'processing_failed'), wish.error_message, coalesce(wish.detail, '{}')
        ) g;
      end if;
      settled := settled || jsonb_build_object(
        'job_id', wish.job_id, 'run_token', wish.run_token, 'verdict', reply.verdict, 'job', reply.job);
    end loop;
  end if;
  leased := '[]';
  if claim is not null then
    select c.* into wish
    from jsonb_to_record(claim) c (
      worker text, claim_key uuid, queues text[], pipelines text[], job_limit integer,
      lease_seconds double precision, hard_limit_seconds double precision
    );
    leased := videojobs.claim_jobs(
      wish.worker, wish.claim_key, coalesce(wish.queues, array['default']), wish.pipelines, wish.job_limit,
      coalesce(wish.lease_seconds, 60), wish.hard_limit_seconds);
  end if;
  return next;
end
$$;

-- The wait before the next attempt: doubling from the base, capped, and spread over its upper half
-- so that jobs that failed together do not come back together. A job may have its own base and cap.
drop function videojobs.retry_delay(integer);
create function videojobs.retry_delay(job public.video_jobs) returns interval
language sql volatile set search_path = ''
as $$
  select make_interval(secs =>
    least(
      coalesce(retry_delay.job.retry_base_seconds, s.retry_base_seconds)
        * 2 ^ least(greatest(retry_delay.job.attempt, 1) - 1, 30),
      coalesce(retry_delay.job.retry_cap_seconds, greatest(s.retry_cap_seconds, retry_delay.job.retry_base_seconds)))
    * (0.5 + random() / 2))
  from videojobs.settings s
$$;

-- Ends the attempt of the holder of the lease with the given event, or says who settled it.
create or replace function videojobs.give_up_lease(
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
    case event when 'retried' then videojobs.retry_delay(stored) else '0' end,
    case when event in ('retried', 'failed') then give_up_lease.error_code end,
    case when event in ('retried', 'failed') then give_up_lease.error_message end,
    give_up_lease.data
  ) e;
end
$$;

-- Ends a running attempt in any way but completion. The lease has been deleted by the caller: that
-- row was the lock. What the event means for the status stands in the table of transitions.
create or replace function videojobs.end_attempt(
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
    and j.status::text = 'processing'
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
  end if;
  return job;
end
$$;

-- Takes jobs back from workers that went silent, ran into their hard deadline, or did not stop
-- within the grace time. Deleting the lease is the lock, so nothing that finishes at the same
-- moment is overwritten; revoking bumps the token, so that the old attempt's writes are refused.
-- In the order of ids, as bulk updates go, so that the two cannot lock each other out.
create or replace function public.recover_video_jobs(row_limit integer default 100)
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
  insert into videojobs.leases (
    job_id, run_token, worker_id, claim_key, claimed_at, expires_at, tenant_id, queue, pipeline)
  select
    j.id, j.run_token, coalesce(j.worker_id, 'unknown'), gen_random_uuid(),
    least(j.started_at, moment - interval '2 seconds'), moment - interval '1 second',
    j.tenant_id, j.queue, j.pipeline
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
    where j.id = ended.job_id and j.run_token = ended.run_token and j.status::text = 'processing'
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
      retry_in => case outcome when 'retried' then videojobs.retry_delay(job) else '0' end,
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

-- Keeps the leases of a worker's jobs, all in one call, and takes their progress. The wide row of
-- a job is written only when its progress moved by a whole percent or its stage changed. With the
-- worker's name the reply also carries the order to drain; a worker without jobs hears it in a row
-- without a job.
drop function public.heartbeat_video_jobs(jsonb, double precision);
create function public.heartbeat_video_jobs(
  beats jsonb, lease_seconds double precision default 60, worker text default null, facts jsonb default null
)
returns table (
  job_id uuid, run_token bigint, verdict public.video_job_verdict, expires_at timestamptz, drain boolean
)
language plpgsql set search_path = ''
  set plan_cache_mode = 'force_generic_plan' set enable_seqscan = off set enable_bitmapscan = off
  set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  moment timestamptz := clock_timestamp();
  reply record;
  seen timestamptz;
begin
  drain := false;
  if worker is not null then
    select w.seen_at, w.drain_requested_at is not null into seen, drain
    from videojobs.workers w
    where w.worker_id = worker;
    drain := coalesce(drain, false);
    if not found or seen < moment - interval '1 minute' or facts is not null then
      insert into videojobs.workers (worker_id, facts)
      values (worker, coalesce(facts, '{}'))
      on conflict on constraint workers_pkey
        do update set seen_at = clock_timestamp(), facts = coalesce(heartbeat_video_jobs.facts, workers.facts);
    end if;
    if drain and jsonb_array_length(beats) = 0 then
      verdict := 'ok';
      return next;
    end if;
  end if;

  if beats @? '$[*].checkpoint' then
    insert into videojobs.checkpoints (job_id, checkpoint)
    select distinct on (b.job_id) b.job_id, b.checkpoint
    from jsonb_to_recordset(beats) b (job_id uuid, run_token bigint, checkpoint jsonb)
    join videojobs.leases l on l.job_id = b.job_id and l.run_token = b.run_token
    where b.checkpoint is not null and (l.hard_deadline is null or l.hard_deadline > moment)
    on conflict on constraint checkpoints_pkey
      do update set checkpoint = excluded.checkpoint, saved_at = clock_timestamp();
  end if;

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
      join public.video_jobs j on j.id = b.job_id and j.run_token = b.run_token and j.status::text = 'processing'
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
        and j.status::text = 'processing'
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
      perform pg_notify('videojobs_changes', reply.job_id::text)
      where (select s.announces_changes from videojobs.settings s);
    end if;
    job_id := reply.job_id;
    run_token := reply.run_token;
    verdict := reply.verdict;
    expires_at := reply.expires_at;
    return next;
  end loop;
end
$$;

-- A worker's note in the history of the job that it holds. Any other worker's is refused.
create function public.log_video_job(job_id uuid, run_token bigint, message text, detail jsonb default '{}')
returns table (verdict public.video_job_verdict, job jsonb)
language plpgsql set search_path = ''
  set plan_cache_mode = 'force_generic_plan' set enable_seqscan = off set enable_bitmapscan = off
  set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  detail := coalesce(detail, '{}');
  if octet_length(detail::text) > 16384 or jsonb_typeof(detail) <> 'object' then
    raise exception using errcode = 'VJ004', message = 'detail: an object of up to 16 kB';
  end if;
  return query
  with held as materialized (
    select l.worker_id, j.cancel_requested_at
    from videojobs.leases l
    join public.video_jobs j on j.id = l.job_id and j.run_token = l.run_token
    where l.job_id = log_video_job.job_id and l.run_token = log_video_job.run_token
    for key share of l
  ), told as (
    insert into public.video_job_events (job_id, type, run_token, worker_id, data)
    select
      log_video_job.job_id, 'logged', log_video_job.run_token, held.worker_id,
      log_video_job.detail || jsonb_build_object('message', left(log_video_job.message, 4000))
    from held
  )
  select
    case when held.cancel_requested_at is null then 'ok' else 'cancel_requested' end::public.video_job_verdict,
    null::jsonb
  from held;
  if not found then
    return query
    select s.verdict, s.job
    from videojobs.settled_before(log_video_job.job_id, log_video_job.run_token, 'logged') s;
  end if;
end
$$;

-- Queued: cancelled at once. Running: its worker is called by its name, and hears of it at once if it
-- listens, else with its next heartbeat. Cancelled or asked to stop before: nothing changes, so that
-- repeating is harmless.
create or replace function videojobs.cancel_job(job_id uuid, reason text) returns setof public.video_jobs
language plpgsql security definer set search_path = ''
as $$
declare
  job public.video_jobs;
begin
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
  select c.* into job from changed c;
  if found then
    if job.status = 'processing' then
      perform pg_notify('videojobs_queue', job.worker_id);
    end if;
    return next job;
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
create or replace function videojobs.retry_job(job_id uuid, retry_key uuid) returns setof public.video_jobs
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
      and not exists (
        select
        from public.video_job_events e
        where e.job_id = j.id and e.type = 'requeued' and e.data ->> 'retry_key' = retry_job.retry_key::text
      )
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
  ), forgotten as (
    delete from videojobs.checkpoints c using old where c.job_id = old.id
  )
  select c.* from changed c;
  if found then
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

-- These end attempts too.
alter function public.fail_video_job(uuid, bigint, text, text, boolean, jsonb)
  set plan_cache_mode = 'force_generic_plan' set enable_seqscan = off set enable_bitmapscan = off
  set enable_hashjoin = off set enable_mergejoin = off;
alter function public.release_video_job(uuid, bigint)
  set plan_cache_mode = 'force_generic_plan' set enable_seqscan = off set enable_bitmapscan = off
  set enable_hashjoin = off set enable_mergejoin = off;
alter function public.confirm_video_job_cancel(uuid, bigint)
  set plan_cache_mode = 'force_generic_plan' set enable_seqscan = off set enable_bitmapscan = off
  set enable_hashjoin = off set enable_mergejoin = off;

revoke all on all functions in schema videojobs from public;
grant execute on function
  videojobs.lease_jobs(uuid[], text, uuid, double precision, double precision),
  videojobs.leases_of_claim(text, uuid),
  videojobs.queued_pipelines(text, smallint),
  videojobs.tenants_in_turn(text, smallint, text[], integer, timestamptz, uuid[]),
  videojobs.end_turn(text, smallint, uuid),
  videojobs.choose_jobs(text, text[], integer, timestamptz, boolean, uuid[]),
  videojobs.room(text, text),
  videojobs.lock_of_limit(text, text),
  videojobs.choose_within_limits(text[], text[], timestamptz, boolean),
  videojobs.claim_ready(text, uuid, text[], text[], integer, double precision, double precision, boolean),
  videojobs.claim_jobs(text, uuid, text[], text[], integer, double precision, double precision),
  videojobs.is_fair(text),
  videojobs.complete_attempts(jsonb),
  videojobs.retry_delay(public.video_jobs)
to service_role;

revoke all on function
  public.settle_video_jobs(jsonb, jsonb),
  public.heartbeat_video_jobs(jsonb, double precision, text, jsonb),
  public.log_video_job(uuid, bigint, text, jsonb)
from public, anon, authenticated, service_role;
grant execute on function
  public.settle_video_jobs(jsonb, jsonb),
  public.heartbeat_video_jobs(jsonb, double precision, text, jsonb),
  public.log_video_job(uuid, bigint, text, jsonb)
to service_role;
