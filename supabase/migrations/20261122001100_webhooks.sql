-- Webhooks: who is told when a job has ended, and what has become of each message. A message is written
-- in the transaction that ends the job, and sent from here by whoever claims it: at least once.

create table videojobs.webhook_endpoints (
  id uuid not null,
  kind text not null,
  url text not null,
  address text not null,
  secret text,
  events text[] not null,
  tenant_id uuid,
  pipeline text,
  is_enabled boolean not null default true,
  created_at timestamptz not null default clock_timestamp(),
  constraint webhook_endpoints_pkey primary key (id),
  constraint webhook_endpoints_kind_is_known check (kind in ('standard', 'apprise')),
  constraint webhook_endpoints_url_is_short check (length(url) between 1 and 2048),
  constraint webhook_endpoints_address_is_short check (length(address) between 1 and 300),
  constraint webhook_endpoints_standard_ones_have_a_secret check ((kind = 'standard') = (secret is not null)),
  constraint webhook_endpoints_events_are_known check (
    cardinality(events) > 0 and events <@ array['job.completed', 'job.failed', 'job.cancelled'])
);
comment on table videojobs.webhook_endpoints is 'Who is told when jobs end. The url and the secret are for the sender alone.';
comment on column videojobs.webhook_endpoints.address is 'What people are shown of the url: nothing that could be a secret.';

create table videojobs.webhook_deliveries (
  id uuid not null default videojobs.uuid7(),
  seq bigint not null generated always as identity,
  endpoint_id uuid not null,
  job_id uuid,
  event text not null,
  payload jsonb not null,
  state text not null default 'pending',
  attempts smallint not null default 0,
  created_at timestamptz not null default clock_timestamp(),
  next_try_at timestamptz not null default clock_timestamp(),
  claim uuid,
  ended_at timestamptz,
  last_status integer,
  last_error text,
  constraint webhook_deliveries_pkey primary key (id),
  constraint webhook_deliveries_state_is_known check (state in ('pending', 'delivered', 'dead')),
  constraint webhook_deliveries_ended_iff_not_pending check ((state = 'pending') = (ended_at is null)),
  constraint webhook_deliveries_last_error_is_short check (length(last_error) <= 500)
) with (
  autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
comment on table videojobs.webhook_deliveries is 'Each message to an endpoint: waiting, delivered, or given up (dead).';
-- What an endpoint has to be told next.
create index webhook_deliveries_due on videojobs.webhook_deliveries (endpoint_id, next_try_at) where state = 'pending';
-- Whether an earlier message about the same job still waits: it goes first.
create index webhook_deliveries_in_order on videojobs.webhook_deliveries (endpoint_id, job_id, seq) where state = 'pending';
-- An endpoint's log, newest first; and upkeep, oldest first.
create index webhook_deliveries_of_endpoint on videojobs.webhook_deliveries (endpoint_id, seq desc);
create index webhook_deliveries_by_age on videojobs.webhook_deliveries (seq);
revoke all on videojobs.webhook_endpoints, videojobs.webhook_deliveries
from public, anon, authenticated, service_role;
grant select, insert, update, delete on videojobs.webhook_endpoints, videojobs.webhook_deliveries to service_role;

-- What a message says of a job. Neither its source, whose address may be a secret, nor its settings.
create function videojobs.webhook_facts(job public.video_jobs) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'job_id', job.id, 'user_id', job.user_id, 'team_id', job.team_id, 'pipeline', job.pipeline, 'queue', job.queue,
    'status', job.status, 'attempt', job.attempt, 'original_filename', job.original_filename,
    'resource_type', job.resource_type, 'resource_id', job.resource_id, 'resource_name', job.resource_name,
    'resource_parent_id', job.resource_parent_id, 'output_files', job.output_files,
    'error_code', job.error_code, 'error_message', job.error_message,
    'created_at', job.created_at, 'started_at', job.started_at, 'completed_at', job.completed_at,
    'cancelled_at', job.cancelled_at, 'processing_time', job.processing_time)
$$;

