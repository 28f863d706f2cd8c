do $$
declare
  month text;
begin
  for month in select relname from pg_class where relname ~ '^message_events_\d{4}_\d{2}_detached_' and relkind = 'r' loop
    execute format('drop table %I', month);
  end loop;
end
$$;
revoke delete on webhook_deliveries from outreach_worker;
drop function if exists retire_event_month(integer, boolean);
drop function if exists place_default_events(integer, integer);
drop function if exists event_months_standing(integer);
drop function if exists event_months();
