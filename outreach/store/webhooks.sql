-- Raw webhook bodies, as received.

-- name: insert_delivery
-- Once for each hash. No conflict target: naming one needs the right to read, which the web has not.
insert into webhook_deliveries (provider, payload_hash, payload, signed_at)
values (%(provider)s::text, %(payload_hash)s::bytea, %(payload)s::bytea, %(signed_at)s::timestamptz)
on conflict do nothing;

-- name: count_refused_webhooks
-- Adds to the installation's count; waits for its row.
select count_refused_webhooks(%(many)s::bigint);
