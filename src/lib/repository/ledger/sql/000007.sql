-- The ledger may come to hold millions of entries: what a heartbeat, a repair and a backfill's unit ask of it costs what
-- they are about.
create index ledger_pending on sensorctl.ledger (consumer_id) where state = 'pending';
create index ledger_tables on sensorctl.ledger (table_name, entry_id);
create index ledger_times on sensorctl.ledger using gist (times);

-- A scope may name hundreds of ranges, and a B-tree holds no value beyond a third of a page.
drop index sensorctl.one_backfill_at_a_time;
create unique index one_backfill_at_a_time on sensorctl.backfill (md5(scope::text)) where finished_at is null;
