-- Pages, clearing and bulk changes that read what they answer with and not what is in between; and
-- creating, with the columns that are new.

-- Creates each job, or finds the one that its id or idempotency key names already, and answers in
-- the order of the wishes. The id comes from the client, so that a call whose reply was lost can be
-- repeated without a second job.
create or replace function public.create_video_jobs(jobs jsonb) returns setof public.video_jobs
language plpgsql set search_path = ''
as $$
declare
  made integer;
begin
  perform videojobs.check_owners(jobs);

  insert into public.video_jobs (
    id, user_id, team_id, queue, pipeline, priority, run_at, max_attempts, original_filename,
    original_filesize, source_url, clip_count, quality_preset, enhancement_level, platform_target,
    settings, resource_type, resource_id, resource_name, resource_parent_id, idempotency_key,
    max_runtime_seconds, retry_base_seconds, retry_cap_seconds
  )
  select
    w.id, coalesce(w.user_id, auth.uid()), w.team_id, w.queue, w.pipeline, w.priority,
    coalesce(w.run_at, clock_timestamp()), w.max_attempts, w.original_filename, w.original_filesize,
    w.source_url, w.clip_count, w.quality_preset, w.enhancement_level, w.platform_target, w.settings,
    w.resource_type, w.resource_id, w.resource_name, w.resource_parent_id, w.idempotency_key,
    w.max_runtime_seconds, w.retry_base_seconds, w.retry_cap_seconds
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

-- A query for the ids of the first jobs that match and that the caller may see (or change), in the order
-- of their creation. One branch for each status, and for a user one for each team: every branch then
-- reads its own index in its order. "or" and "in" would make the planner walk all jobs of everybody, or
-- sort all of the user's.
create function videojobs.query_of_jobs(
  filter jsonb, row_count bigint, is_newest_first boolean default true,
  place_created_at timestamptz default null, place_seq bigint default null,
  statuses text[] default null, finished_before timestamptz default null, to_change boolean default false
) returns text
language plpgsql stable set search_path = ''
as $$
declare
  -- What is no object is refused there, in its own words.
  wished text[] := array[videojobs.condition(case jsonb_typeof(filter) when 'object' then filter - 'parent_job_id' else filter end)];
  owners text[] := array['true'];
  caller uuid := auth.uid();
  teams uuid[];
  direction text := case when is_newest_first then 'desc' else 'asc' end;
  branches text;
begin
  statuses := coalesce(
    statuses,
    case jsonb_typeof(filter -> 'status')
      when 'array' then array(select distinct jsonb_array_elements_text(filter -> 'status'))
      when 'string' then array[filter ->> 'status']
    end);
  if not videojobs.is_service() and not videojobs.is_admin() then
    teams := array(select m.team_id from videojobs.memberships(caller) m where m.is_admin or not to_change);
    if (filter ->> 'user_id')::uuid = caller or (filter ->> 'team_id')::uuid = any (teams) then
      null;  -- The filter itself asks for no more than the caller may see.
    else
      owners := format('j.user_id = %L::uuid', caller) || array(
        select format('j.team_id = %L::uuid and j.user_id <> %L::uuid', t.id, caller) from unnest(teams) t (id));
    end if;
    if cardinality(owners) * coalesce(cardinality(statuses), 1) > 50 then
      owners := array[format('(j.user_id = %L::uuid or j.team_id = any (%L::uuid[]))', caller, teams)];
    end if;
  elsif not coalesce(filter, '{}') ?| array['user_id', 'team_id', 'resource_id', 'parent_job_id'] then
    -- What opens the indexes of all jobs: see there.
    wished := wished || case when statuses is null then 'j.seq > 0' else 'j.seq >= 0' end;
  end if;
  -- Segments are no jobs that anybody asked for.
  wished := wished || case
    when filter ? 'parent_job_id' then format('j.parent_job_id = %L::uuid', filter ->> 'parent_job_id')
    else 'j.parent_job_id is null'
  end;
  if place_created_at is not null then
    wished := wished || format(
      '(j.created_at, j.seq) %s (%L::timestamptz, %L::bigint)',
      case when is_newest_first then '<' else '>' end, place_created_at, place_seq);
  end if;
  if finished_before is not null then
    -- A job ends after it was created: the second half is what the index can use.
    wished := wished || format(
      'coalesce(j.completed_at, j.cancelled_at) < %L::timestamptz and j.created_at < %L::timestamptz',
      finished_before, finished_before);
  end if;
  select string_agg(
    format(
      '(select j.id, j.created_at, j.seq from public.video_jobs j where %s order by j.created_at %s, j.seq %s limit %s)',
      concat_ws(
        ' and ', owner.condition, 'j.status = ' || quote_literal(wanted.status) || '::public.video_job_status',
        array_to_string(wished, ' and ')),
      direction, direction, row_count),
    ' union all ')
  into branches
  from unnest(owners) owner (condition)
  cross join unnest(coalesce(statuses, array[null])) wanted (status);
  return format(
    'select j.id from (%s) j order by j.created_at %s, j.seq %s limit %s',
    coalesce(branches, 'select j.id, j.created_at, j.seq from public.video_jobs j where false'),
    direction, direction, row_count);
