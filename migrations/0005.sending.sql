-- The timetable, the ledger, the limits, and why something was not sent.

-- depends: 0004.campaigns

-- What is due when. `held_by` takes an action out of the claim's index until a person's act puts it back.
create table scheduled_actions (
  tenant_id uuid not null,
  id uuid not null default new_id(),
  enrollment_id uuid not null,
  campaign_id uuid not null,  -- copied from the enrollment, as the sender is: no foreign key of its own
  sender_id uuid not null,
  node_id text not null,
  visit integer not null check (visit > 0),
  kind action_kind not null,
  trigger text,  -- of a timeout: no_open, no_click, no_reply, idle
  priority smallint not null default 1 check (priority in (0, 1)),  -- of a send: 0 in a conversation that runs, 1 a first touch
  due_at timestamptz not null,
  state action_state not null default 'pending',
  held_by text check (held_by in ('campaign', 'enrollment')),
  message_id uuid,  -- from the first attempt on
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, enrollment_id) references enrollments (tenant_id, id),
  check ((kind = 'timeout') = (trigger is not null)),
  check (held_by is null or state = 'pending')
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.02);
-- What a sender has to do, in order: the only index that a claim reads.
create index scheduled_actions_lane on scheduled_actions (tenant_id, sender_id, priority, due_at, id)
  where state = 'pending' and kind = 'send' and held_by is null;
-- What a tenant has to do, for the sweep and for people's acts, who say `priority >= 0`. The claim does not,
-- so that no plan of it can go by this index, over all that waits.
create index scheduled_actions_due on scheduled_actions (tenant_id, due_at)
  where state = 'pending' and kind = 'send' and held_by is null and priority >= 0;
create index scheduled_actions_timer on scheduled_actions (tenant_id, due_at)
  where state = 'pending' and kind = 'timeout' and held_by is null;
create index scheduled_actions_open on scheduled_actions (tenant_id, enrollment_id)
  where state in ('pending', 'claimed');
create index scheduled_actions_held on scheduled_actions (tenant_id, held_by, campaign_id) where held_by is not null;
select protect_tenant_table('scheduled_actions', 'select, insert, update', 'select, insert, update');

-- The ledger: one row for each message that we ever meant to send, committed before the provider is
-- called and never deleted. The id is derived from the dedupe key, so the primary key is the guard
-- against a second one (I1).
create table outbound_messages (
  tenant_id uuid not null,
  id uuid not null,
  enrollment_id uuid not null,
  campaign_id uuid not null,
  contact_id uuid not null,
  sender_id uuid not null,
  action_id uuid not null,
  node_id text not null,
  visit integer not null,
  channel text not null default 'email',
  dedupe_key text not null,
  variant_id text,
  to_address text not null,
  to_domain text not null,
  from_address text not null,
  from_name text not null,
  reply_to text,
  -- What is sent, fixed before the first attempt (I13): every attempt sends exactly this.
  subject text not null,
  body_text text not null,
  body_html text not null,
  state message_state not null default 'sending',
  delivery delivery_state not null default 'none',
  attempts smallint not null default 1 check (attempts > 0),
  counted_attempts smallint not null default 0,  -- those that count towards giving up
  accepted_attempt smallint,
  provider text not null default 'sendgrid',
  provider_message_id text,
  sent_at timestamptz,
  failure_code text,  -- why it failed, in the catalogue's words
  failure_text text,  -- what the provider said
  wake_at timestamptz,  -- when somebody looks at it again; only an ended message has none (I8)
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, enrollment_id) references enrollments (tenant_id, id),
  constraint outbound_messages_evidence check ((state = 'sent') = (accepted_attempt is not null)),
  check ((state = 'sent') = (sent_at is not null)),
  check (state in ('sent', 'failed', 'abandoned') or wake_at is not null)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
