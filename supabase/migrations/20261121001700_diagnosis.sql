-- What the doctor looks at: facts about the database as it is, from catalogs, statistics and small
-- tables, so that it takes the same time with ten jobs and with ten million. What they mean and what to
-- do about them is Python's to say. No text of any query is in them, since those may hold secrets.

-- Who keeps vacuum from removing dead rows, the oldest first. Other vacuums do not, nor do sessions in
-- other databases. Without the rights of pg_read_all_stats the age of other roles' sessions is null.
create function videojobs.vacuum_blockers() returns jsonb
language sql stable set search_path = ''
as $$
  with blocker as (
    select
      'session' as kind, a.pid, a.application_name as name, a.state,
      extract(epoch from clock_timestamp() - a.xact_start)::double precision as age_seconds,
      greatest(age(a.backend_xid), age(a.backend_xmin)) as transactions
    from pg_catalog.pg_stat_activity a
    where (a.backend_xid is not null or a.backend_xmin is not null)
      and a.pid <> pg_backend_pid()
      and (a.datname = current_database() or a.backend_type = 'walsender')
      -- Neither autovacuum, which has no user, nor the helpers of a parallel query.
      and a.usesysid is not null
      and a.leader_pid is null
      and not exists (select from pg_catalog.pg_stat_progress_vacuum v where v.pid = a.pid)
    union all
    select
      'prepared transaction', null, p.gid, 'prepared',
      extract(epoch from clock_timestamp() - p.prepared)::double precision, age(p.transaction)
    from pg_catalog.pg_prepared_xacts p
    where p.database = current_database()
    union all
    select
      'replication slot', s.active_pid, s.slot_name::text, case when s.active then 'active' else 'inactive' end,
      null, age(s.xmin)
    from pg_catalog.pg_replication_slots s
    where s.xmin is not null
    order by 6 desc
    limit 20
  )
  select coalesce(jsonb_agg(to_jsonb(b) order by b.age_seconds desc nulls last), '[]') from blocker b
$$;

-- Dead rows of the tables that are written all the time, and how many of them call for a vacuum.
create function videojobs.hot_tables() returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_agg(jsonb_build_object(
    'name', c.oid::regclass::text,
    'dead_rows', s.n_dead_tup,
    'vacuum_at', round(
      coalesce(option.threshold, current_setting('autovacuum_vacuum_threshold')::double precision)
      + coalesce(option.scale, current_setting('autovacuum_vacuum_scale_factor')::double precision) * greatest(c.reltuples, 0)
    )::bigint,
    'vacuumed_seconds_ago', extract(epoch from clock_timestamp() - greatest(s.last_vacuum, s.last_autovacuum)),
    'is_vacuumed', coalesce(option.is_enabled, true)
  ) order by c.oid)
  from pg_catalog.pg_class c
  join pg_catalog.pg_stat_all_tables s on s.relid = c.oid
  cross join lateral (
    select
      max(o.option_value) filter (where o.option_name = 'autovacuum_vacuum_threshold')::double precision as threshold,
      max(o.option_value) filter (where o.option_name = 'autovacuum_vacuum_scale_factor')::double precision as scale,
      max(o.option_value) filter (where o.option_name = 'autovacuum_enabled')::boolean as is_enabled
    from pg_catalog.pg_options_to_table(c.reloptions) o
  ) option
  where c.oid in (
    'public.video_jobs'::regclass, 'videojobs.leases'::regclass, 'videojobs.tally_changes'::regclass,
    'videojobs.turns'::regclass)
$$;

-- Whether public.teams and public.team_members are the ones that the migrations made.
create function videojobs.has_own_teams() returns boolean
language sql stable set search_path = ''
as $$ select to_regtype('public.video_job_team_role') is not null $$;

