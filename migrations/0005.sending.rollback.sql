drop function if exists learn_statistics();
drop function if exists incident_tenant(uuid);
drop function if exists incidents_of(text, boolean, integer);
drop function if exists open_alarms();
drop function if exists unknowns_due(integer);
drop table if exists provider_log_slots, outcome_evidence;
drop function if exists sender_caps(
  sender_identities, send_rate_limits, send_rate_limits, integer, integer, integer, integer, timestamptz);
drop function if exists prune_sender_outcomes(interval);
drop function if exists senders_to_judge(interval, interval);
drop function if exists tenants_missing_values();
drop function if exists attempts_missing(uuid[], uuid[], smallint[]);
drop function if exists attempts_armed();
drop function if exists attempts_overdue(interval, integer);
drop view if exists send_decisions;
drop function if exists end_pause_hold() cascade;  -- with its triggers on campaigns and enrollments
drop table if exists incidents, send_holds, send_refusals, rate_limit_counters, send_rate_limits, send_attempts,
  outbound_messages, scheduled_actions;
drop function if exists expired_bucket(timestamptz, integer);
drop function if exists cap_in_force(integer, boolean, integer, boolean, integer);
drop function if exists slowed_cap(integer, reputation_state);
drop function if exists ramp_cap(integer, double precision);
drop function if exists warm_seconds(timestamptz, double precision, reputation_state, timestamptz, timestamptz);
drop function if exists add_tokens(integer[], integer[], integer, integer, integer);
drop function if exists used_tokens(uuid, text, text, timestamptz);
drop function if exists live_tokens(integer[], integer[], integer);
drop function if exists guard_attempt();
drop function if exists refuse_move();
drop function if exists refuse_other_words();
drop function if exists prove_sent();
drop function if exists refuse_forged_message();