-- Wakes those who watch, and writes what endpoints are to be told. Without endpoints that costs a look
-- at an empty table for each statement that writes history. Segments are nobody's to be told of.
create or replace function videojobs.announce_video_job_events() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform pg_notify('videojobs_changes', changed.job_id::text)
  from (select distinct e.job_id from new_events e where e.type <> 'created') changed
  where (select s.announces_changes from videojobs.settings s);

  if exists (select from videojobs.webhook_endpoints w where w.is_enabled) then
    insert into videojobs.webhook_deliveries (endpoint_id, job_id, event, payload)
    select
      w.id, j.id, said.event,
      jsonb_build_object('type', said.event, 'timestamp', e.at, 'data', videojobs.webhook_facts(j))
    from new_events e
    join (
      values ('completed', 'job.completed'), ('failed', 'job.failed'), ('lost', 'job.failed'), ('cancelled', 'job.cancelled')
    ) said (type, event) on said.type = e.type::text
    join public.video_jobs j on j.id = e.job_id and j.parent_job_id is null
    join videojobs.webhook_endpoints w on
      w.is_enabled and said.event = any (w.events)
      and (w.tenant_id is null or w.tenant_id = j.tenant_id)
      and (w.pipeline is null or w.pipeline = j.pipeline)
    order by e.id, w.id;
    if found then
      perform pg_notify('videojobs_webhooks', '');
    end if;
  end if;
  return null;
end
$$;

-- An endpoint as people see it.
create function public.list_video_job_webhooks()
returns table (
  id uuid, kind text, address text, events text[], tenant_id uuid, pipeline text, is_enabled boolean,
  created_at timestamptz, pending bigint, dead bigint
)
language sql stable set search_path = ''
as $$
  select
    w.id, w.kind, w.address, w.events, w.tenant_id, w.pipeline, w.is_enabled, w.created_at,
    (select count(*) from (select from videojobs.webhook_deliveries d where d.endpoint_id = w.id and d.state = 'pending' limit 10000) d),
    (select count(*) from (select from videojobs.webhook_deliveries d where d.endpoint_id = w.id and d.state = 'dead' limit 10000) d)
  from videojobs.webhook_endpoints w
  order by w.created_at, w.id
$$;

-- Adds it, or changes the one that has the id. The secret of one that is there stays.
create function public.add_video_job_webhook(
  id uuid, kind text, url text, address text, secret text, events text[],
  tenant_id uuid default null, pipeline text default null, is_enabled boolean default true
) returns table (endpoint_id uuid)
language plpgsql set search_path = ''
as $$
begin
  return query
  insert into videojobs.webhook_endpoints as w (id, kind, url, address, secret, events, tenant_id, pipeline, is_enabled)
  values (
    add_video_job_webhook.id, add_video_job_webhook.kind, add_video_job_webhook.url, add_video_job_webhook.address,
    add_video_job_webhook.secret, add_video_job_webhook.events, add_video_job_webhook.tenant_id,
    add_video_job_webhook.pipeline, add_video_job_webhook.is_enabled)
  on conflict on constraint webhook_endpoints_pkey do update set is_enabled = excluded.is_enabled
  returning w.id;
exception
  when check_violation or not_null_violation then
    raise exception using errcode = 'VJ004', message = format('webhook: %s', sqlerrm);
end
$$;

-- Forgets the endpoint and its log.
create function public.remove_video_job_webhook(id uuid) returns table (removed boolean)
language plpgsql set search_path = ''
as $$
begin
  delete from videojobs.webhook_endpoints w where w.id = remove_video_job_webhook.id;
  removed := found;
  delete from videojobs.webhook_deliveries d where d.endpoint_id = remove_video_job_webhook.id;
  return next;
end
$$;

-- The log, newest first.
create function public.list_video_job_webhook_deliveries(
  endpoint_id uuid default null, state text default null, row_limit integer default 100
) returns table (
  id uuid, endpoint_id uuid, job_id uuid, event text, state text, attempts smallint, created_at timestamptz,
  next_try_at timestamptz, ended_at timestamptz, last_status integer, last_error text
)
language sql stable set search_path = ''
as $$
  select
    d.id, d.endpoint_id, d.job_id, d.event, d.state, d.attempts, d.created_at,
    case d.state when 'pending' then d.next_try_at end, d.ended_at, d.last_status, d.last_error
  from videojobs.webhook_deliveries d
  where (list_video_job_webhook_deliveries.endpoint_id is null or d.endpoint_id = list_video_job_webhook_deliveries.endpoint_id)
    and (list_video_job_webhook_deliveries.state is null or d.state = list_video_job_webhook_deliveries.state)
  order by d.seq desc
  limit least(list_video_job_webhook_deliveries.row_limit, 500)
$$;

