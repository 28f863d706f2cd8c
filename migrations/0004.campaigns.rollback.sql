drop table if exists campaign_transitions, enrollments;
alter table if exists campaigns drop constraint if exists campaigns_plan;
drop table if exists campaign_plans, campaigns, sender_outcomes, sender_identities, ip_pools;
