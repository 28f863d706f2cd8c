drop function if exists reason_text(suppression_reason);
drop type if exists address_verdict, plan_author, unknown_policy, suppression_reason, webhook_state, event_type, delivery_state,
  attempt_outcome, message_state, action_state, action_kind, enrollment_state, campaign_state, reputation_state, sender_state, pause_state;
drop function if exists protect_tenant_table(regclass, text, text);
drop function if exists new_id();
drop function if exists app_tenant();
-- A role that another database of the cluster depends on stays; the server says so and we accept it.
do $$
declare
  name text;
begin
  foreach name in array array['outreach_app', 'outreach_worker', 'outreach_operator', 'outreach_readonly'] loop
    if exists (select from pg_roles where rolname = name) then
      execute format('revoke all on schema public from %I', name);
      begin
        execute format('drop role %I', name);
      exception when dependent_objects_still_exist or insufficient_privilege or object_in_use then
        null;
      end;
    end if;
  end loop;
end
$$;
