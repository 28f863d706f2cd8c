-- Wake-ups: procrastinate's jobs, which say that there is work and never what it is.

-- name: wake
-- One waiting job a lock. Where another transaction has just asked for the same, waits for its end,
-- so it comes last in a transaction.
insert into procrastinate_jobs (queue_name, task_name, queueing_lock, args)
values (%(queue)s::text, %(task)s::text, %(queueing_lock)s::text, %(args)s::jsonb)
on conflict (queueing_lock) where status = 'todo' do nothing;