-- No index here mentions what changes in a message's life, and its page has room for a second version: an
-- update then writes no index at all. Words that do not fit are stored beside, and uncompressed, so that
-- an update neither copies them nor spends its time on compression.
alter table outbound_messages alter column body_text set storage external, alter column body_html set storage external;
create index outbound_messages_of_enrollment on outbound_messages (tenant_id, enrollment_id);
select protect_tenant_table('outbound_messages', 'select', 'select, insert, update');

-- One request to the provider each, and never more than one that may have been accepted (I2).
create table send_attempts (
  tenant_id uuid not null,
  message_id uuid not null,
  attempt smallint not null check (attempt > 0),
  outcome attempt_outcome not null default 'armed',
  armed_at timestamptz not null,  -- wall clock of the database; also the moment its tokens were taken
  deadline_at timestamptz not null,
  settled_at timestamptz,
  settled_by text,  -- answer, recorder, event, rescuer, provider_log, policy, person, reconcile
  http_status smallint,
  detail text,
  provider_message_id text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, message_id, attempt),
  foreign key (tenant_id, message_id) references outbound_messages (tenant_id, id),
  check ((outcome = 'armed') = (settled_at is null))
) with (autovacuum_vacuum_scale_factor = 0.02);
create unique index send_attempts_one_live on send_attempts (tenant_id, message_id)
  where outcome in ('armed', 'unknown', 'accepted');
create index send_attempts_armed on send_attempts (tenant_id, deadline_at) where outcome = 'armed';
-- When attempts were made, over all tenants: rows come in that order, so a summary of each megabyte will do.
create index send_attempts_by_time on send_attempts using brin (armed_at);
create index send_attempts_of_provider on send_attempts (provider_message_id) where provider_message_id is not null;
create index send_attempts_unknown on send_attempts (tenant_id, armed_at) where outcome = 'unknown';
select protect_tenant_table('send_attempts', 'select', 'select, insert, update');

-- I4: only legal moves. The conditions of triggers are asked of each row, and call nothing where all is well.
create function refuse_move() returns trigger
language plpgsql set search_path = public, pg_temp
as $$
begin
  raise exception 'a message may not go from % to %', old.state, new.state
    using errcode = 'check_violation', constraint = 'outbound_messages_moves';
end
$$;
create trigger guard_message before update of state on outbound_messages for each row
  when (new.state is distinct from old.state and not (case old.state
    when 'sending' then new.state in ('sent', 'failed', 'unknown', 'waiting_retry')
    when 'waiting_retry' then new.state in ('sending', 'failed', 'abandoned', 'sent')  -- sent: late evidence
    when 'unknown' then new.state in ('sent', 'waiting_retry', 'failed', 'abandoned')
    when 'abandoned' then new.state = 'sent'  -- late evidence
    when 'failed' then new.state = 'sent'
    else false
  end))
  execute function refuse_move();

-- I13: every attempt says the same.
create function refuse_other_words() returns trigger
language plpgsql set search_path = public, pg_temp
as $$
begin
  raise exception 'what a message says is fixed' using errcode = 'check_violation', constraint = 'outbound_messages_body';
end
$$;
create trigger fix_words before update of subject, body_text, body_html, dedupe_key
  on outbound_messages for each row
  when ((new.subject, new.body_text, new.body_html, new.dedupe_key) is distinct from (old.subject, old.body_text, old.body_html, old.dedupe_key))
  execute function refuse_other_words();

-- I3: sent only by an accepted attempt. Asked once of all rows that a statement has changed, because a
-- look for each costs a tenth of what recording an acceptance does.
create function prove_sent() returns trigger
language plpgsql set search_path = public, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  if exists (
    select from changed m
    left join send_attempts a on a.tenant_id = m.tenant_id and a.message_id = m.id and a.attempt = m.accepted_attempt
    where m.state = 'sent' and a.outcome is distinct from 'accepted'
  ) then
    raise exception 'a message is sent only by an accepted attempt'
      using errcode = 'check_violation', constraint = 'outbound_messages_proof';
  end if;
  return null;