-- A message for trying it out; or an old one once more, with all its attempts.
create function public.send_video_job_webhook(endpoint_id uuid default null, delivery_id uuid default null)
returns table (id uuid)
language plpgsql set search_path = ''
as $$
begin
  if send_video_job_webhook.delivery_id is not null then
    return query
    update videojobs.webhook_deliveries d
    set state = 'pending', attempts = 0, next_try_at = clock_timestamp(), ended_at = null, claim = null
    where d.id = send_video_job_webhook.delivery_id
      and exists (select from videojobs.webhook_endpoints w where w.id = d.endpoint_id)
    returning d.id;
  else
    return query
    insert into videojobs.webhook_deliveries as d (endpoint_id, event, payload)
    select w.id, 'webhook.test', jsonb_build_object(
      'type', 'webhook.test', 'timestamp', clock_timestamp(), 'data', jsonb_build_object('endpoint_id', w.id))
    from videojobs.webhook_endpoints w
    where w.id = send_video_job_webhook.endpoint_id
    returning d.id;
  end if;
  perform pg_notify('videojobs_webhooks', '');
end
$$;

-- Messages that are due, claimed for a while: what is not settled by then is claimed again. Some of each
-- endpoint, so that one with many, or with a slow server, does not keep the others waiting; those that are
-- busy have none. Messages about one job go to an endpoint in their order.
create function public.claim_video_job_webhooks(
  row_limit integer default 16, per_endpoint integer default 4, busy uuid[] default '{}',
  lease_seconds double precision default 60, max_attempts integer default 10
) returns table (
  id uuid, claim uuid, endpoint_id uuid, kind text, url text, address text, secret text, event text, payload jsonb,
  attempts smallint
)
language plpgsql set search_path = ''
as $$
begin
  return query
  with due as materialized (
    select head.id
    from videojobs.webhook_endpoints w
    cross join lateral (
      select d.id, d.next_try_at
      from videojobs.webhook_deliveries d
      where d.endpoint_id = w.id and d.state = 'pending' and d.next_try_at <= clock_timestamp()
        and d.attempts < claim_video_job_webhooks.max_attempts
        and not exists (
          select
          from videojobs.webhook_deliveries earlier
          where earlier.endpoint_id = d.endpoint_id and earlier.job_id = d.job_id and earlier.state = 'pending'
            and earlier.seq < d.seq
        )
      order by d.next_try_at
      limit per_endpoint
      for no key update skip locked
    ) head
    where w.is_enabled and w.id <> all (busy)
    order by head.next_try_at
    limit row_limit
  )
  update videojobs.webhook_deliveries d
  set
    attempts = d.attempts + 1, claim = gen_random_uuid(),
    next_try_at = clock_timestamp() + make_interval(secs => lease_seconds)
  from due, videojobs.webhook_endpoints w
  where d.id = due.id and w.id = d.endpoint_id
  returning d.id, d.claim, d.endpoint_id, w.kind, w.url, w.address, w.secret, d.event, d.payload, d.attempts;
end
$$;

-- What became of a claimed message. Only its claim's holder is heard: who was too slow changes nothing.
-- Without success it is tried again after 5 s, 20 s, 80 s and so on up to half a day, less up to a half of
-- it by chance; after max_attempts it is dead. "gone" also ends the endpoint, which has asked for it.
create function public.settle_video_job_webhook(
  id uuid, claim uuid, is_delivered boolean, status integer default null, error text default null,
  is_gone boolean default false, retry_after_seconds double precision default null, max_attempts integer default 10
) returns table (state text)
language plpgsql set search_path = ''
as $$
declare
  settled videojobs.webhook_deliveries;
begin
  update videojobs.webhook_deliveries d
  set
    state = outcome.state, claim = null, last_status = settle_video_job_webhook.status,
    last_error = left(settle_video_job_webhook.error, 500),
    ended_at = case when outcome.state <> 'pending' then clock_timestamp() end,
    next_try_at = clock_timestamp() + make_interval(secs => least(43200, greatest(
      coalesce(retry_after_seconds, 0),
      least(43200, 5 * power(4, least(d.attempts, 10) - 1)) * (0.5 + random() / 2))))
  from (
    select case
      when is_delivered then 'delivered'
      when is_gone or p.attempts >= settle_video_job_webhook.max_attempts then 'dead'
      else 'pending'
    end as state
    from videojobs.webhook_deliveries p
    where p.id = settle_video_job_webhook.id
  ) outcome
  where d.id = settle_video_job_webhook.id and d.claim = settle_video_job_webhook.claim and d.state = 'pending'
  returning d.* into settled;
  if is_gone and settled.id is not null then
    update videojobs.webhook_endpoints w set is_enabled = false where w.id = settled.endpoint_id;
  end if;
  state := coalesce(settled.state, 'lost');
  return next;
