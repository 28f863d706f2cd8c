drop function if exists look_below_floors(interval);
drop function if exists tenants_due(integer, interval);
drop function if exists own_queue(uuid);
drop table if exists tenant_floors, lane_floors;
