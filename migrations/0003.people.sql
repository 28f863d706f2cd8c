-- Who is written to, and who must not be.

-- depends: 0002.tenants

-- A company being approached. Its key is its address on the web, else its name.
create table leads (
  tenant_id uuid not null references tenants (id),
  id uuid not null default new_id(),
  key text not null check (key <> ''),  -- lower(url), else lower(name)
  name text not null,
  url text,
  attributes jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, key)
);
select protect_tenant_table('leads', 'select, insert, update, delete', 'select');

create table contacts (
  tenant_id uuid not null references tenants (id),
  id uuid not null default new_id(),
  lead_id uuid,
  email text not null,  -- normal form (core/address.py)
  email_key text not null generated always as (lower(email)) stored,
  email_domain text not null generated always as (split_part(email, '@', 2)) stored,
  first_name text,
  last_name text,
  title text,
  company text,
  phone text,
  timezone text,  -- IANA; null: the plan's
  locale text,
  country text,
  consent_basis text,
  consent_source text,
  attributes jsonb not null default '{}',
  address_verdict address_verdict not null default 'unchecked',
  -- The latest suppression of the address. Copied here because a claim decides from locked rows only:
  -- whoever suppresses touches the row that a claim locks.
  suppressed_reason suppression_reason,
  suppressed_at timestamptz,
  erased_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, email_key),
  foreign key (tenant_id, lead_id) references leads (tenant_id, id),
  check ((suppressed_reason is null) = (suppressed_at is null))
);
create index contacts_of_lead on contacts (tenant_id, lead_id) where lead_id is not null;
select protect_tenant_table('contacts', 'select, insert, update, delete', 'select, update');

-- Addresses, and domains written `@example.com`, that a tenant must not write to. Lifting keeps the row.
create table suppressions (
  tenant_id uuid not null references tenants (id),
  id uuid not null default new_id(),
  channel text not null default 'email' check (channel in ('email', 'sms')),
  value text not null,  -- normal form
  value_key text not null generated always as (lower(value)) stored,
  reason suppression_reason not null,
  source text not null default '',  -- who or what: an event's id, `import`, a person
  note text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  created_by text not null default 'system',
  lifted_at timestamptz,
  lifted_by text,
  lift_reason text,
  primary key (tenant_id, id),
  check ((lifted_at is null) = (lifted_by is null))
);
-- Text, not the enum: under row level security an enum in an index key is only a filter.
create unique index suppressions_in_force on suppressions (tenant_id, channel, value_key, (reason_text(reason)))
  where lifted_at is null;
select protect_tenant_table('suppressions', 'select, insert, update', 'select, insert, update');