end
$$;
create trigger prove_sent after update on outbound_messages
  referencing new table as changed
  for each statement execute function prove_sent();

-- Asked of every new row by a condition alone, which calls nothing where the row is as it must be.
create function refuse_forged_message() returns trigger
language plpgsql set search_path = public, pg_temp
as $$
begin
  raise exception 'a message begins as sending'
    using errcode = 'check_violation', constraint = 'outbound_messages_beginning';
end
$$;
create trigger begin_message before insert on outbound_messages for each row
  when (new.state <> 'sending') execute function refuse_forged_message();

create function guard_attempt() returns trigger
language plpgsql set search_path = public, pg_temp
as $$
begin
  raise exception 'an attempt may not go from % to %', old.outcome, new.outcome
    using errcode = 'check_violation', constraint = 'send_attempts_moves';
end
$$;
create trigger guard_attempt before update of outcome on send_attempts for each row
  when (new.outcome is distinct from old.outcome and not (
    old.outcome = 'armed' or (old.outcome = 'unknown' and new.outcome in ('accepted', 'not_sent'))
    or (old.outcome in ('rejected', 'not_sent') and new.outcome = 'accepted')))  -- a contradiction: raises an incident
  execute function guard_attempt();

-- A tenant's own limits; null is the default of core/limits.py. Key '' is every sender or every domain.
create table send_rate_limits (
  tenant_id uuid not null references tenants (id),
  scope text not null check (scope in ('sender', 'pool', 'tenant', 'domain')),
  key text not null default '',
  per_minute_max integer check (per_minute_max >= 0),
  per_hour_max integer check (per_hour_max >= 0),
  per_day_max integer check (per_day_max >= 0),
  concurrent_max integer check (concurrent_max > 0),
  is_off boolean not null default false,
  warmup_max integer check (warmup_max >= 0),  -- the day cap of the first three days
  bounce_percent_max double precision check (bounce_percent_max between 0 and 100),
  complaint_percent_max double precision check (complaint_percent_max between 0 and 100),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, scope, key)
);
select protect_tenant_table('send_rate_limits', 'select, insert, update, delete', 'select');

-- Tokens taken in each sub-bucket of a window, newest last (core/limits.py). Written under the tenant's lock.
create table rate_limit_counters (
  tenant_id uuid not null references tenants (id),
  scope text not null,
  key text not null,
  window_seconds integer not null,
  bucket_at integer[] not null,
  bucket_used integer[] not null,
  promised_until timestamptz,  -- the last moment promised to something refused here; the next promise is later
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, scope, key, window_seconds),
  check (cardinality(bucket_at) = cardinality(bucket_used))
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
select protect_tenant_table('rate_limit_counters', 'select', 'select, insert, update');

-- Live tokens of a counter: those in buckets after `since`. From the newest on, since most may be dead.
create function live_tokens(bucket_at integer[], bucket_used integer[], since integer) returns integer
language plpgsql immutable parallel safe
as $$
declare
  place integer := cardinality(bucket_at);
  total integer := 0;
begin
  while place > 0 and bucket_at[place] > since loop
    total := total + bucket_used[place];
    place := place - 1;
  end loop;
  return total;
end
$$;

-- Tokens added to a counter. The dead are dropped now and then only: most times the newest bucket is
-- the one, or a new one goes behind it. A clock that has been set back takes the long way.
create function add_tokens(inout bucket_at integer[], inout bucket_used integer[], bucket integer, count integer, since integer)
language plpgsql immutable parallel safe
as $$
declare
  last integer := cardinality(bucket_at);
