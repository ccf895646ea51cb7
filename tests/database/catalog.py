"""What a database says of its own schema, as lines of text that can be compared."""

from __future__ import annotations

import psycopg

_SCHEMA = """
with ours as (
  select n.oid, n.nspname from pg_namespace n where n.nspname in ('public', 'videojobs')
)
select 'schema ' || n.nspname || ' ' || coalesce(n.nspacl::text, '')
from ours join pg_namespace n using (oid)
union all
select format('relation %s kind %s rls %s/%s options %s acl %s comment %s',
  c.oid::regclass, c.relkind, c.relrowsecurity, c.relforcerowsecurity, c.reloptions, c.relacl, obj_description(c.oid, 'pg_class'))
from pg_class c join ours on ours.oid = c.relnamespace
union all
select format('column %s.%s %s not null %s default %s identity %s generated %s acl %s comment %s',
  c.oid::regclass, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
  pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated, a.attacl, col_description(c.oid, a.attnum))
from pg_class c
join ours on ours.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relkind in ('r', 'p', 'v')
union all
select format('view %s is %s', c.oid::regclass, pg_get_viewdef(c.oid))
from pg_class c join ours on ours.oid = c.relnamespace
where c.relkind = 'v'
union all
select format('constraint %s on %s %s validated %s', o.conname, o.conrelid::regclass, pg_get_constraintdef(o.oid), o.convalidated)
from pg_constraint o join ours on ours.oid = o.connamespace
union all
select 'index ' || pg_get_indexdef(i.indexrelid)
from pg_index i join pg_class c on c.oid = i.indexrelid join ours on ours.oid = c.relnamespace
union all
select format('function %s acl %s comment %s %s', p.oid::regprocedure, p.proacl, obj_description(p.oid, 'pg_proc'), pg_get_functiondef(p.oid))
from pg_proc p join ours on ours.oid = p.pronamespace
union all
select format('policy %s on %s.%s %s %s %s using %s check %s', p.policyname, p.schemaname, p.tablename, p.permissive, p.roles, p.cmd, p.qual, p.with_check)
from pg_policies p join ours on ours.nspname = p.schemaname
union all
select 'trigger ' || pg_get_triggerdef(t.oid)
from pg_trigger t join pg_class c on c.oid = t.tgrelid join ours on ours.oid = c.relnamespace
where not t.tgisinternal
union all
select format('enum %s %s acl %s', t.oid::regtype, array_agg(e.enumlabel order by e.enumsortorder), t.typacl)
from pg_type t join ours on ours.oid = t.typnamespace join pg_enum e on e.enumtypid = t.oid
group by t.oid, t.typacl
order by 1
"""

# What a role may really do, however it came by the right: by name, as PUBLIC or as a member.
_RIGHTS = """
with ours as (
  select n.oid from pg_namespace n where n.nspname in ('public', 'videojobs')
), role (name) as (
  values ('anon'), ('authenticated'), ('service_role'), ('authenticator')
), relation as (
  select c.oid, c.relkind from pg_class c join ours on ours.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'S')
)
select format('%s may %s schema %s', role.name, wish, ours.oid::regnamespace)
from role, ours, unnest(array['usage', 'create']) wish
where has_schema_privilege(role.name, ours.oid, wish)
union all
select format('%s may %s table %s', role.name, wish, relation.oid::regclass)
from role, relation, unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) wish
where relation.relkind in ('r', 'p', 'v') and has_table_privilege(role.name, relation.oid, wish)
union all
select format('%s may %s column %s.%s', role.name, wish, relation.oid::regclass, a.attname)
from role, relation
join pg_attribute a on a.attrelid = relation.oid and a.attnum > 0 and not a.attisdropped,
unnest(array['select', 'insert', 'update', 'references']) wish
where relation.relkind = 'r'
  and has_column_privilege(role.name, relation.oid, a.attnum, wish)
  and not has_table_privilege(role.name, relation.oid, wish)
union all
select format('%s may %s sequence %s', role.name, wish, relation.oid::regclass)
from role, relation, unnest(array['usage', 'select', 'update']) wish
where case when relation.relkind = 'S' then has_sequence_privilege(role.name, relation.oid, wish) end
union all
select format('%s may execute %s', role.name, p.oid::regprocedure)
from role, pg_proc p join ours on ours.oid = p.pronamespace
where has_function_privilege(role.name, p.oid, 'execute')
order by 1
"""


def _lines(url: str, query: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [line for (line,) in connection.execute(query)]


def schema_of(url: str) -> list[str]:
    """Return every object of the schemas public and videojobs with its definition and grants."""
    return _lines(url, _SCHEMA)


def rights_of(url: str) -> list[str]:
    """Return what Supabase's roles may effectively do with these objects."""
    return _lines(url, _RIGHTS)
