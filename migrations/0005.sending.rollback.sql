drop function if exists learn_statistics();
drop function if exists open_alarms();
drop function if exists unknowns_due(integer);
drop table if exists provider_log_slots, outcome_evidence;
drop function if exists tenants_missing_values();
drop function if exists attempts_armed();
drop function if exists attempts_overdue(interval, integer);
drop function if exists tenants_due(integer, interval);
drop function if exists attempts_missing(uuid[], uuid[], smallint[]);
drop view if exists send_decisions;
drop table if exists incidents, send_holds, send_refusals, rate_limit_counters, send_rate_limits, send_attempts,
  outbound_messages, scheduled_actions;
drop function if exists expired_bucket(timestamptz, integer);
drop function if exists cap_in_force(integer, boolean, integer, boolean, integer);
drop function if exists live_tokens(integer[], integer[], integer);
drop function if exists guard_attempt();
drop function if exists guard_message();
drop function if exists refuse_forged_message();