-- Indexes that are missing, not what they were, or invalid; one that is being built right now is not.
create function videojobs.index_faults() returns jsonb
language sql stable set search_path = ''
as $$
  with wanted (table_name, name, definition) as (
    values
      ('public.team_members', 'team_members_of_user', 'btree (user_id)'),
      ('public.team_members', 'team_members_pkey', 'UNIQUE btree (team_id, user_id)'),
      ('public.teams', 'teams_pkey', 'UNIQUE btree (id)'),
      ('public.video_job_events', 'video_job_events_pkey', 'UNIQUE btree (job_id, id, at)'),
      ('public.video_jobs', 'video_jobs_by_age', 'btree (created_at DESC, seq DESC) WHERE (seq > 0)'),
      ('public.video_jobs', 'video_jobs_by_status',
        'btree (status, created_at DESC, seq DESC) WHERE ((status <> ''processing''::public.video_job_status) AND (seq >= 0))'),
      ('public.video_jobs', 'video_jobs_idempotency',
        'UNIQUE btree (user_id, idempotency_key) WHERE (idempotency_key IS NOT NULL)'),
      ('public.video_jobs', 'video_jobs_of_parent', 'UNIQUE btree (parent_job_id, ((settings ->> ''only_segment''::text))) WHERE (parent_job_id IS NOT NULL)'),
      ('public.video_jobs', 'video_jobs_of_resource',
        'btree (resource_id, created_at DESC, seq DESC) WHERE (resource_id IS NOT NULL)'),
      ('public.video_jobs', 'video_jobs_of_team',
        'btree (team_id, created_at DESC, seq DESC) WHERE (team_id IS NOT NULL)'),
      ('public.video_jobs', 'video_jobs_of_team_by_status',
        'btree (team_id, status, created_at DESC, seq DESC) WHERE ((team_id IS NOT NULL) AND (status <> ''processing''::public.video_job_status))'),
      ('public.video_jobs', 'video_jobs_of_user', 'btree (user_id, created_at DESC, seq DESC)'),
      ('public.video_jobs', 'video_jobs_of_user_by_status',
        'btree (user_id, status, created_at DESC, seq DESC) WHERE (status <> ''processing''::public.video_job_status)'),
      ('public.video_jobs', 'video_jobs_pkey', 'UNIQUE btree (id)'),
      ('public.video_jobs', 'video_jobs_ready',
        'btree (queue, priority DESC, pipeline, run_at, seq) WHERE (status = ''queued''::public.video_job_status)'),
      ('public.video_jobs', 'video_jobs_ready_by_tenant',
        'btree (queue, priority DESC, pipeline, tenant_id, run_at, seq) WHERE (status = ''queued''::public.video_job_status)'),
      ('public.video_jobs', 'video_jobs_running',
        'btree (started_at) WHERE (status = ''processing''::public.video_job_status)'),
      ('videojobs.archived_jobs', 'archived_jobs_by_age', 'btree (ended_at DESC)'),
      ('videojobs.archived_jobs', 'archived_jobs_of_team', 'btree (team_id, ended_at DESC) WHERE (team_id IS NOT NULL)'),
      ('videojobs.archived_jobs', 'archived_jobs_of_user', 'btree (user_id, ended_at DESC)'),
      ('videojobs.archived_jobs', 'archived_jobs_pkey', 'UNIQUE btree (id, ended_at)'),
      ('videojobs.checkpoints', 'checkpoints_pkey', 'UNIQUE btree (job_id)'),
      ('videojobs.leases', 'leases_of_claim', 'btree (claim_key)'),
      ('videojobs.leases', 'leases_pkey', 'UNIQUE btree (job_id)'),
      ('videojobs.limits', 'limits_pkey', 'UNIQUE btree (kind, key)'),
      ('videojobs.queues', 'queues_pkey', 'UNIQUE btree (queue)'),
      ('videojobs.settings', 'settings_pkey', 'UNIQUE btree (only_row)'),
      ('videojobs.tallies', 'tallies_key',
        'UNIQUE btree (user_id, team_id, queue, pipeline, platform_target, measure, day, bucket) NULLS NOT DISTINCT'),
      ('videojobs.tallies', 'tallies_of_statuses', 'btree (user_id, team_id) WHERE ((day IS NULL) AND (bucket IS NULL))'),
      ('videojobs.tallies', 'tallies_of_team', 'btree (team_id) WHERE ((team_id IS NOT NULL) AND (day IS NULL) AND (bucket IS NULL))'),
      ('videojobs.transitions', 'transitions_pkey', 'UNIQUE btree (from_status, event)'),
      ('videojobs.turns', 'turns_pkey', 'UNIQUE btree (queue, priority)'),
      ('videojobs.workers', 'workers_pkey', 'UNIQUE btree (worker_id)')
  ), stored as materialized (
    select
      i.indrelid::regclass::text as table_name, c.relname::text as name,
      format('%I.%I', n.nspname, c.relname) as full_name,
      regexp_replace(
        pg_get_indexdef(i.indexrelid), '^CREATE (UNIQUE )?INDEX \S+ ON (ONLY )?\S+ USING ', '\1') as definition,
      i.indisvalid and i.indisready as is_valid,
      exists (
        select from pg_catalog.pg_stat_progress_create_index b where b.index_relid = i.indexrelid
      ) as is_being_built
    from pg_catalog.pg_index i
    join pg_catalog.pg_class c on c.oid = i.indexrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'videojobs' or i.indrelid::regclass::text in (select w.table_name from wanted w)
  ), fault as (
    select
      w.table_name, w.name, split_part(w.table_name, '.', 1) || '.' || w.name as full_name,
      case when s.name is null then 'missing' else 'changed' end as fault, w.definition
    from wanted w
    left join stored s on s.table_name = w.table_name and s.name = w.name
    where s.definition is distinct from w.definition
      and (videojobs.has_own_teams() or w.table_name not in ('public.teams', 'public.team_members'))
    union all
    select s.table_name, s.name, s.full_name, 'invalid', s.definition
    from stored s
    where not s.is_valid and not s.is_being_built
  )
  select coalesce(jsonb_agg(to_jsonb(f) order by f.full_name, f.fault), '[]') from fault f
