-- Who may see and do what. Users read their own and their teams' jobs and create their own;
-- everything else happens in functions.

-- The teams of a product that has none yet. Where tables of these names exist, they are left
-- alone, and videojobs.memberships() is the one function to replace (see the README).
do $$
begin
  if to_regclass('public.teams') is not null or to_regclass('public.team_members') is not null then
    raise notice 'videojobs: teams exist already; replace videojobs.memberships(uuid) to connect them';
    create function videojobs.memberships(of_user uuid) returns table (team_id uuid, is_admin boolean)
    language sql stable security definer set search_path = ''
    as 'select null::uuid, false where memberships.of_user is null and false';
    return;
  end if;

  -- With the name that is ours alone: "team_role" is a type that products have.
  create type public.video_job_team_role as enum ('member', 'admin');
  create table public.teams (
    id uuid not null default videojobs.uuid7(),
    name text not null,
    created_at timestamptz not null default clock_timestamp(),
    constraint teams_pkey primary key (id),
    constraint teams_name_is_not_blank check (length(btrim(name)) between 1 and 255)
  );
  create table public.team_members (
    team_id uuid not null,
    user_id uuid not null,
    role public.video_job_team_role not null default 'member',
    created_at timestamptz not null default clock_timestamp(),
    constraint team_members_pkey primary key (team_id, user_id),
    constraint team_members_team_fkey foreign key (team_id) references public.teams (id) on delete cascade
  );
  -- The lookup of a user's teams, in every policy.
  create index team_members_of_user on public.team_members (user_id);

  create function videojobs.memberships(of_user uuid) returns table (team_id uuid, is_admin boolean)
  language sql stable security definer set search_path = ''
  as $memberships$
    select m.team_id, m.role = 'admin'
    from public.team_members m
    where m.user_id = memberships.of_user
  $memberships$;
end
$$;
comment on function videojobs.memberships(uuid) is
  'The teams of a user, and whether they administer them. Replace its body to use your own tables.';

create function videojobs.my_team_ids() returns setof uuid
language sql stable security definer set search_path = ''
as $$ select m.team_id from videojobs.memberships(auth.uid()) m $$;

create function videojobs.my_admin_team_ids() returns setof uuid
language sql stable security definer set search_path = ''
as $$ select m.team_id from videojobs.memberships(auth.uid()) m where m.is_admin $$;

-- From app_metadata, which only the service can write; never from user_metadata.
create function videojobs.is_admin() returns boolean
language sql stable security definer set search_path = ''
as $$ select coalesce(auth.jwt() -> 'app_metadata' ->> 'role' = 'admin', false) $$;

-- Whether the caller is the service: its role, or a direct connection of the owner. A definer
-- function sees its owner as current_user; the setting "role" still tells who called.
create function videojobs.is_service() returns boolean
language sql stable security definer set search_path = ''
as $$
  select pg_has_role(caller.name, 'service_role', 'usage')
    or pg_has_role(caller.name, current_user, 'usage')
  from (
    select coalesce(nullif(current_setting('role', true), 'none'), session_user)::name as name
  ) caller
$$;

-- Never NULL, which "if not may_change(...)" would let pass: a job without a team makes "in" NULL.
create function videojobs.may_change(user_id uuid, team_id uuid) returns boolean
language sql stable set search_path = ''
as $$
  select videojobs.is_service()
    or coalesce(may_change.user_id = auth.uid(), false)
    or coalesce(may_change.team_id in (select videojobs.my_admin_team_ids()), false)
    or videojobs.is_admin()
$$;

create function videojobs.may_see(user_id uuid, team_id uuid) returns boolean
language sql stable set search_path = ''
as $$
  select videojobs.may_change(may_see.user_id, may_see.team_id)
    or coalesce(may_see.team_id in (select videojobs.my_team_ids()), false)
$$;

alter table public.video_jobs enable row level security;
alter table public.video_job_events enable row level security;

-- An array of my teams, made once: 3.7 ms where a function for each row takes 1,200 (300,000 rows).
create policy video_jobs_seen_by_owner_team_and_admin on public.video_jobs
  for select to authenticated
  using (
    user_id = (select auth.uid())
    or team_id = any (array(select videojobs.my_team_ids()))
    or (select videojobs.is_admin())
  );
create policy video_jobs_created_by_owner on public.video_jobs
  for insert to authenticated
  with check (
    user_id = (select auth.uid())
    and (team_id is null or team_id = any (array(select videojobs.my_team_ids())))
  );
-- Supabase's service_role bypasses policies; a login that is merely its member does not.
create policy video_jobs_open_to_service on public.video_jobs
  for all to service_role using (true) with check (true);
create policy video_job_events_open_to_service on public.video_job_events
  for all to service_role using (true) with check (true);
create policy video_job_events_seen_with_their_job on public.video_job_events
  for select to authenticated
  using (exists (select from public.video_jobs j where j.id = job_id));

-- Both revoke and grant: older projects give everything to every role by default, newer ones nothing.
revoke all on public.video_jobs, public.video_job_events from public, anon, authenticated, service_role;
revoke all on sequence public.video_jobs_seq_seq, public.video_job_events_id_seq
from public, anon, authenticated, service_role;
revoke all on all tables in schema videojobs from public, anon, authenticated, service_role;
grant select on public.video_jobs, public.video_job_events to authenticated;
grant insert (
  id, user_id, team_id, queue, pipeline, priority, run_at, max_attempts, original_filename,
  original_filesize, source_url, clip_count, quality_preset, enhancement_level, platform_target,
  settings, resource_type, resource_id, resource_name, resource_parent_id, idempotency_key
) on public.video_jobs to authenticated;
grant select, insert, update, delete on public.video_jobs to service_role;
grant select, insert, delete on public.video_job_events to service_role;
grant select, insert, update, delete on videojobs.leases, videojobs.checkpoints to service_role;
grant select, update on videojobs.settings to service_role;

do $$
begin
  if to_regtype('public.video_job_team_role') is null then
    return;
  end if;
  alter table public.teams enable row level security;
  alter table public.team_members enable row level security;
  create policy teams_seen_by_members on public.teams
    for select to authenticated
    using (id = any (array(select videojobs.my_team_ids())));
  create policy team_members_seen_by_members on public.team_members
    for select to authenticated
    using (team_id = any (array(select videojobs.my_team_ids())));
  create policy teams_open_to_service on public.teams
    for all to service_role using (true) with check (true);
  create policy team_members_open_to_service on public.team_members
    for all to service_role using (true) with check (true);
  revoke all on public.teams, public.team_members from public, anon, authenticated, service_role;
  grant select on public.teams, public.team_members to authenticated;
  grant select, insert, update, delete on public.teams, public.team_members to service_role;
end
$$;

revoke all on all functions in schema videojobs from public, anon, authenticated, service_role;
grant execute on function
  videojobs.uuid7(),
  videojobs.my_team_ids(),
  videojobs.my_admin_team_ids(),
  videojobs.is_admin(),
  videojobs.is_service(),
  videojobs.may_change(uuid, uuid)
to authenticated, service_role;
