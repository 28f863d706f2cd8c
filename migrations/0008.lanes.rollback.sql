drop function if exists look_below_floors(interval);
drop function if exists tenants_due(integer, interval);
drop function if exists own_queue(uuid);
drop table if exists tenant_floors, lane_floors;
alter table if exists enrollments reset (autovacuum_vacuum_scale_factor);
alter table if exists procrastinate_jobs reset (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
alter table if exists procrastinate_events reset (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
