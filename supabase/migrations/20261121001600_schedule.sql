-- Upkeep by the database itself, where pg_cron exists: then even a database whose workers are all
-- gone notices within half a minute. Where it does not, or not yet, workers do it; call
-- videojobs.schedule_upkeep() after creating the extension.
create function videojobs.schedule_upkeep() returns boolean
language plpgsql set search_path = ''
as $$
declare
  schedule text := $cron$select cron.schedule('videojobs upkeep', %L, 'select public.maintain_video_jobs()')$cron$;
begin
  -- Where the extension is only available, or was dropped, there is no such function.
  if to_regprocedure('cron.schedule(text, text, text)') is null then
    return false;
  end if;
  begin
    execute format(schedule, '15 seconds');
  exception
    -- pg_cron before 1.5 knows minutes only.
    when invalid_parameter_value then
      execute format(schedule, '* * * * *');
  end;
  return true;
end
$$;
revoke all on function videojobs.schedule_upkeep() from public, anon, authenticated, service_role;

do $$
begin
  if not videojobs.schedule_upkeep() then
    raise notice 'videojobs: no pg_cron here; workers do the upkeep';
  end if;
exception
  when insufficient_privilege then
    raise notice 'videojobs: this login may not schedule with pg_cron; workers do the upkeep';
end
$$;
