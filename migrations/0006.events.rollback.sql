drop function if exists raise_account_incident(text, text, jsonb);
drop function if exists sends_told(timestamptz, timestamptz, integer);
drop function if exists tenants_of_messages(uuid[]);
drop function if exists resolve_messages(integer[], uuid[], uuid[], text[]);
drop table if exists unmatched_events;
drop function if exists make_event_partitions(integer);
drop table if exists message_event_keys, message_events, webhook_deliveries;
