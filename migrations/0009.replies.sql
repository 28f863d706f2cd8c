-- Mail that comes in: kept as received, then read, matched to the message that it answers, and applied.

-- depends: 0008.lanes

create type inbound_class as enum ('reply', 'out_of_office', 'bounce', 'unsubscribe_request', 'other');

-- A mail belongs to nobody until its message is found; what is never found stays so. Who is nobody sees
-- only what is nobody's; a tenant sees its own.
create table inbound_messages (
  id uuid primary key default new_id(),
  tenant_id uuid references tenants (id),
  received_at timestamptz not null default now(),
  mail_hash bytea not null unique check (length(mail_hash) = 32),  -- SHA-256 of the whole mail and its envelope's recipients
  raw bytea not null,  -- the mail, or its head where it is longer than is kept
  raw_length bigint not null check (raw_length >= octet_length(raw)),
  envelope jsonb not null default '{}',  -- as the mail servers handed it on: `to`, `from`
  state webhook_state not null default 'received',
  applied_at timestamptz,
  problem text,  -- why it is quarantined, or was not applied to anybody
  outbound_message_id uuid,
  enrollment_id uuid,
  matched_by text check (matched_by in ('address', 'references')),
  class inbound_class,
  is_repeat boolean not null default false,  -- another row is the same mail to the same message
  mail_id text,  -- of its Message-ID header
  from_address text,
  from_name text,
  subject text,
  sent_at timestamptz,
  body_text text,  -- what its writer wrote: no history, no signature
  body_html text,  -- all of it, made safe
  returns_on date,  -- of an absence
  detail jsonb not null default '{}',  -- headers of machines, the bounce's words, attachments by name and size
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  foreign key (tenant_id, outbound_message_id) references outbound_messages (tenant_id, id),
  check ((state = 'received') = (applied_at is null)),
  check ((tenant_id is null) = (outbound_message_id is null)),
  check ((tenant_id is null) = (matched_by is null)),
  check (returns_on is null or class = 'out_of_office')
);
create index inbound_messages_to_apply on inbound_messages (received_at) where state = 'received';
create index inbound_messages_by_time on inbound_messages (received_at);
create index inbound_messages_of_message on inbound_messages (tenant_id, outbound_message_id, received_at);
create unique index inbound_messages_once on inbound_messages (tenant_id, outbound_message_id, mail_id) where not is_repeat;
alter table inbound_messages enable row level security;
alter table inbound_messages force row level security;
create policy owner_sees_all on inbound_messages to current_user using (true) with check (true);
create policy reader_sees_all on inbound_messages for select to outreach_readonly using (true);
create policy web_stores on inbound_messages for insert to outreach_app with check (tenant_id is null);
create policy tenant_sees_own on inbound_messages for select to outreach_app using (tenant_id = (select app_tenant()));
create policy worker_applies on inbound_messages to outreach_worker
  using (tenant_id is null or tenant_id = (select app_tenant()))
  with check (tenant_id is null or tenant_id = (select app_tenant()));
grant select on inbound_messages to outreach_readonly;
grant select, insert on inbound_messages to outreach_app;
grant select, insert, update on inbound_messages to outreach_worker;
