drop table if exists inbound_messages;
drop type if exists inbound_class;
