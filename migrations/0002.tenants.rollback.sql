drop function if exists tenant_of_slug(text);
drop function if exists count_refused_webhooks(bigint);
drop table if exists audit_log, api_keys, tenants, fence_pulses, installation_counters, installation;
