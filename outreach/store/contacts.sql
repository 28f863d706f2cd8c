-- Contacts and the companies (leads) that they are at.

-- name: insert_leads
-- The leads of a batch that are not there yet; those that are stay as they are. The columns come as
-- texts, their values between unit separators (0x1F), an empty one meaning nothing.
with incoming as (
  select distinct on (lower(coalesce(r.url, r.company)))
    lower(coalesce(r.url, r.company)) as key, coalesce(r.company, r.url) as name, r.url
  from unnest(
    string_to_array(%(company)s::text, e'\x1f', ''), string_to_array(%(lead_url)s::text, e'\x1f', '')
  ) with ordinality as r (company, url, place)
  where coalesce(r.url, r.company) is not null
  order by lower(coalesce(r.url, r.company)), r.place desc
)
insert into leads (tenant_id, key, name, url)
select %(tenant_id)s::uuid, i.key, i.name, i.url
from incoming i
where not exists (select from leads l where l.tenant_id = %(tenant_id)s::uuid and l.key = i.key)
order by i.key
on conflict (tenant_id, key) do nothing

-- name: upsert_contacts
-- A batch of contacts, each address once (of two, the last): made, or given what the batch says of
-- them; a field that it leaves empty stays. New ones carry the suppression in force of their address
-- (the caller holds lock_suppressions). Returns how many were made, changed, and different at all.
with incoming as (
  select distinct on (lower(r.email)) lower(r.email) as email_key, r.*
  from unnest(
    string_to_array(%(email)s::text, e'\x1f', ''), string_to_array(%(first_name)s::text, e'\x1f', ''),
    string_to_array(%(last_name)s::text, e'\x1f', ''), string_to_array(%(title)s::text, e'\x1f', ''),
    string_to_array(%(company)s::text, e'\x1f', ''), string_to_array(%(lead_url)s::text, e'\x1f', ''),
    string_to_array(%(phone)s::text, e'\x1f', ''), string_to_array(%(timezone)s::text, e'\x1f', ''),
    string_to_array(%(locale)s::text, e'\x1f', ''), string_to_array(%(country)s::text, e'\x1f', ''),
    string_to_array(%(consent_basis)s::text, e'\x1f', ''), string_to_array(%(consent_source)s::text, e'\x1f', ''),
    string_to_array(%(attributes)s::text, e'\x1f', '')
  ) with ordinality as r (
    email, first_name, last_name, title, company, lead_url, phone, timezone, locale, country, consent_basis,
    consent_source, attributes, place)
  order by lower(r.email), r.place desc
), standing as (
  select distinct on (s.value_key) s.value_key, s.reason, s.created_at
  from suppressions s
  join incoming i on i.email_key = s.value_key
  where s.tenant_id = %(tenant_id)s::uuid and s.channel = 'email' and s.lifted_at is null
  order by s.value_key, s.created_at desc
), stored as (
  insert into contacts as c (
    tenant_id, lead_id, email, first_name, last_name, title, company, phone, timezone, locale, country,
    consent_basis, consent_source, attributes, suppressed_reason, suppressed_at)
  select %(tenant_id)s::uuid, l.id, i.email, i.first_name, i.last_name, i.title, i.company, i.phone, i.timezone,
    i.locale, i.country, i.consent_basis, i.consent_source, coalesce(i.attributes::jsonb, '{}'), s.reason, s.created_at
  from incoming i
  left join leads l on l.tenant_id = %(tenant_id)s::uuid and l.key = lower(coalesce(i.lead_url, i.company))
  left join standing s on s.value_key = i.email_key
  order by i.email_key
  on conflict (tenant_id, email_key) do update
  set lead_id = coalesce(excluded.lead_id, c.lead_id),
    first_name = coalesce(excluded.first_name, c.first_name),
    last_name = coalesce(excluded.last_name, c.last_name),
    title = coalesce(excluded.title, c.title),
    company = coalesce(excluded.company, c.company),
    phone = coalesce(excluded.phone, c.phone),
    timezone = coalesce(excluded.timezone, c.timezone),
    locale = coalesce(excluded.locale, c.locale),
    country = coalesce(excluded.country, c.country),
    consent_basis = coalesce(excluded.consent_basis, c.consent_basis),
    consent_source = coalesce(excluded.consent_source, c.consent_source),
    attributes = c.attributes || excluded.attributes,
    updated_at = now()
  where c.erased_at is null and (
    coalesce(excluded.lead_id, c.lead_id), coalesce(excluded.first_name, c.first_name),
    coalesce(excluded.last_name, c.last_name), coalesce(excluded.title, c.title),
    coalesce(excluded.company, c.company), coalesce(excluded.phone, c.phone),
    coalesce(excluded.timezone, c.timezone), coalesce(excluded.locale, c.locale),
    coalesce(excluded.country, c.country), coalesce(excluded.consent_basis, c.consent_basis),
    coalesce(excluded.consent_source, c.consent_source), c.attributes || excluded.attributes
  ) is distinct from (
    c.lead_id, c.first_name, c.last_name, c.title, c.company, c.phone, c.timezone, c.locale, c.country,
    c.consent_basis, c.consent_source, c.attributes)
  returning c.xmax = 0 as is_new
)
select
  count(*) filter (where is_new) as created,
  count(*) filter (where not is_new) as updated,
  (select count(*) from incoming) as distinct_rows
from stored

-- name: list_attribute_names
-- The attributes that any contact has, by name.
select distinct k.name
from contacts c
cross join lateral jsonb_object_keys(c.attributes) as k (name)
where c.tenant_id = %(tenant_id)s::uuid
order by k.name
limit %(rows_max)s::integer

-- name: list_contacts
-- The page after an address, by address; erased ones are gone.
select c.email_key, c.email, c.first_name, c.last_name, c.title, c.company, l.url as lead_url, c.phone, c.timezone,
  c.locale, c.country, c.consent_basis, c.consent_source, c.attributes
from contacts c
left join leads l on l.tenant_id = c.tenant_id and l.id = c.lead_id
where c.tenant_id = %(tenant_id)s::uuid and c.email_key > %(after)s::text and c.erased_at is null
order by c.email_key
limit %(rows_max)s::integer
