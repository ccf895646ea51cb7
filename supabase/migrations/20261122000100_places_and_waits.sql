-- Where a job stands: in the queue, or in a worker's hands; and for how long queues have been waiting.

-- So many due jobs are before the given one, by priority and time. Tenants take turns within a priority,
-- so it may come sooner or later than that. Reads at most a thousand index entries and makes at most a
-- hundred probes, one for each priority and pipeline; beyond that, the answer says that it is not exact.
create function videojobs.jobs_ahead(job public.video_jobs, out jobs_ahead integer, out is_exact boolean)
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
as $$
declare
  most constant integer := 1000;
  probes integer := 100;
  lane text;
  before timestamptz;
  found_here bigint;
begin
  jobs_ahead := 0;
  is_exact := true;
  for level in reverse 9..job.priority::integer loop
    before := case when level = job.priority then job.run_at else clock_timestamp() end;
    lane := '';
    loop
      -- The index's next pipeline, however many jobs this one has.
      select j.pipeline into lane
      from public.video_jobs j
      where j.status = 'queued' and j.queue = job.queue and j.priority = level and j.pipeline > lane
      order by j.pipeline
      limit 1;
      exit when lane is null;
      probes := probes - 1;
      if probes < 0 or jobs_ahead >= most then
        is_exact := false;
        return;
      end if;
      select count(*) into found_here
      from (
        select
        from public.video_jobs j
        where j.status = 'queued' and j.queue = job.queue and j.priority = level and j.pipeline = lane
          and (j.run_at, j.seq) < (before, job.seq)
        limit most - jobs_ahead
      ) earlier;
      jobs_ahead := jobs_ahead + found_here::integer;
    end loop;
  end loop;
  is_exact := jobs_ahead < most;
end
$$;

-- Definer, since the queue and the leases are not for users; it tells of jobs alone that the caller may see.
create function videojobs.job_place(job_id uuid)
returns table (
  status public.video_job_status, jobs_ahead integer, is_exact boolean, is_due boolean,
  claimed_at timestamptz, expires_at timestamptz, hard_deadline timestamptz
)
language plpgsql stable security definer set search_path = ''
as $$
declare
  job public.video_jobs;
  ahead record;
begin
  select j.* into job from public.video_jobs j where j.id = job_place.job_id;
  if not found or not videojobs.may_see(job.user_id, job.team_id) then
    return;
  elsif job.status = 'queued' then
    select a.* into ahead from videojobs.jobs_ahead(job) a;
    return query
    select
      job.status, ahead.jobs_ahead, ahead.is_exact, job.run_at <= clock_timestamp(),
      null::timestamptz, null::timestamptz, null::timestamptz;
  else
    return query
    select job.status, null::integer, null::boolean, null::boolean, l.claimed_at, l.expires_at, l.hard_deadline
    from (values (job.id)) this (id)
    left join videojobs.leases l on l.job_id = this.id;
  end if;
end
$$;

-- No row where there is no such job, or none that the caller may see, or it is archived.
create function public.get_video_job_place(job_id uuid)
returns table (
  status public.video_job_status, jobs_ahead integer, is_exact boolean, is_due boolean,
  claimed_at timestamptz, expires_at timestamptz, hard_deadline timestamptz
)
language sql stable set search_path = ''
as $$ select p.* from videojobs.job_place(get_video_job_place.job_id) p $$;

-- The queues and pipelines whose jobs are due, longest waiting first; see videojobs.waiting().
create function public.list_video_job_waits()
returns table (queue text, pipeline text, oldest_due_seconds double precision, is_served boolean)
language sql stable set search_path = ''
as $$
  select w.queue, w.pipeline, w.seconds, w.is_served
  from jsonb_to_recordset(videojobs.waiting())
    w (queue text, pipeline text, seconds double precision, is_served boolean)
$$;

revoke all on function
  videojobs.jobs_ahead(public.video_jobs), videojobs.job_place(uuid),
  public.get_video_job_place(uuid), public.list_video_job_waits()
from public, anon, authenticated, service_role;
grant execute on function videojobs.job_place(uuid), public.get_video_job_place(uuid)
to authenticated, service_role;
grant execute on function videojobs.waiting(), videojobs.live_workers(), public.list_video_job_waits()
to service_role;