begin
  if bucket_at[last] = bucket then
    bucket_used[last] := bucket_used[last] + count;
  elsif bucket_at[last] < bucket and last < 128 then
    bucket_at[last + 1] := bucket;
    bucket_used[last + 1] := count;
  else
    select array_agg(b.at order by b.at), array_agg(b.used order by b.at) into bucket_at, bucket_used
    from (
      select u.at, sum(u.used)::integer as used
      from (
        select * from unnest(bucket_at, bucket_used) as old (at, used)
        union all
        select bucket, count
      ) u
      where u.at > since - 8 or u.at = bucket  -- some more, for a clock that is set back a little
      group by u.at
    ) b;
  end if;
end
$$;

-- The newest sub-bucket of a window that no longer counts at a moment. Twin of core/limits.py.
create function expired_bucket(at timestamptz, window_seconds integer) returns integer
language sql immutable parallel safe
as $$
  select floor(extract(epoch from at))::integer / (window_seconds / 60) - case window_seconds when 60 then 63 else 62 end
$$;

-- Live tokens of a key in each window. One query, so that it becomes part of the statement that asks.
create function used_tokens(tenant uuid, scope_name text, key_name text, at timestamptz)
returns table (minute integer, hour integer, day integer)
language sql stable
as $$
  select
    coalesce(max(live.tokens) filter (where c.window_seconds = 60), 0),
    coalesce(max(live.tokens) filter (where c.window_seconds = 3600), 0),
    coalesce(max(live.tokens) filter (where c.window_seconds = 86400), 0)
  from rate_limit_counters c
  cross join lateral (
    select live_tokens(c.bucket_at, c.bucket_used, expired_bucket(at, c.window_seconds)) as tokens
  ) live
  where c.tenant_id = tenant and c.scope = scope_name and c.key = key_name
$$;

-- The cap of one window: the first of a particular and a general word that speaks of it, else the
-- default; `off` speaks of every window. No cap is the largest integer. Twin of core/limits.py `effective`.
create function cap_in_force(own integer, own_is_off boolean, general integer, general_is_off boolean, fallback integer)
returns integer
language sql immutable parallel safe
as $$
  select coalesce(own, case when own_is_off then 2147483647 end, general, case when general_is_off then 2147483647 end,
    fallback, 2147483647)
$$;

-- How far a warm-up has come: the time since the first send, without what a lower reputation took of it.
create function warm_seconds(
  first_sent_at timestamptz, lost_seconds double precision, reputation reputation_state, since timestamptz, at timestamptz)
returns double precision
language sql immutable parallel safe
as $$
  select coalesce(extract(epoch from at - first_sent_at) - lost_seconds - extract(epoch from at - since)
    * case reputation when 'slowed' then 0.5 when 'stopped' then 1 else 0 end, 0)::double precision
$$;

-- The day cap of a warm-up: doubled every three days, of whole seconds, since the least of fractions cannot be
-- divided. Twin of core/warmup.py.
create function ramp_cap(first_day integer, warm_seconds double precision) returns integer
language sql immutable parallel safe
as $$
  select least(first_day * 2::double precision ^ least(floor(floor(greatest(warm_seconds, 0)) / 259200), 31), 2147483647)::integer
$$;

-- What is left of a cap for a sender of this reputation. Twin of core/limits.py `slowed`.
create function slowed_cap(cap integer, reputation reputation_state) returns integer
language sql immutable parallel safe
as $$ select case when reputation = 'slowed' and cap > 1 and cap < 2147483647 then cap / 2 else cap end $$;

-- What a sender may send now: its limits by the rule for it, the rule for all, or the default; the day's
-- within its warm-up, all of them by its reputation.
create function sender_caps(
  s sender_identities, own send_rate_limits, general send_rate_limits,
  minute_default integer, hour_default integer, day_default integer, warmup_default integer, at timestamptz)
