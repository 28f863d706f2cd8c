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
left join lateral (
  select true as is_there from leads l where l.tenant_id = %(tenant_id)s::uuid and l.key = i.key limit 1
) l on true
where l.is_there is null
order by i.key
on conflict (tenant_id, key) do nothing

-- name: upsert_contacts
-- A batch of contacts, each address once (of two, the last): made, or given what the batch says of
-- them; a field that it leaves empty stays. New ones carry the suppression in force of their address
-- (the caller holds lock_suppressions). Returns how many were made, changed, and different at all.
with incoming as (
  select distinct on (lower(r.email)) lower(r.email) as email_key, lower(coalesce(r.lead_url, r.company)) as lead_key, r.*
  from unnest(
    string_to_array(%(id)s::text, e'\x1f')::uuid[],
    string_to_array(%(email)s::text, e'\x1f', ''), string_to_array(%(first_name)s::text, e'\x1f', ''),
    string_to_array(%(last_name)s::text, e'\x1f', ''), string_to_array(%(title)s::text, e'\x1f', ''),
    string_to_array(%(company)s::text, e'\x1f', ''), string_to_array(%(lead_url)s::text, e'\x1f', ''),
    string_to_array(%(phone)s::text, e'\x1f', ''), string_to_array(%(timezone)s::text, e'\x1f', ''),
    string_to_array(%(locale)s::text, e'\x1f', ''), string_to_array(%(country)s::text, e'\x1f', ''),
    string_to_array(%(consent_basis)s::text, e'\x1f', ''), string_to_array(%(consent_source)s::text, e'\x1f', ''),
    string_to_array(%(attributes)s::text, e'\x1f', '')
  ) with ordinality as r (
    id, email, first_name, last_name, title, company, lead_url, phone, timezone, locale, country, consent_basis,
    consent_source, attributes, place)
  order by lower(r.email), r.place desc
), at_lead as (
  select i.*, l.id as lead_id, coalesce(i.attributes::jsonb, '{}') as attribute_values
  from incoming i
  -- One index lookup a row: without statistics a plain join reads all that the tenant has, each time.
  -- The key is made before: row level security lets no index be used with `lower`, which may leak.
  left join lateral (
    select l.id from leads l
    where l.tenant_id = %(tenant_id)s::uuid and l.key = i.lead_key
    limit 1
  ) l on true
), news as (
  select a.*
  from at_lead a
  left join lateral (
    select true as is_there, (
      coalesce(a.lead_id, c.lead_id), coalesce(a.first_name, c.first_name), coalesce(a.last_name, c.last_name),
      coalesce(a.title, c.title), coalesce(a.company, c.company), coalesce(a.phone, c.phone),
      coalesce(a.timezone, c.timezone), coalesce(a.locale, c.locale), coalesce(a.country, c.country),
      coalesce(a.consent_basis, c.consent_basis), coalesce(a.consent_source, c.consent_source),
      c.attributes || a.attribute_values
    ) is distinct from (
      c.lead_id, c.first_name, c.last_name, c.title, c.company, c.phone, c.timezone, c.locale, c.country,
      c.consent_basis, c.consent_source, c.attributes) as is_other
    from contacts c
    where c.tenant_id = %(tenant_id)s::uuid and c.email_key = a.email_key
    limit 1
  ) c on true
  where c.is_there is null or c.is_other
), stored as (
  insert into contacts as c (
    tenant_id, id, lead_id, email, first_name, last_name, title, company, phone, timezone, locale, country,
    consent_basis, consent_source, attributes, suppressed_reason, suppressed_at)
  select %(tenant_id)s::uuid, n.id, n.lead_id, n.email, n.first_name, n.last_name, n.title, n.company, n.phone,
    n.timezone, n.locale, n.country, n.consent_basis, n.consent_source, n.attribute_values, s.reason, s.created_at
  from news n
  left join lateral (
    select s.reason, s.created_at from suppressions s
    where s.tenant_id = %(tenant_id)s::uuid and s.channel = 'email' and s.value_key = n.email_key and s.lifted_at is null
    order by s.created_at desc
    limit 1
  ) s on true
  order by n.email_key
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
  where c.erased_at is null
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