$$;

-- Rights of everybody, of people who are not signed in, and of those who are, beyond what the
-- migrations give: as they would stand in a REVOKE.
create function videojobs.wide_grants() returns jsonb
language sql stable set search_path = ''
as $$
  with role (oid, name) as (
    select 0::oid, 'public'
    union all
    select r.oid, r.rolname::text from pg_catalog.pg_roles r where r.rolname in ('anon', 'authenticated')
  ), relation as materialized (
    select c.oid, c.relname, c.relkind, c.relacl, c.oid::regclass::text as name
    from pg_catalog.pg_class c
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
      and (
        c.relnamespace = 'videojobs'::regnamespace
        or c.oid in (
          'public.video_jobs'::regclass, 'public.video_job_events'::regclass, 'public.archived_video_jobs'::regclass,
          'public.video_jobs_seq_seq'::regclass, 'public.video_job_events_id_seq'::regclass)
        or (videojobs.has_own_teams() and c.oid in (to_regclass('public.teams'), to_regclass('public.team_members')))
      )
  ), thing (target, columns, acl, of_users) as (
    select 'schema videojobs', '', n.nspacl, array['USAGE']
    from pg_catalog.pg_namespace n
    where n.nspname = 'videojobs'
    union all
    select
      case r.relkind when 'S' then 'sequence ' else 'table ' end || r.name, '', r.relacl,
      case when r.name in (
        'public.video_jobs', 'public.video_job_events', 'public.archived_video_jobs', 'public.teams',
        'public.team_members', 'videojobs.archived_jobs', 'videojobs.job_measures'
      ) then array['SELECT'] end
    from relation r
    union all
    select
      'table ' || r.name, format(' (%I)', a.attname), a.attacl,
      case when r.name = 'public.video_jobs' and a.attname in (
        'id', 'user_id', 'team_id', 'queue', 'pipeline', 'priority', 'run_at', 'max_attempts', 'original_filename',
        'original_filesize', 'source_url', 'clip_count', 'quality_preset', 'enhancement_level', 'platform_target',
        'settings', 'resource_type', 'resource_id', 'resource_name', 'resource_parent_id', 'idempotency_key',
        'max_runtime_seconds', 'retry_base_seconds', 'retry_cap_seconds'
      ) then array['SELECT', 'INSERT'] end
    from relation r
    join pg_catalog.pg_attribute a on a.attrelid = r.oid and not a.attisdropped
    where a.attacl is not null
    union all
    -- Without a list of rights, everybody may call a function.
    select
      'function ' || p.oid::regprocedure::text, '', coalesce(p.proacl, acldefault('f', p.proowner)),
      case when p.proname in (
        'bulk_update_video_jobs', 'cancel_video_job', 'clear_video_jobs', 'create_video_jobs', 'delete_video_job',
        'get_video_job', 'get_video_job_stats', 'list_video_job_events', 'list_video_jobs', 'retry_video_job',
        'archived_job', 'are_readable_settings', 'are_seconds_within_a_week', 'are_short_texts', 'cancel_job',
        'change_job', 'check_owners', 'condition', 'delete_job', 'delete_jobs', 'is_admin', 'is_service',
        'job_of_wish', 'may_change', 'my_admin_team_ids', 'my_team_ids', 'find_jobs', 'retry_job', 'tallied',
        'uuid7'
      ) then array['EXECUTE'] end
    from pg_catalog.pg_proc p
    where p.pronamespace = 'videojobs'::regnamespace
      or (p.pronamespace = 'public'::regnamespace and p.proname in (
        'archive_video_jobs', 'bulk_update_video_jobs', 'cancel_video_job', 'check_video_jobs', 'claim_video_jobs',
        'clear_video_jobs', 'complete_video_job', 'configure_video_jobs', 'confirm_video_job_cancel',
        'create_video_jobs', 'delete_video_job', 'diagnose_video_jobs', 'drain_video_job_worker', 'fail_video_job',
        'find_stuck_video_jobs', 'get_video_job', 'get_video_job_stats', 'heartbeat_video_jobs',
        'list_video_job_events', 'list_video_job_workers', 'list_video_jobs', 'log_video_job', 'maintain_video_jobs',
        'probe_video_job_rows', 'reconcile_video_job_stats', 'recover_video_jobs', 'release_video_job',
        'remove_video_job_worker', 'retry_video_job', 'set_video_job_limit', 'set_video_job_queue',
        'settle_video_jobs', 'start_video_job', 'update_video_job_status'
      ))
  ), wide as (
    select t.target, role.name as role, string_agg(distinct g.privilege_type || t.columns, ', ') as privileges
    from thing t
    cross join lateral aclexplode(t.acl) g
    join role on role.oid = g.grantee
    where role.name <> 'authenticated' or g.privilege_type <> all (coalesce(t.of_users, array[]::text[]))
    group by t.target, role.name
  )
  select coalesce(jsonb_agg(to_jsonb(w) order by w.target, w.role), '[]') from wide w
