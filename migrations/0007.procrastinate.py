"""procrastinate's own schema, from a frozen copy.

The copy and not the installed package: an applied migration must mean the same thing for ever. A
test compares the copy with the package and fails when an upgrade brings another schema, which is
then a migration of its own. A Python step, because the file is run whole: it needs no splitting.
"""

from pathlib import Path

from yoyo import step

__depends__ = {"0006.events"}

SCHEMA = Path(__file__).parent / "procrastinate" / "schema-3.10.0.sql"

# Jobs are deferred inside our transactions, which act as the app or as the worker.
GRANTS = """
grant select, insert on procrastinate_jobs, procrastinate_events to outreach_app, outreach_operator;
grant select, insert, update, delete
  on procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers, procrastinate_workers
  to outreach_worker;
grant usage on sequence procrastinate_jobs_id_seq, procrastinate_events_id_seq
  to outreach_app, outreach_operator;
grant usage on all sequences in schema public to outreach_worker;
"""

DROP = """
drop table if exists
  procrastinate_events, procrastinate_periodic_defers, procrastinate_jobs, procrastinate_workers
  cascade;
do $$
declare
  signature text;
begin
  for signature in
    select oid::regprocedure::text from pg_proc
    where pronamespace = current_schema()::regnamespace and proname like 'procrastinate\\_%'
  loop
    execute 'drop function ' || signature || ' cascade';
  end loop;
end
$$;
drop type if exists procrastinate_job_to_defer_v1;
drop type if exists procrastinate_job_status, procrastinate_job_event_type;
"""


def apply(connection):
    connection.cursor().execute(SCHEMA.read_text("utf-8"))
    connection.cursor().execute(GRANTS)


def rollback(connection):
    connection.cursor().execute(DROP)


steps = [step(apply, rollback)]
