-- What Supabase provides and the migrations lean on, for a plain PostgreSQL from 15 on.
--
-- Safe to run again, and on Supabase itself, where it finds everything in place. Nothing is granted on tables or
-- functions that come later: new Supabase projects start like that, and the migrations grant what they mean to.
-- On a managed server it needs a login with CREATEROLE and CREATE on the database.

-- Two at once would meet in "tuple concurrently updated"; the second waits here instead.
select pg_advisory_xact_lock(hashtext('videojobs.bootstrap'));

do $$
declare
  role_name text;
begin
  foreach role_name in array array['anon', 'authenticated', 'service_role', 'authenticator'] loop
    if to_regrole(role_name) is null then
      execute format(
        'create role %I %s',
        role_name,
        case role_name when 'authenticator' then 'login noinherit' else 'nologin noinherit' end
      );
    end if;
  end loop;
end;
$$;

do $$
begin
  if not (select rolbypassrls from pg_roles where rolname = 'service_role') then
    alter role service_role bypassrls;
  end if;
exception when insufficient_privilege then
  -- Only a superuser, or from PostgreSQL 16 on a role that has BYPASSRLS itself, may give it.
  raise warning 'service_role is bound by row level security here: ask a superuser for "alter role service_role bypassrls"';
end;
$$;

-- PostgREST logs in as authenticator and becomes one of the three; so does the owner of the database, for the
-- Postgres transport and for tests. Each grant is made only where it is missing: granting again needs the right to grant.
do $$
declare
  member name;
  role_name text;
begin
  foreach member in array array['authenticator', current_user] loop
    foreach role_name in array array['anon', 'authenticated', 'service_role'] loop
      if not pg_has_role(member, role_name, 'member') then
        execute format('grant %I to %I', role_name, member);
      end if;
    end loop;
  end loop;
end;
$$;

-- A role from PostgreSQL 16 on is a member of what it creates without the right to become it: add that right.
do $$
declare
  role_name text;
begin
  if current_setting('server_version_num')::int >= 160000 then
    foreach role_name in array array['anon', 'authenticated', 'service_role'] loop
      if not pg_has_role(current_user, role_name, 'set') then
        execute format('grant %I to current_user with set true', role_name);
      end if;
    end loop;
  end if;
end;
$$;

-- The limits of hosted Supabase. service_role has none of its own, so that the 8 s of authenticator count.
do $$
declare
  setting record;
begin
  for setting in
    select *
    from (values
      ('anon', 'statement_timeout', '3s'),
      ('authenticated', 'statement_timeout', '8s'),
      ('authenticator', 'statement_timeout', '8s'),
      ('authenticator', 'lock_timeout', '8s')
    ) as hosted (role_name, name, value)
    where not exists (
      select
      from pg_db_role_setting
      cross join unnest(setconfig) as config
      where setrole = hosted.role_name::regrole
        and setdatabase = 0
        and config like hosted.name || '=%'
    )
  loop
    execute format('alter role %I set %I = %L', setting.role_name, setting.name, setting.value);
  end loop;
exception when insufficient_privilege then
  raise warning 'the statement timeouts of Supabase''s roles could not be set: %', sqlerrm;
end;
$$;

do $$
declare
  schema_name text;
begin
  foreach schema_name in array array['auth', 'extensions'] loop
    if to_regnamespace(schema_name) is null then
      execute format('create schema %I', schema_name);
      execute format('grant usage on schema %I to anon, authenticated, service_role', schema_name);
    end if;
  end loop;
  if not has_schema_privilege('anon', 'public', 'usage')
    or not has_schema_privilege('authenticated', 'public', 'usage')
    or not has_schema_privilege('service_role', 'public', 'usage')
  then
    grant usage on schema public to anon, authenticated, service_role;
  end if;
end;
$$;

-- The columns of Supabase's table that seeds and triggers commonly use.
do $$
begin
  if to_regclass('auth.users') is null then
    create table auth.users (
      instance_id uuid,
      id uuid not null default gen_random_uuid() constraint users_pkey primary key,
      aud varchar(255),
      role varchar(255),
      email varchar(255) constraint users_email_key unique,
      encrypted_password varchar(255),
      email_confirmed_at timestamptz,
      last_sign_in_at timestamptz,
      raw_app_meta_data jsonb,
      raw_user_meta_data jsonb,
      is_super_admin boolean,
      created_at timestamptz default now(),
      updated_at timestamptz default now(),
      phone text constraint users_phone_key unique,
      banned_until timestamptz,
      deleted_at timestamptz,
      is_sso_user boolean not null default false,
      is_anonymous boolean not null default false
    );
    alter table auth.users enable row level security;
  end if;
end;
$$;

-- Word for word what Supabase answers: the newer setting holds all claims as JSON, the older ones hold one claim each.
do $bootstrap$
begin
  if to_regprocedure('auth.uid()') is null then
    create function auth.uid() returns uuid language sql stable as $$
      select coalesce(
        nullif(current_setting('request.jwt.claim.sub', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
      )::uuid
    $$;
  end if;

  if to_regprocedure('auth.role()') is null then
    create function auth.role() returns text language sql stable as $$
      select coalesce(
        nullif(current_setting('request.jwt.claim.role', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role')
      )::text
    $$;
  end if;

  if to_regprocedure('auth.email()') is null then
    create function auth.email() returns text language sql stable as $$
      select coalesce(
        nullif(current_setting('request.jwt.claim.email', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email')
      )::text
    $$;
  end if;

  if to_regprocedure('auth.jwt()') is null then
    create function auth.jwt() returns jsonb language sql stable as $$
      select coalesce(
        nullif(current_setting('request.jwt.claim', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')
      )::jsonb
    $$;
  end if;
end;
$bootstrap$;
