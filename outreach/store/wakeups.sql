-- Wake-ups: procrastinate's jobs, which say that there is work and never what it is.

-- name: wake
-- One waiting job a lock, in the order of the locks. Where another transaction has just asked for the
-- same, waits for its end, so it comes last in a transaction.
insert into procrastinate_jobs (queue_name, task_name, priority, queueing_lock, args)
select w.queue, w.task, w.priority, w.queueing_lock, w.args
from unnest(
  %(queues)s::text[], %(tasks)s::text[], %(priorities)s::int[], %(queueing_locks)s::text[], %(args)s::jsonb[]
) as w (queue, task, priority, queueing_lock, args)
order by w.queueing_lock
on conflict (queueing_lock) where status = 'todo' do nothing;