returns table (minute integer, hour integer, day integer, is_warming boolean, warm_seconds double precision)
language sql stable
as $$
  select slowed_cap(given.minute, s.reputation), slowed_cap(given.hour, s.reputation),
    slowed_cap(least(given.day, given.ramp), s.reputation), given.ramp < given.day, given.warm
  from (
    select
      cap_in_force(own.per_minute_max, own.is_off, general.per_minute_max, general.is_off, minute_default) as minute,
      cap_in_force(own.per_hour_max, own.is_off, general.per_hour_max, general.is_off, hour_default) as hour,
      cap_in_force(own.per_day_max, own.is_off, general.per_day_max, general.is_off, day_default) as day,
      ramp_cap(cap_in_force(own.warmup_max, own.is_off, general.warmup_max, general.is_off, warmup_default), warm.seconds) as ramp,
      warm.seconds as warm
    from (
      select warm_seconds(s.first_sent_at, s.warmup_lost_seconds, s.reputation, s.reputation_at, at) as seconds
    ) warm
  ) given
$$;

-- A no for one action: one row for each refusal and for each change of the reason for a hold.
create table send_refusals (
  tenant_id uuid not null,
  id uuid not null default new_id(),
  enrollment_id uuid not null,
  action_id uuid not null,
  verdict text not null check (verdict in ('hold', 'refuse')),
  reason text not null,  -- a code of the catalogue
  detail jsonb not null default '{}',
  until timestamptz,  -- when it is looked at again; null: a person's act, or final
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, enrollment_id) references enrollments (tenant_id, id)
);
create index send_refusals_of_action on send_refusals (tenant_id, action_id, created_at);
create index send_refusals_of_enrollment on send_refusals (tenant_id, enrollment_id);
create index send_refusals_for_values on send_refusals (tenant_id, action_id, created_at) where reason = 'value_missing';
select protect_tenant_table('send_refusals', 'select, insert', 'select, insert');

-- A no for a whole set, stored once: a pause, a sender out of tokens, a tenant out of tokens.
create table send_holds (
  tenant_id uuid not null references tenants (id),
  id uuid not null default new_id(),
  scope text not null check (scope in ('installation', 'tenant', 'campaign', 'sender', 'enrollment')),
  subject_id uuid not null,  -- the tenant, campaign, sender or enrollment; the tenant for `installation`
  reason text not null,
  detail jsonb not null default '{}',
  until timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  ended_at timestamptz,
  primary key (tenant_id, id)
);
create unique index send_holds_in_force on send_holds (tenant_id, scope, subject_id, reason) where ended_at is null;
select protect_tenant_table('send_holds', 'select, insert, update', 'select, insert, update');

-- The hold of a campaign or an enrollment lasts as long as its pause, whatever ends that: a resume, a stop,
-- an unsubscribe.
create function end_pause_hold() returns trigger
language plpgsql set search_path = public, pg_temp
as $$
begin
  update send_holds
  set ended_at = now(), updated_at = now()
  where tenant_id = new.tenant_id and scope = tg_argv[0] and subject_id = new.id and ended_at is null;
  return null;
end
$$;
create trigger end_pause_hold after update of state on campaigns for each row
  when (old.state = 'paused' and new.state <> 'paused') execute function end_pause_hold('campaign');
create trigger end_pause_hold after update of state on enrollments for each row
  when (old.state = 'paused' and new.state <> 'paused') execute function end_pause_hold('enrollment');