$$;

-- Tables whose rows are not guarded by policies, and views that would show them with their owner's rights.
create function videojobs.unguarded_relations() returns jsonb
language sql stable set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object('name', c.oid::regclass::text, 'is_view', c.relkind = 'v')), '[]')
  from pg_catalog.pg_class c
  where (
      c.oid in (
        'public.video_jobs'::regclass, 'public.video_job_events'::regclass, 'videojobs.archived_jobs'::regclass)
      and not c.relrowsecurity
    )
    or (
      videojobs.has_own_teams()
      and c.oid in (to_regclass('public.teams'), to_regclass('public.team_members')) and not c.relrowsecurity
    )
    or (
      c.oid in ('public.archived_video_jobs'::regclass, 'videojobs.job_measures'::regclass)
      and not exists (
        select
        from pg_catalog.pg_options_to_table(c.reloptions) o
        where o.option_name = 'security_invoker' and o.option_value::boolean
      )
    )
$$;

-- Whether PostgREST is told to serve the schema videojobs. Null where its settings are not in the database.
create function videojobs.is_exposed() returns boolean
language sql stable set search_path = ''
as $$
  select bool_or('videojobs' = any (regexp_split_to_array(trim(split_part(c.setting, '=', 2)), '[\s,"]+')))
  from pg_catalog.pg_db_role_setting s
  join pg_catalog.pg_roles r on r.oid = s.setrole and r.rolname = 'authenticator'
  cross join lateral unnest(s.setconfig) c (setting)
  where split_part(c.setting, '=', 1) = 'pgrst.db_schemas'
    and s.setdatabase in (0, (select d.oid from pg_catalog.pg_database d where d.datname = current_database()))
