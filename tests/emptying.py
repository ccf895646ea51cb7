"""How a database is emptied between two tests."""

EMPTY_ALL = """
do $$
declare
  each record;
  has_rows boolean;
  written text[] := '{}';
begin
  for each in
    select c.oid::regclass as name
    from pg_class c
    where c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'videojobs'::regnamespace)
      and c.oid not in (
        'videojobs.transitions'::regclass, 'videojobs.settings'::regclass, 'videojobs.change_feed'::regclass)
  loop
    execute format('select exists (select from %s)', each.name) into has_rows;
    if has_rows then
      written := written || each.name::text;
    end if;
  end loop;
  if cardinality(written) > 0 then
    execute format('truncate %s cascade', array_to_string(written, ', '));
  end if;
  perform setval(format('%I.%I', s.schemaname, s.sequencename)::regclass, 1, false)
  from pg_sequences s
  where s.schemaname in ('public', 'videojobs') and s.last_value is not null;
  delete from auth.users;
end
$$
"""
"""Every table that a test has written to, and no others, since truncating takes its time; the named
ones are filled by the migrations and stay."""
