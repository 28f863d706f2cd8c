-- What became of senders' mail, and what that makes of them (core/reputation.py).

-- name: add_outcomes
-- Adds to the present hour of each sender, in order of id: appliers of one sender wait for each other's
-- commit here, at the end of what they do.
insert into sender_outcomes as o (tenant_id, sender_id, hour_at, settled, bounced, complained)
select %(tenant_id)s::uuid, n.sender_id, date_bin('1 hour', now(), '2000-01-01T00:00Z'), n.settled, n.bounced, n.complained
from unnest(%(sender_ids)s::uuid[], %(settled)s::int[], %(bounced)s::int[], %(complained)s::int[])
  as n (sender_id, settled, bounced, complained)
order by n.sender_id
on conflict (tenant_id, sender_id, hour_at) do update
set settled = o.settled + excluded.settled, bounced = o.bounced + excluded.bounced,
  complained = o.complained + excluded.complained, updated_at = now();

-- name: list_senders_to_judge
-- Over all tenants: senders of whose mail something was heard lately, and those of a lower reputation.
select tenant_id, sender_id, from_email, reputation::text, since, calm_at, settled::int, bounced::int, complained::int,
  bounce_percents, complaint_percents, now() as now
from senders_to_judge(make_interval(hours => %(hours)s::int), make_interval(secs => %(lately_seconds)s::float8));

-- name: set_reputation_if_same
-- Writes a judgement down unless somebody else judged, or forgave, meanwhile. The warm-up keeps what the
-- reputation of before has taken of it. Waits for a claim that has the row.
update sender_identities s
set reputation = %(reputation)s::reputation_state,
  reputation_at = %(since)s::timestamptz,
  reputation_calm_at = %(calm_at)s::timestamptz,
  warmup_lost_seconds = s.warmup_lost_seconds + case
    when s.reputation_at <> %(since)s::timestamptz and s.first_sent_at is not null
    then extract(epoch from %(since)s::timestamptz - s.reputation_at)
      * case s.reputation when 'slowed' then 0.5 when 'stopped' then 1 else 0 end
    else 0 end,
  updated_at = now()
where s.tenant_id = %(tenant_id)s::uuid and s.id = %(sender_id)s::uuid and s.reputation = %(was)s::reputation_state
  and s.reputation_at = %(was_since)s::timestamptz;

-- name: delete_outcomes
-- Forget what became of a sender's mail; how many hours that were.
delete from sender_outcomes
where tenant_id = %(tenant_id)s::uuid and sender_id = %(sender_id)s::uuid;

-- name: prune_outcomes
-- Hours that no judgement looks at any more, over all tenants; how many.
select prune_sender_outcomes(make_interval(hours => %(hours)s::int));

-- name: end_reputation_holds
-- The sender goes at another pace: its holds by limits and reputation are decided anew.
update send_holds
set ended_at = now(), updated_at = now()
where tenant_id = %(tenant_id)s::uuid and scope = 'sender' and subject_id = %(sender_id)s::uuid and ended_at is null
  and (reason like 'limit%%' or reason like 'reputation%%');

-- name: forgive_sender
-- A person's word: the sender's reputation is good again. Returns nothing where it was. The warm-up keeps
-- what it lost.
update sender_identities s
set reputation = 'good', reputation_at = now(), reputation_calm_at = null,
  warmup_lost_seconds = s.warmup_lost_seconds + case when s.first_sent_at is null then 0 else
    extract(epoch from now() - s.reputation_at) * case s.reputation when 'slowed' then 0.5 else 1 end end,
  updated_at = now()
where s.tenant_id = %(tenant_id)s::uuid and s.id = %(sender_id)s::uuid and s.reputation <> 'good';
