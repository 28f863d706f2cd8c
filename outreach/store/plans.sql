-- Plan versions. A version never changes, so what was read once stays true.

-- name: list_plans
-- The plans of the given campaigns and versions; unknown pairs are left out.
select p.campaign_id, p.version, p.plan
from unnest(%(campaign_ids)s::uuid[], %(versions)s::int[]) as wanted (campaign_id, version)
join campaign_plans p
  on p.tenant_id = %(tenant_id)s::uuid and p.campaign_id = wanted.campaign_id and p.version = wanted.version