end
$$;

-- Definer, since behind a policy a status is no condition for an index: its "=" is not leakproof. The
-- policies have the last word on what is read of the jobs that are found.
create function videojobs.find_jobs(
  filter jsonb, row_count bigint, is_newest_first boolean default true,
  place_created_at timestamptz default null, place_seq bigint default null,
  statuses text[] default null, finished_before timestamptz default null, to_change boolean default false
) returns setof uuid
language plpgsql stable rows 50 security definer set search_path = ''
as $$
begin
  return query execute videojobs.query_of_jobs(
    filter, row_count, is_newest_first, place_created_at,
    place_seq, statuses, finished_before, to_change);
end
$$;

create or replace function public.list_video_jobs(
  filter jsonb default '{}',
  row_limit integer default 50,
  row_offset integer default 0,
  before_created_at timestamptz default null,
  before_seq bigint default null
) returns setof public.video_jobs
language plpgsql stable set search_path = ''
as $$
begin
  return query
  select j.*
  from (
    select f.id, f.position
    from videojobs.find_jobs(
      filter, row_limit::bigint + row_offset, place_created_at => before_created_at, place_seq => before_seq
    ) with ordinality f (id, position)
    offset row_offset
  ) found
  cross join lateral (select j.* from public.video_jobs j where j.id = found.id offset 0) j
  order by found.position;
end
$$;

-- Deletes up to row_limit final jobs that the caller sees through its policies and may change.
-- Oldest first.
create or replace function public.clear_video_jobs(
  filter jsonb default '{}',
  finished_before timestamptz default null,
  older_than_seconds double precision default null,
  row_limit integer default 500
) returns table (deleted_id uuid)
language plpgsql set search_path = ''
as $$
declare
  chosen uuid[];
begin
  chosen := array(
    select f.id
    from videojobs.find_jobs(
      filter, row_limit, is_newest_first => false,
      statuses => array(
        select e.status::text
        from unnest(array['completed', 'failed', 'cancelled']) e (status)
        where not coalesce(filter, '{}') ? 'status' or jsonb_path_exists(filter, '$.status[*] ? (@ == $s)', jsonb_build_object('s', e.status))
      ),
      finished_before => least(finished_before, clock_timestamp() - make_interval(secs => older_than_seconds)),
      to_change => true
    ) f (id)
  );
  return query select d.id from videojobs.delete_jobs(chosen) d (id);
end
$$;

-- Sets what the changes say on one job, and tells the outcome. With dry_run it only tells.
create or replace function videojobs.change_job(job_id uuid, changes jsonb, dry_run boolean)
returns table (outcome text, status public.video_job_status)
language plpgsql security definer set search_path = ''
as $$
declare
  job public.video_jobs;
  wish public.video_jobs := jsonb_populate_record(null::public.video_jobs, changes);
  moves boolean;
  reschedules boolean;
