-- Wake-ups: procrastinate's jobs, which say that there is work and never what it is.

-- name: wake
-- One waiting job a lock, in the order of the locks; sends of a tenant that has a queue of its own go there.
-- Where another transaction has just asked for the same, waits for its end, so it comes last in a transaction.
-- Who has news of a tenant, and so acts for it, also ends its parking: should the job be lost, the sweep looks.
with news as (
  update tenants t
  set parked_until = null, updated_at = now()
  from unnest(%(tasks)s::text[], %(args)s::jsonb[]) as w (task, args)
  where w.task = 'send_due' and t.id = (w.args ->> 'tenant_id')::uuid and t.parked_until is not null
)
insert into procrastinate_jobs (queue_name, task_name, priority, queueing_lock, args)
select
  case when w.task = 'send_due' then coalesce(own_queue((w.args ->> 'tenant_id')::uuid), w.queue) else w.queue end,
  w.task, w.priority, w.queueing_lock, w.args
from unnest(
  %(queues)s::text[], %(tasks)s::text[], %(priorities)s::int[], %(queueing_locks)s::text[], %(args)s::jsonb[]
) as w (queue, task, priority, queueing_lock, args)
order by w.queueing_lock
on conflict (queueing_lock) where status = 'todo' do nothing;

-- name: move_waiting_sends
-- Wake-ups that wait in a queue that is not their tenant's any more. Locks them; as the worker.
with astray as (
  select j.id, coalesce(own_queue((j.args ->> 'tenant_id')::uuid), %(queue)s::text) as queue
  from procrastinate_jobs j
  where j.task_name = 'send_due' and j.status = 'todo'
)
update procrastinate_jobs j
set queue_name = a.queue
from astray a
where j.id = a.id and j.status = 'todo' and j.queue_name <> a.queue;
