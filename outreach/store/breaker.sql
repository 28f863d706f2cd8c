-- The account's breaker: how long nobody sends when the provider gives no clear answers.

-- name: open_breaker
-- Nobody sends for a while: each time twice as long, until a probe gets through. Who finds it open leaves
-- it, so that several batches that fail together count once. Returns the wait in seconds.
update installation
set provider_failures = provider_failures + 1,
  provider_later_until = now() + make_interval(
    secs => least(%(first_seconds)s::double precision * 2 ^ least(provider_failures, 20), %(seconds_max)s::double precision)),
  updated_at = now()
where provider_later_until is null or provider_later_until <= now()
returning extract(epoch from provider_later_until - now())::double precision;