$$;

-- The tables that history is divided into. Rows of the default ones are counted up to ten thousand.
create function videojobs.histories() returns jsonb
language sql stable set search_path = ''
as $$
  with history (name, prefix, rows_without_month) as (
    values
      ('public.video_job_events', 'video_job_events_',
        (select count(*) from (select from videojobs.video_job_events_other limit 10000) o)),
      ('videojobs.archived_jobs', 'archived_jobs_',
        (select count(*) from (select from videojobs.archived_jobs_other limit 10000) o))
  ), present (parent, name) as (
    select i.inhparent, c.relname::text
    from pg_catalog.pg_inherits i
    join pg_catalog.pg_class c on c.oid = i.inhrelid
    where c.relname ~ '_[0-9]{4}_[0-9]{2}$'
  )
  select jsonb_agg(jsonb_build_object(
    'name', h.name,
    'months', (select count(*) from present p where p.parent = h.name::regclass),
    'has_next_month', exists (
      select
      from present p
      where p.parent = h.name::regclass
        and p.name = h.prefix || to_char((clock_timestamp() at time zone 'utc') + interval '1 month', 'YYYY_MM')),
    'rows_without_month', h.rows_without_month
  ))
  from history h
$$;

-- "absent" without pg_cron, "unreadable" for want of rights, else whether it calls the upkeep.
create function videojobs.upkeep_schedule() returns text
language plpgsql stable set search_path = ''
as $$
declare
  catalog regclass := to_regclass('cron.job');
  is_scheduled boolean;
begin
  if catalog is null then
    return 'absent';
  end if;
  execute format($cron$select exists (select from %s c where c.jobname = 'videojobs upkeep' and c.active)$cron$, catalog)
  into is_scheduled;
  return case when is_scheduled then 'scheduled' else 'unscheduled' end;
exception
  when insufficient_privilege then
    return 'unreadable';
end
$$;

-- Workers that are alive, and what they said that they run.
create function videojobs.live_workers() returns table (worker_id text, facts jsonb)
language sql stable set search_path = ''
as $$
  select w.worker_id, w.facts from videojobs.workers w where w.seen_at > clock_timestamp() - interval '2 minutes'
  union all
  select distinct l.worker_id, '{}'::jsonb
  from videojobs.leases l
  where l.expires_at > clock_timestamp()
    and not exists (
      select
      from videojobs.workers w
      where w.worker_id = l.worker_id and w.seen_at > clock_timestamp() - interval '2 minutes'
    )
$$;