-- Every yes and every no, one row each. The ledger's row is its own yes.
create view send_decisions with (security_invoker = true) as
  select m.tenant_id, m.enrollment_id, m.action_id, m.id as message_id, 'send'::text as verdict,
    null::text as reason, null::jsonb as detail, null::timestamptz as until, m.created_at
  from outbound_messages m
  union all
  select r.tenant_id, r.enrollment_id, r.action_id, null, r.verdict, r.reason, r.detail, r.until, r.created_at
  from send_refusals r
  union all
  select a.tenant_id, a.enrollment_id, a.id, a.message_id, 'hold', h.reason, h.detail, h.until,
    greatest(h.created_at, least(a.due_at, now()))
  from send_holds h
  join scheduled_actions a on a.tenant_id = h.tenant_id and a.kind = 'send' and a.state = 'pending'
    and (a.held_by = h.scope or (a.held_by is null and a.due_at <= now()))
    and case h.scope when 'campaign' then a.campaign_id = h.subject_id when 'sender' then a.sender_id = h.subject_id else true end
  where h.scope <> 'enrollment' and h.ended_at is null
  union all
  select a.tenant_id, a.enrollment_id, a.id, a.message_id, 'hold', h.reason, h.detail, h.until,
    greatest(h.created_at, least(a.due_at, now()))
  from send_holds h
  join scheduled_actions a on a.tenant_id = h.tenant_id and a.enrollment_id = h.subject_id and a.kind = 'send'
    and a.state = 'pending' and (a.held_by = h.scope or (a.held_by is null and a.due_at <= now()))
  where h.scope = 'enrollment' and h.ended_at is null;
grant select on send_decisions to outreach_readonly, outreach_app, outreach_worker;

-- What must not happen and did: alarms for people, each raised once.
create table incidents (
  tenant_id uuid not null references tenants (id),
  id uuid not null default new_id(),
  code text not null,
  subject text not null,
  detail jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  closed_at timestamptz,
  primary key (tenant_id, id),
  unique (tenant_id, code, subject)
);
select protect_tenant_table('incidents', 'select, update', 'select, insert, update');

-- What is known of an attempt beyond its outcome: who said what, how often, and when last. Rows only come,
-- and the same word again counts, so evidence in any number and order leaves the same.
create table outcome_evidence (
  tenant_id uuid not null,
  message_id uuid not null,
  attempt smallint not null,
  source text not null check (source in ('event', 'answer', 'recorder', 'provider_log', 'policy', 'person')),
  says text not null check (says in ('accepted', 'no_match', 'presumed_not_accepted', 'not_sent', 'given_up')),
  detail jsonb not null default '{}',
  times integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),  -- when it was said last
  primary key (tenant_id, message_id, attempt, source, says),
  foreign key (tenant_id, message_id, attempt) references send_attempts (tenant_id, message_id, attempt)
);
select protect_tenant_table('outcome_evidence', 'select', 'select, insert, update');

-- Questions to the provider's logs: six a minute for the account. Each slot serves again when the answer
-- to its last question is a minute old, so no minute of any start sees more.
create table provider_log_slots (
  slot smallint primary key check (slot between 1 and 6),
  asked_at timestamptz not null default '2000-01-01',
  created_at timestamptz not null default now()
);
insert into provider_log_slots (slot) select generate_series(1, 6);
alter table provider_log_slots enable row level security;
alter table provider_log_slots force row level security;
create policy owner_sees_all on provider_log_slots to current_user using (true) with check (true);
create policy worker_asks on provider_log_slots to outreach_worker using (true) with check (true);
create policy reader_sees_all on provider_log_slots for select to outreach_readonly using (true);
grant select, update on provider_log_slots to outreach_worker;
grant select on provider_log_slots to outreach_readonly;

-- Messages of which nobody knows whether they left and that are to be looked at, over all tenants, oldest
-- first, with what the provider's logs said of them.
create function unknowns_due(rows_max integer) returns table (tenant_id uuid, message_id uuid, attempt smallint,
  to_address text, armed_at timestamptz, deadline_at timestamptz, policy unknown_policy, looked_at timestamptz)
