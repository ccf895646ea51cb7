-- What the doctor knows of the tables and functions of live changes, webhooks and leftovers.

-- Indexes that are missing, not what they were, or invalid; one that is being built right now is not.
create or replace function videojobs.index_faults() returns jsonb
language sql stable set search_path = ''
as $$
  with wanted (table_name, name, definition) as (
    values
      ('public.team_members', 'team_members_of_user', 'btree (user_id)'),
      ('public.team_members', 'team_members_pkey', 'UNIQUE btree (team_id, user_id)'),
      ('public.teams', 'teams_pkey', 'UNIQUE btree (id)'),
      ('public.video_job_events', 'video_job_events_by_tx', 'btree (tx) WHERE (tx IS NOT NULL)'),
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
      ('videojobs.change_feed', 'change_feed_pkey', 'UNIQUE btree (only_row)'),
      ('videojobs.checkpoints', 'checkpoints_pkey', 'UNIQUE btree (job_id)'),
      ('videojobs.deleted_jobs', 'deleted_jobs_pkey', 'UNIQUE btree (tx, job_id)'),
      ('videojobs.leases', 'leases_of_claim', 'btree (claim_key)'),
      ('videojobs.leases', 'leases_pkey', 'UNIQUE btree (job_id)'),
      ('videojobs.leftovers', 'leftovers_by_age', 'btree (due_at)'),
      ('videojobs.leftovers', 'leftovers_due', 'btree (storage, due_at)'),
      ('videojobs.leftovers', 'leftovers_pkey', 'UNIQUE btree (prefix)'),
      ('videojobs.limits', 'limits_pkey', 'UNIQUE btree (kind, key)'),
      ('videojobs.queues', 'queues_pkey', 'UNIQUE btree (queue)'),
      ('videojobs.settings', 'settings_pkey', 'UNIQUE btree (only_row)'),
      ('videojobs.tallies', 'tallies_key',
        'UNIQUE btree (user_id, team_id, queue, pipeline, platform_target, measure, day, bucket) NULLS NOT DISTINCT'),
      ('videojobs.tallies', 'tallies_of_statuses', 'btree (user_id, team_id) WHERE ((day IS NULL) AND (bucket IS NULL))'),
      ('videojobs.tallies', 'tallies_of_team', 'btree (team_id) WHERE ((team_id IS NOT NULL) AND (day IS NULL) AND (bucket IS NULL))'),
      ('videojobs.transitions', 'transitions_pkey', 'UNIQUE btree (from_status, event)'),
      ('videojobs.turns', 'turns_pkey', 'UNIQUE btree (queue, priority)'),
      ('videojobs.webhook_deliveries', 'webhook_deliveries_by_age', 'btree (seq)'),
      ('videojobs.webhook_deliveries', 'webhook_deliveries_due',
        'btree (endpoint_id, next_try_at) WHERE (state = ''pending''::text)'),
      ('videojobs.webhook_deliveries', 'webhook_deliveries_in_order',
        'btree (endpoint_id, job_id, seq) WHERE (state = ''pending''::text)'),
      ('videojobs.webhook_deliveries', 'webhook_deliveries_of_endpoint', 'btree (endpoint_id, seq DESC)'),
      ('videojobs.webhook_deliveries', 'webhook_deliveries_pkey', 'UNIQUE btree (id)'),
      ('videojobs.webhook_endpoints', 'webhook_endpoints_pkey', 'UNIQUE btree (id)'),
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
create or replace function videojobs.wide_grants() returns jsonb
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
        'get_video_job', 'get_video_job_place', 'get_video_job_sight', 'get_video_job_stats', 'get_video_job_times', 'list_video_job_events', 'list_video_jobs',
        'retry_video_job', 'archived_job', 'are_readable_settings', 'are_seconds_within_a_week', 'are_short_texts', 'cancel_job',
        'change_job', 'check_owners', 'condition', 'delete_job', 'delete_jobs', 'is_admin', 'is_service',
        'job_of_wish', 'job_place', 'may_change', 'my_admin_team_ids', 'my_team_ids', 'my_topics', 'find_jobs', 'retry_job', 'tallied',
        'uuid7'
      ) then array['EXECUTE'] end
    from pg_catalog.pg_proc p
    where p.pronamespace = 'videojobs'::regnamespace
      or (p.pronamespace = 'public'::regnamespace and p.proname in (
        'claim_video_job_leftovers', 'settle_video_job_leftovers', 'add_video_job_webhook', 'claim_video_job_webhooks', 'list_video_job_webhook_deliveries',
        'list_video_job_webhooks', 'remove_video_job_webhook', 'send_video_job_webhook', 'settle_video_job_webhook',
        'archive_video_jobs', 'bulk_update_video_jobs', 'cancel_video_job', 'check_video_jobs', 'claim_video_jobs',
        'clear_video_jobs', 'complete_video_job', 'configure_video_jobs', 'confirm_video_job_cancel',
        'create_video_jobs', 'delete_video_job', 'diagnose_video_jobs', 'drain_video_job_worker', 'fail_video_job',
        'find_stuck_video_jobs', 'get_video_job', 'get_video_job_place', 'get_video_job_sight', 'get_video_job_stats', 'get_video_job_times', 'heartbeat_video_jobs',
        'list_video_job_events', 'list_video_job_teams', 'list_video_job_waits', 'list_video_job_workers', 'list_video_jobs', 'log_video_job', 'maintain_video_jobs',
        'probe_video_job_rows', 'read_video_job_changes', 'reconcile_video_job_stats', 'recover_video_jobs', 'release_video_job',
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