-- The queues and pipelines whose jobs have been due for the longest time, and whether a live worker runs
-- them; one that has not said what it runs may run all. One probe of the queue's index for each queue,
-- priority and pipeline that has queued jobs, up to a thousand of them.
create function videojobs.waiting() returns jsonb
language sql stable set search_path = '' set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
as $$
  with recursive lane as (
    (
      select j.queue, j.priority, j.pipeline, j.run_at
      from public.video_jobs j
      where j.status = 'queued'
      order by j.queue, j.priority desc, j.pipeline, j.run_at
      limit 1
    )
    union all
    select next.queue, next.priority, next.pipeline, next.run_at
    from lane l
    cross join lateral (
      (
        select j.queue, j.priority, j.pipeline, j.run_at
        from public.video_jobs j
        where j.status = 'queued' and j.queue = l.queue and j.priority = l.priority and j.pipeline > l.pipeline
        order by j.queue, j.priority desc, j.pipeline, j.run_at
        limit 1
      )
      union all
      (
        select j.queue, j.priority, j.pipeline, j.run_at
        from public.video_jobs j
        where j.status = 'queued' and j.queue = l.queue and j.priority < l.priority
        order by j.queue, j.priority desc, j.pipeline, j.run_at
        limit 1
      )
      union all
      (
        select j.queue, j.priority, j.pipeline, j.run_at
        from public.video_jobs j
        where j.status = 'queued' and j.queue > l.queue
        order by j.queue, j.priority desc, j.pipeline, j.run_at
        limit 1
      )
      limit 1
    ) next
  ), waiting as (
    select
      l.queue, l.pipeline,
      extract(epoch from clock_timestamp() - min(l.run_at))::double precision as seconds,
      exists (
        select
        from videojobs.live_workers() w
        where coalesce(w.facts -> 'queues' ? l.queue, true) and coalesce(w.facts -> 'pipelines' ? l.pipeline, true)
      ) as is_served
    from (select first.* from lane first limit 1000) l
    group by l.queue, l.pipeline
    having min(l.run_at) < clock_timestamp()
    order by 4, 3 desc
    limit 20
  )
  select coalesce(
    jsonb_agg(jsonb_build_object('queue', w.queue, 'pipeline', w.pipeline, 'seconds', w.seconds, 'is_served', w.is_served)),
    '[]')
  from waiting w
$$;

-- Definer, since other roles' sessions, the catalog of pg_cron and default partitions are not for services.
create function videojobs.diagnosis() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'sees_all_sessions', pg_has_role(current_user, 'pg_read_all_stats', 'usage'),
    'vacuum_blockers', videojobs.vacuum_blockers(),
    'has_autovacuum', current_setting('autovacuum')::boolean and current_setting('track_counts')::boolean,
    'hot_tables', videojobs.hot_tables(),
    'expired_leases', (select count(*) from videojobs.leases l where l.expires_at < clock_timestamp()),
    'longest_expired_seconds',
      (select extract(epoch from clock_timestamp() - min(l.expires_at)) from videojobs.leases l where l.expires_at < clock_timestamp()),
    -- Up to where it is bad enough.
    'unfolded_changes', (select count(*) from (select from videojobs.tally_changes limit 1000000) c),
    'index_faults', videojobs.index_faults(),
    'wide_grants', videojobs.wide_grants(),
    'unguarded_relations', videojobs.unguarded_relations(),
    'is_exposed', videojobs.is_exposed(),
    'histories', videojobs.histories(),
    'upkeep_schedule', videojobs.upkeep_schedule(),
    'workers_seen', (select count(*) from videojobs.live_workers()),
    'waiting', videojobs.waiting()
  )
$$;

-- One row of JSON, so that PostgREST's max-rows cannot cut it off.
create function public.diagnose_video_jobs() returns table (facts jsonb)
language sql stable set search_path = ''
as $$ select videojobs.diagnosis() $$;

-- So many rows: fewer arrive where PostgREST's max-rows is lower, which it tells nobody.
create function public.probe_video_job_rows(row_count integer) returns table (number integer)
language sql immutable set search_path = ''
as $$ select n.number from generate_series(1, least(row_count, 10000)) n (number) $$;

revoke all on function
  videojobs.vacuum_blockers(), videojobs.hot_tables(), videojobs.has_own_teams(), videojobs.index_faults(),
  videojobs.wide_grants(), videojobs.unguarded_relations(), videojobs.is_exposed(), videojobs.histories(),
  videojobs.upkeep_schedule(), videojobs.live_workers(), videojobs.waiting(), videojobs.diagnosis(),
  public.diagnose_video_jobs(), public.probe_video_job_rows(integer)
from public, anon, authenticated, service_role;
grant execute on function
  videojobs.diagnosis(), public.diagnose_video_jobs(), public.probe_video_job_rows(integer)
to service_role;