begin
  select j.* into job
  from public.video_jobs j
  where j.id = change_job.job_id and videojobs.may_see(j.user_id, j.team_id)
  for no key update;
  if not found then
    return query select 'not_found', null::public.video_job_status;
    return;
  elsif not videojobs.may_change(job.user_id, job.team_id)
    or (wish.priority > (select s.max_user_priority from videojobs.settings s) and not videojobs.is_service())
  then
    return query select 'not_allowed', job.status;
    return;
  end if;

  moves := coalesce(wish.status <> job.status, false)
    and not (wish.status = 'cancelled' and job.status = 'processing' and job.cancel_requested_at is not null);
  reschedules := (changes ?| array['priority', 'run_at', 'queue'])
    and (coalesce(wish.priority, job.priority), coalesce(wish.run_at, job.run_at), coalesce(wish.queue, job.queue))
      is distinct from (job.priority, job.run_at, job.queue);

  if (moves and wish.status = 'cancelled' and job.status not in ('queued', 'processing'))
    or (moves and wish.status = 'queued' and job.status not in ('failed', 'cancelled'))
    -- Only what waits can be rescheduled: waits now, or after this very change.
    or (reschedules and coalesce(wish.status, job.status) <> 'queued')
  then
    return query select 'invalid_transition', job.status;
    return;
  elsif not moves and not reschedules then
    return query select 'unchanged', job.status;
    return;
  elsif dry_run then
    return query
    select 'updated', case when moves and job.status <> 'processing' then wish.status else job.status end;
    return;
  end if;

  if moves and wish.status = 'cancelled' then
    perform videojobs.cancel_job(job.id, null);
  elsif moves then
    perform videojobs.retry_job(job.id, gen_random_uuid());
  end if;
  if reschedules then
    update public.video_jobs j
    set
      priority = coalesce(wish.priority, j.priority),
      run_at = coalesce(wish.run_at, j.run_at),
      queue = coalesce(wish.queue, j.queue)
    where j.id = job.id and j.status = 'queued';
    insert into public.video_job_events (job_id, type, run_token, actor_id, data)
    values (job.id, 'changed', job.run_token, auth.uid(), changes - 'status');
    perform pg_notify('videojobs_queue', coalesce(wish.queue, job.queue))
    where (select s.queue_wakeups from videojobs.settings s) <> 'off';
  end if;
  return query select 'updated', j.status from public.video_jobs j where j.id = job.id;
end
$$;

-- By ids: one answer for each, in their order of id, so that two calls cannot lock each other out.
-- By filter: the next row_limit jobs after the given one that the caller sees, oldest first.
drop function public.bulk_update_video_jobs(jsonb, uuid[], jsonb, boolean, bigint, integer);
create function public.bulk_update_video_jobs(
  changes jsonb,
  job_ids uuid[] default null,
  filter jsonb default null,
  dry_run boolean default false,
  after_created_at timestamptz default null,
  after_seq bigint default null,
  row_limit integer default 500
) returns table (job_id uuid, outcome text, status public.video_job_status, created_at timestamptz, seq bigint)
language plpgsql set search_path = ''
as $$
begin
  if jsonb_typeof(changes) is distinct from 'object'
    or changes - array['status', 'priority', 'run_at', 'queue'] <> '{}'
    or changes ->> 'status' not in ('queued', 'cancelled')
  then
    raise exception using
      errcode = 'VJ004',
      message = 'changes: an object of status (queued or cancelled), priority, run_at and queue';
  end if;
  if job_ids is null then
    job_ids := array(
      select f.id
      from videojobs.find_jobs(
        filter, row_limit, is_newest_first => false, place_created_at => after_created_at, place_seq => after_seq) f (id)
    );
  end if;
  return query
  select w.id, c.outcome, c.status, j.created_at, j.seq
  from (select distinct u.id from unnest(job_ids) u (id) order by u.id) w
  cross join lateral videojobs.change_job(w.id, changes, dry_run) c
  left join public.video_jobs j on j.id = w.id;
end
$$;

revoke all on all functions in schema videojobs from public;
grant execute on function
  videojobs.find_jobs(jsonb, bigint, boolean, timestamptz, bigint, text[], timestamptz, boolean)
to authenticated, service_role;
revoke all on function public.bulk_update_video_jobs(jsonb, uuid[], jsonb, boolean, timestamptz, bigint, integer)
from public, anon, authenticated, service_role;
grant execute on function public.bulk_update_video_jobs(jsonb, uuid[], jsonb, boolean, timestamptz, bigint, integer)
to authenticated, service_role;
