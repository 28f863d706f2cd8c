-- How the installation is, for whoever looks after it.

-- name: read_server
-- The server's version and its wall clock.
select current_setting('server_version') as version, clock_timestamp() as at;

-- name: read_brakes
-- What holds everybody's mail back, and how many webhooks were turned away.
select state::text, pause_reason, provider_paused_at, provider_pause_reason, provider_later_until,
  provider_failures, data_loss_reason,
  webhooks_refused
from installation;

-- name: list_alarms
-- Alarms that nobody has closed, and messages of which nobody knows, counted over all tenants. As the worker.
select code, many from open_alarms() order by code;

-- name: list_queues
-- Jobs that wait or run, by queue, and the age of the oldest one's last step in seconds. As the worker.
select j.queue_name as queue,
  count(*) filter (where j.status = 'todo') as todo,
  count(*) filter (where j.status = 'doing') as doing,
  extract(epoch from now() - min(e.at))::double precision as oldest_seconds
from procrastinate_jobs j
left join lateral (
  select max(e.at) as at from procrastinate_events e where e.job_id = j.id
) e on true
where j.status in ('todo', 'doing')
group by j.queue_name
order by j.queue_name;

-- name: list_workers
-- Seconds since each worker was last heard of, newest first, bounded. As the worker.
select id, extract(epoch from now() - last_heartbeat)::double precision as silent_seconds
from procrastinate_workers
order by last_heartbeat desc
limit %(rows_max)s::integer;
