-- Plans, the campaigns that run them, and where each contact stands.

-- depends: 0003.people

-- Addresses that a tenant's senders share, and that receivers get to know as one: warmed up together.
create table ip_pools (
  tenant_id uuid not null references tenants (id),
  name text not null check (length(name) between 2 and 64),
  first_sent_at timestamptz,  -- when the provider first accepted a mail by it; its warm-up counts from here
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, name)
);
select protect_tenant_table('ip_pools', 'select, insert', 'select, update');

create table sender_identities (
  tenant_id uuid not null references tenants (id),
  id uuid not null default new_id(),
  from_email text not null,  -- normal form
  from_name text not null check (from_name <> ''),
  reply_to text,
  state sender_state not null default 'unverified',
  verified_at timestamptz,
  verified_by text,  -- `provider`, or the operator who forced it
  provider_id text,  -- the provider's own id of this identity
  paused_at timestamptz,
  paused_by text,  -- who; null: the provider, which refuses it (403)
  pause_reason text,
  ip_pool text,
  ip_pool_at timestamptz not null default now(),  -- since when it sends by that pool, or by none
  first_sent_at timestamptz,  -- when the provider first accepted a mail of it; its warm-up counts from here
  -- Lowered by bounces and complaints (core/reputation.py): fewer sends, or none.
  reputation reputation_state not null default 'good',
  reputation_at timestamptz not null default now(),  -- since when
  reputation_calm_at timestamptz,  -- since when it could rise, were it so for long enough
  warmup_lost_seconds double precision not null default 0,  -- of the warm-up, to times of a lower reputation
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, ip_pool) references ip_pools (tenant_id, name),
  check ((state = 'verified') = (verified_at is not null)),
  check ((paused_at is null) = (pause_reason is null)),
  check (paused_by is null or paused_at is not null)
);
create unique index sender_identities_address on sender_identities (tenant_id, lower(from_email));
select protect_tenant_table('sender_identities', 'select, insert, update', 'select, update');

-- What became of each sender's mail, by the hour in which we heard of it. Kept for the window that
-- reputation is judged by.
create table sender_outcomes (
  tenant_id uuid not null,
  sender_id uuid not null,
  hour_at timestamptz not null,
  settled integer not null default 0,  -- the receiver took it, or refused it
  bounced integer not null default 0,
  complained integer not null default 0,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, sender_id, hour_at),
  foreign key (tenant_id, sender_id) references sender_identities (tenant_id, id)
) with (fillfactor = 70);
select protect_tenant_table('sender_outcomes', 'select, delete', 'select, insert, update');

create table campaigns (
  tenant_id uuid not null references tenants (id),
  id uuid not null default new_id(),
  name text not null check (name <> ''),
  state campaign_state not null default 'draft',
  sender_id uuid not null,
  plan_version integer not null default 1,
  unknown_policy unknown_policy not null default 'at_most_once',  -- of messages of which nobody knows whether they left
  launched_at timestamptz,
  paused_at timestamptz,
  paused_by text,
  pause_reason text,
  ended_at timestamptz,
  end_reason text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, name),
  foreign key (tenant_id, sender_id) references sender_identities (tenant_id, id),
  check ((state = 'draft') = (launched_at is null) or state = 'stopped'),
  check ((state = 'paused') = (paused_at is not null)),
  check ((state in ('completed', 'stopped')) = (ended_at is not null))
);
select protect_tenant_table('campaigns', 'select, insert, update', 'select, update');

-- Immutable numbered versions. A campaign names one; an enrollment keeps the one it runs.
create table campaign_plans (
  tenant_id uuid not null references tenants (id),
  id uuid not null default new_id(),
  campaign_id uuid not null,
  version integer not null check (version > 0),
  plan jsonb not null,
  hash text not null,  -- SHA-256 of the canonical form, hex
  generated_by plan_author not null default 'manual',
  notes text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, campaign_id, version),
  foreign key (tenant_id, campaign_id) references campaigns (tenant_id, id)
);
select protect_tenant_table('campaign_plans', 'select, insert', 'select');
alter table campaigns add constraint campaigns_plan
  foreign key (tenant_id, id, plan_version) references campaign_plans (tenant_id, campaign_id, version)
  deferrable initially deferred;

-- One contact in one campaign: its position, and nothing that the history can say.
create table enrollments (
  tenant_id uuid not null references tenants (id),
  id uuid not null default new_id(),
  campaign_id uuid not null,
  contact_id uuid not null,
  sender_id uuid not null,
  plan_version integer not null,
  state enrollment_state not null default 'draft',
  current_node_id text,  -- null before launch; after an end, where it ended
  visits jsonb not null default '{}',  -- entries into each node; the current visit is visits[current_node_id]
  entered_at timestamptz,
  came_by text,  -- the event that led here: not matched again under the same name
  latest_message_id uuid,  -- events about another message move nothing but the ends
  message_node_id text,  -- the node whose message that is
  accepted_at timestamptz,  -- when the provider accepted it; timers of a send node start here
  -- Where a timer moved it from, while a late event may still take that back: a position without `previous`.
  previous jsonb,
  paused_at timestamptz,
  ended_at timestamptz,
  end_reason text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, campaign_id, contact_id),
  foreign key (tenant_id, contact_id) references contacts (tenant_id, id),
  foreign key (tenant_id, campaign_id, plan_version) references campaign_plans (tenant_id, campaign_id, version),
  foreign key (tenant_id, sender_id) references sender_identities (tenant_id, id),
  check ((state = 'draft') = (current_node_id is null) or state in ('stopped', 'failed')),
  check ((state = 'paused') = (paused_at is not null)),
  check ((state in ('completed', 'stopped', 'failed')) = (ended_at is not null)),
  check ((ended_at is null) = (end_reason is null))
) with (fillfactor = 60);
-- Which campaign a contact is in now; predicates may use enums, keys may not.
create index enrollments_live on enrollments (tenant_id, contact_id) where state in ('draft', 'active', 'paused');
create index enrollments_unended on enrollments (tenant_id, campaign_id) where state in ('draft', 'active', 'paused');
select protect_tenant_table('enrollments', 'select, insert, update', 'select, update');

-- Every step of every enrollment: from where to where, and because of what.
create table campaign_transitions (
  tenant_id uuid not null references tenants (id),
  id uuid not null default new_id(),
  enrollment_id uuid not null,
  from_node_id text,
  to_node_id text,  -- null: the end
  visit integer not null,
  trigger text,  -- the plan's word: opened, no_open, …; null for the start
  code text not null,  -- entered, event, timer, completed, stopped, failed, step_taken_back, …
  reason text,  -- at an end: the code of the catalogue
  provider_event_id text,  -- the event that caused it
  detail jsonb,  -- of a person's act: `who`, and `note`, their words
  occurred_at timestamptz not null,  -- when what caused it happened
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, enrollment_id) references enrollments (tenant_id, id)
);
create index campaign_transitions_of_enrollment on campaign_transitions (tenant_id, enrollment_id, created_at);
select protect_tenant_table('campaign_transitions', 'select, insert', 'select, insert');