end
$$;

-- A month of the log is kept. Messages whose sender died with their last attempt are dead. In bounded steps.
create function videojobs.tidy_webhooks(row_limit integer default 5000) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  removed integer;
begin
  update videojobs.webhook_deliveries d
  set state = 'dead', ended_at = clock_timestamp(), claim = null,
    last_error = coalesce(d.last_error, 'the sender ended before it could tell what came of it')
  from videojobs.webhook_endpoints w
  where d.endpoint_id = w.id and d.state = 'pending' and d.attempts >= 10 and d.next_try_at <= clock_timestamp();
  with oldest as materialized (
    select d.id, d.created_at from videojobs.webhook_deliveries d order by d.seq limit row_limit
  )
  delete from videojobs.webhook_deliveries d
  using oldest o
  where d.id = o.id and o.created_at < clock_timestamp() - interval '30 days';
  get diagnostics removed = row_count;
  return removed;
end
$$;

-- As before; deletions that nobody asks for any more, and old messages, are forgotten too.
create or replace function public.maintain_video_jobs(row_limit integer default 500)
returns table (recovered jsonb, folded integer, archived integer, dropped jsonb)
language plpgsql set search_path = ''
as $$
declare
  settings videojobs.settings;
  moment timestamptz := clock_timestamp();
begin
  select coalesce(jsonb_agg(to_jsonb(r)), '[]') into recovered from public.recover_video_jobs(row_limit) r;
  folded := videojobs.fold_tallies();
  archived := 0;
  dropped := '[]';
  -- The rest by one at a time.
  if not pg_try_advisory_xact_lock(hashtextextended('videojobs upkeep', 0)) then
    return next;
    return;
  end if;

  select s.* into settings from videojobs.settings s;
  perform videojobs.make_partitions();
  perform videojobs.forget_deleted_jobs();
  perform videojobs.tidy_webhooks();
  select count(*)::integer into archived
  from (values
    ('completed'::public.video_job_status, settings.archive_completed_after_days),
    ('failed', settings.archive_failed_after_days),
    ('cancelled', settings.archive_cancelled_after_days)
  ) rule (status, days)
  cross join lateral videojobs.archive_jobs(rule.status, make_interval(days => rule.days), row_limit)
  where rule.days is not null;
  select coalesce(jsonb_agg(d.name), '[]') into dropped
  from (values ('events', settings.drop_events_after_days), ('archive', settings.drop_archive_after_days)) rule (history, days)
  cross join lateral videojobs.drop_months(rule.history, moment - make_interval(days => rule.days)) d (name)
  where rule.days is not null;
  delete from videojobs.workers w
  where w.seen_at < moment - interval '1 day'
    and not exists (select from videojobs.leases l where l.worker_id = w.worker_id);
  return next;
end
$$;

revoke all on function videojobs.webhook_facts(public.video_jobs), videojobs.tidy_webhooks(integer)
from public, anon, authenticated, service_role;
grant execute on function videojobs.tidy_webhooks(integer) to service_role;
revoke all on function
  public.list_video_job_webhooks(),
  public.add_video_job_webhook(uuid, text, text, text, text, text[], uuid, text, boolean),
  public.remove_video_job_webhook(uuid),
  public.list_video_job_webhook_deliveries(uuid, text, integer),
  public.send_video_job_webhook(uuid, uuid),
  public.claim_video_job_webhooks(integer, integer, uuid[], double precision, integer),
  public.settle_video_job_webhook(uuid, uuid, boolean, integer, text, boolean, double precision, integer)
from public, anon, authenticated, service_role;
grant execute on function
  public.list_video_job_webhooks(),
  public.add_video_job_webhook(uuid, text, text, text, text, text[], uuid, text, boolean),
  public.remove_video_job_webhook(uuid),
  public.list_video_job_webhook_deliveries(uuid, text, integer),
  public.send_video_job_webhook(uuid, uuid),
  public.claim_video_job_webhooks(integer, integer, uuid[], double precision, integer),
  public.settle_video_job_webhook(uuid, uuid, boolean, integer, text, boolean, double precision, integer)
to service_role;