language sql stable security definer set search_path = public, pg_temp
as $$
  select u.tenant_id, u.message_id, u.attempt, u.to_address, u.armed_at, u.deadline_at, c.unknown_policy, e.updated_at
  from (
    select a.tenant_id, a.message_id, a.attempt, m.to_address, a.armed_at, a.deadline_at, m.campaign_id
    from tenants t
    join send_attempts a on a.tenant_id = t.id and a.outcome = 'unknown'
    join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
    where m.state = 'unknown' and m.wake_at <= now()
    order by a.armed_at
    limit rows_max
  ) u
  join campaigns c on c.tenant_id = u.tenant_id and c.id = u.campaign_id
  left join outcome_evidence e on e.tenant_id = u.tenant_id and e.message_id = u.message_id and e.attempt = u.attempt
    and e.source = 'provider_log' and e.says = 'no_match'
  order by u.armed_at
$$;

-- Alarms that nobody has closed, and messages of which nobody knows whether they left, over all tenants.
create function open_alarms() returns table (code text, many bigint)
language sql stable security definer set search_path = public, pg_temp
as $$
  select i.code, count(*) from tenants t join incidents i on i.tenant_id = t.id where i.closed_at is null group by i.code
  union all
  select 'outcome_unknown', count(*)
  from tenants t
  join send_attempts a on a.tenant_id = t.id and a.outcome = 'unknown'
  join outbound_messages m on m.tenant_id = a.tenant_id and m.id = a.message_id
  where m.state = 'unknown'
  having count(*) > 0
$$;
-- Alarms over all tenants or of one, and whose one is, for an operator.
create function incidents_of(of_slug text, with_closed boolean, rows_max integer) returns table (id uuid, tenant text,
  code text, subject text, detail jsonb, raised_at timestamptz, told_at timestamptz, closed_at timestamptz)
language sql stable security definer set search_path = public, pg_temp
as $$
  select i.id, t.slug, i.code, i.subject, i.detail, i.created_at, i.updated_at, i.closed_at
  from tenants t
  join incidents i on i.tenant_id = t.id
  where (of_slug is null or t.slug = of_slug) and (with_closed or i.closed_at is null)
  order by i.created_at desc, i.id desc
  limit rows_max
$$;
create function incident_tenant(incident_id uuid) returns uuid
language sql stable security definer set search_path = public, pg_temp
as $$ select i.tenant_id from incidents i where i.id = incident_id $$;
revoke all on function unknowns_due(integer), open_alarms(), incidents_of(text, boolean, integer), incident_tenant(uuid)
  from public;
grant execute on function unknowns_due(integer), open_alarms() to outreach_worker;
grant execute on function incidents_of(text, boolean, integer), incident_tenant(uuid) to outreach_operator;

-- Attempts whose process should have answered for them by now.
create function attempts_overdue(grace interval, rows_max integer)
returns table (tenant_id uuid, message_id uuid, attempt smallint)
language sql stable security definer set search_path = public, pg_temp
as $$
  select a.tenant_id, a.message_id, a.attempt
  from tenants t
  cross join lateral (
    select a.tenant_id, a.message_id, a.attempt
    from send_attempts a
    where a.tenant_id = t.id and a.outcome = 'armed' and a.deadline_at < clock_timestamp() - grace
    order by a.deadline_at
    limit rows_max
  ) a
  limit rows_max
$$;

-- Attempts running now over all tenants, for the installation's `max_concurrent` and for a worker's end.
create function attempts_armed() returns bigint
language sql stable security definer set search_path = public, pg_temp
as $$ select count(*) from send_attempts where outcome = 'armed' $$;

-- Which of these attempts, of whatever tenants, the ledger does not know: places in the arrays, from 1.
create function attempts_missing(tenant_ids uuid[], message_ids uuid[], attempts smallint[]) returns setof bigint
language sql stable security definer set search_path = public, pg_temp
as $$
  select r.place
  from unnest(tenant_ids, message_ids, attempts) with ordinality as r (tenant_id, message_id, attempt, place)
  where not exists (
    select from send_attempts a
    where a.tenant_id = r.tenant_id and a.message_id = r.message_id and a.attempt = r.attempt
  )
