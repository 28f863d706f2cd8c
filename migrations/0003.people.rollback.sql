drop table if exists suppressions, contacts, leads;
