-- Roles, words and the two helpers that every later migration uses.
--
-- Roles belong to the cluster, not to this database: they are created where absent and left alone
-- on rollback while another database uses them. The migrating role becomes a member of each, so that
-- the processes that log in with it can act as them (`set_config('role', …, true)`).
do $$
declare
  name text;
begin
  foreach name in array array['outreach_app', 'outreach_worker', 'outreach_operator', 'outreach_readonly'] loop
    begin
      execute format('create role %I nologin', name);
    exception when duplicate_object or unique_violation then
      null;  -- another database of this cluster, or another migrator at this moment, made it
    end;
    -- Always asked: since PostgreSQL 16 a creator may hand the role on but not act as it.
    begin
      execute format('grant %I to %I', name, current_user);
    exception
      when unique_violation then
        null;
      when insufficient_privilege then  -- somebody else's role: fine, if we were made a member
        if not pg_has_role(current_user, name, 'member') then
          raise;
        end if;
    end;
  end loop;
end
$$;

grant usage on schema public to outreach_app, outreach_worker, outreach_operator, outreach_readonly;

-- The tenant of this transaction, or null. Used as `(select app_tenant())` so that it runs once a statement.
create function app_tenant() returns uuid
language sql stable parallel safe
as $$ select nullif(current_setting('app.tenant_id', true), '')::uuid $$;

-- A UUIDv7 (RFC 9562): 48 bits of milliseconds, then the random bits of a version 4, whose version becomes
-- 7. For rows that SQL makes by the set: one expression, so that it is part of the statement that asks.
create function new_id() returns uuid
language sql volatile parallel safe
as $$
  select encode(set_bit(set_bit(
    overlay(uuid_send(gen_random_uuid())
      placing substring(int8send(floor(date_part('epoch', clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
    52, 1), 53, 1), 'hex')::uuid
$$;
do $$  -- PostgreSQL 18 brings its own, in a tenth of the time
begin
  if current_setting('server_version_num')::integer >= 180000 then
    create or replace function new_id() returns uuid language sql volatile parallel safe as 'select uuidv7()';
  end if;
end
$$;

-- Forced row level security for a table whose rows belong to tenants: the app and the workers see
-- the tenant of their transaction only; the owner (dumps, named functions) and readers see all.
create function protect_tenant_table(target regclass, app_rights text, worker_rights text) returns void
language plpgsql
as $$
begin
  execute format('alter table %s enable row level security', target);
  execute format('alter table %s force row level security', target);
  execute format('create policy owner_sees_all on %s to %I using (true) with check (true)', target, current_user);
  execute format('create policy reader_sees_all on %s for select to outreach_readonly using (true)', target);
  execute format(
    'create policy tenant_sees_own on %s to outreach_app, outreach_worker'
    ' using (tenant_id = (select app_tenant())) with check (tenant_id = (select app_tenant()))', target);
  execute format('grant select on %s to outreach_readonly', target);
  execute format('grant %s on %s to outreach_app', app_rights, target);
  execute format('grant %s on %s to outreach_worker', worker_rights, target);
end
$$;

create type pause_state as enum ('active', 'paused');
create type sender_state as enum ('unverified', 'verified');
create type reputation_state as enum ('good', 'slowed', 'stopped');
create type campaign_state as enum ('draft', 'active', 'paused', 'completed', 'stopped');
create type enrollment_state as enum ('draft', 'active', 'paused', 'completed', 'stopped', 'failed');
create type action_kind as enum ('send', 'timeout');
create type action_state as enum ('pending', 'claimed', 'done', 'canceled');
create type message_state as enum ('sending', 'waiting_retry', 'sent', 'failed', 'unknown', 'abandoned');
create type attempt_outcome as enum ('armed', 'accepted', 'rejected', 'not_sent', 'unknown');
create type delivery_state as enum ('none', 'deferred', 'delivered', 'blocked', 'bounced', 'dropped', 'complained');
create type event_type as enum (
  'processed', 'deferred', 'delivered', 'blocked', 'bounced', 'dropped', 'opened', 'clicked', 'spam_report',
  'unsubscribed', 'group_unsubscribed', 'group_resubscribed', 'replied', 'no_open', 'no_click', 'no_reply');
create type webhook_state as enum ('received', 'applied', 'quarantined');
create type suppression_reason as enum ('unsubscribe', 'bounce', 'complaint', 'blocked', 'invalid', 'manual', 'legal');
create type unknown_policy as enum ('at_most_once', 'resend_after');
create type plan_author as enum ('manual', 'ai');
create type address_verdict as enum ('unchecked', 'valid', 'risky', 'invalid');

-- `reason::text` is only stable to PostgreSQL, since labels can be renamed; ours are not, and an index needs this.
create function reason_text(reason suppression_reason) returns text
language sql immutable parallel safe
as $$ select reason::text $$;