$$;
revoke all on function attempts_missing(uuid[], uuid[], smallint[]) from public;
grant execute on function attempts_missing(uuid[], uuid[], smallint[]) to outreach_worker;

-- Active tenants of whom some send was held by a missing value: an index probe a tenant.
create function tenants_missing_values() returns table (tenant_id uuid)
language sql stable security definer set search_path = public, pg_temp
as $$
  select t.id from tenants t
  where t.state = 'active'
    and exists (select from send_refusals r where r.tenant_id = t.id and r.reason = 'value_missing')
$$;

-- Senders to be judged: those of whose mail something was heard lately, and those of a lower reputation,
-- with what became of their mail in the window.
create function senders_to_judge(span interval, lately interval) returns table (
  tenant_id uuid, sender_id uuid, from_email text, reputation reputation_state, since timestamptz, calm_at timestamptz,
  settled bigint, bounced bigint, complained bigint, bounce_percents double precision[], complaint_percents double precision[])
language sql stable security definer set search_path = public, pg_temp
as $$
  select s.tenant_id, s.id, s.from_email, s.reputation, s.reputation_at, s.reputation_calm_at,
    tally.settled, tally.bounced, tally.complained,
    array[own.bounce_percent_max, general.bounce_percent_max], array[own.complaint_percent_max, general.complaint_percent_max]
  from sender_identities s
  left join lateral (
    select o.updated_at from sender_outcomes o
    where o.tenant_id = s.tenant_id and o.sender_id = s.id
    order by o.hour_at desc limit 1
  ) latest on true
  left join send_rate_limits own on own.tenant_id = s.tenant_id and own.scope = 'sender' and own.key = s.id::text
  left join send_rate_limits general on general.tenant_id = s.tenant_id and general.scope = 'sender' and general.key = ''
  cross join lateral (
    select coalesce(sum(o.settled), 0) as settled, coalesce(sum(o.bounced), 0) as bounced,
      coalesce(sum(o.complained), 0) as complained
    from sender_outcomes o
    where o.tenant_id = s.tenant_id and o.sender_id = s.id and o.hour_at > now() - span
  ) tally
  where s.reputation <> 'good' or latest.updated_at > now() - lately
$$;

-- Hours that no judgement looks at any more are deleted; how many.
create function prune_sender_outcomes(span interval) returns bigint
language sql security definer set search_path = public, pg_temp
as $$
  with gone as (delete from sender_outcomes o where o.hour_at < now() - span returning 1) select count(*) from gone
$$;

revoke all on function senders_to_judge(interval, interval), prune_sender_outcomes(interval) from public;
grant execute on function senders_to_judge(interval, interval), prune_sender_outcomes(interval) to outreach_worker;

revoke all on function attempts_overdue(interval, integer), attempts_armed(), tenants_missing_values()
  from public;
grant execute on function attempts_overdue(interval, integer), attempts_armed(), tenants_missing_values()
  to outreach_worker;

-- Statistics for tables that have grown to twice what the planner knows, so that a first import is not
-- planned for an empty table until autovacuum comes by: every index of ours begins with the tenant, and
-- without statistics they all look alike. Small tables are left alone: a plan made for an empty one
-- stays with a session's foreign key checks. Call it in a transaction of its own.
create function learn_statistics() returns void
language plpgsql security definer set search_path = public, pg_temp
as $$
declare
  name regclass;
begin
  for name in
    select c.oid from pg_class c
    where c.oid in ('contacts'::regclass, 'enrollments'::regclass, 'scheduled_actions'::regclass,
        'campaign_transitions'::regclass, 'outbound_messages'::regclass, 'send_attempts'::regclass)
      and pg_relation_size(c.oid) / current_setting('block_size')::int > 2 * greatest(c.relpages, 10)
  loop
    execute format('analyze (skip_locked) %s', name);
  end loop;
end
$$;
revoke all on function learn_statistics() from public;
grant execute on function learn_statistics() to outreach_app, outreach_worker;
