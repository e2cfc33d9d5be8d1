-- Other writers: programs beside the consumer. Triggers on the tables that are tracked enter in the ledger what a statement
-- touched, in the writer's own transaction, and let nobody write on the side that is not the primary.

-- Always empty. Statements of other writers hold it in row share mode until their transaction ends, the commit point of a
-- switch in exclusive mode.
create table sensorctl.gate (nothing boolean constraint always_empty check (false));

-- Who is the primary, in a row that nothing but a change of the primary touches: writers under REPEATABLE READ and
-- SERIALIZABLE lock it, and fail where it is newer than their snapshot.
create table sensorctl.primary_record (
  singleton boolean primary key default true constraint one_primary check (singleton),
  primary_side text not null constraint known_primary check (primary_side in ('local', 'ec2')),
  changes bigint not null default 0
);

insert into sensorctl.primary_record (primary_side) select coalesce((select primary_side from sensorctl.state), 'local');

-- Which tables are tracked, as the ledger names them. `versions` changes with every change of their triggers: what is equal
-- is proven by a comparison that began after that.
create table sensorctl.tracked_table (
  table_name text primary key,
  tracked_at timestamptz not null default clock_timestamp(),
  versions text not null
);

create function sensorctl.record_primary() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $record$
  begin
    update sensorctl.primary_record set primary_side = new.primary_side, changes = changes + 1
    where primary_side <> new.primary_side;
    return null;
  end $record$;

create trigger record_primary after insert or update on sensorctl.state
for each row execute function sensorctl.record_primary();

-- The second half of `pass_gate`: each statement of a volatile function has a snapshot of its own under READ COMMITTED.
create function sensorctl.hold_gate(own_side text, seen bigint) returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp as $gate$
  declare
    recorded sensorctl.primary_record;
  begin
    select * into recorded from sensorctl.primary_record;
    if recorded.changes = seen and recorded.primary_side <> own_side then
      raise exception 'sensorctl: % is the primary of this database, and this is %: write to %',
        case recorded.primary_side when 'ec2' then 'EC2' else 'local' end, case own_side when 'ec2' then 'EC2' else 'local' end,
        case recorded.primary_side when 'ec2' then 'EC2' else 'local' end using errcode = 'read_only_sql_transaction';
    end if;
    if recorded.changes = seen then
      lock table sensorctl.gate in row share mode;
      if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
        -- Fails with 40001 by itself where the row is newer than the snapshot.
        select * into recorded from sensorctl.primary_record for share;
      else
        select * into recorded from sensorctl.primary_record;
      end if;
    end if;
    if recorded.changes is distinct from seen then
      raise exception 'sensorctl: who is the primary changed while this statement was under way: try again'
        using errcode = 'serialization_failure';
    end if;
  end $gate$;

-- Before each statement of another writer. Argument: which side this is. A statement that was under way while the primary
-- changed must not go on: its snapshot shows what was there before. So this function is stable: it reads the record in the
-- snapshot of the statement itself.
create function sensorctl.pass_gate() returns trigger language plpgsql stable security definer
set search_path = pg_catalog, pg_temp as $gate$
  begin
    perform sensorctl.hold_gate(tg_argv[0], (select changes from sensorctl.primary_record));
    return null;
  end $gate$;

-- Before a delete on a hypertable: a row trigger makes TimescaleDB decompress what the delete touches, and its limit would
-- let deletes fail that worked before.
create function sensorctl.lift_decompression_limit() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp as $limit$
  begin
    perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    return null;
  end $limit$;

-- SQL for the columns of these numbers, of a row `r`, as a list of texts; null where one is no more. Numbers, since a column
-- that is renamed must not make its writers fail. Only a type of the server's own is cast: who owns a type can own its casts,
-- and these would run with the rights of sensorctl.
create function sensorctl.key_sql(relation oid, numbers smallint[]) returns text language plpgsql stable as $key$
  begin
    return (
      select case when count(*) = cardinality(numbers) then 'jsonb_build_array(' || string_agg(
        case typnamespace when 'pg_catalog'::regnamespace then format('r.%I::text', attname)
          else format('case when num_nulls(r.%1$I) = 0 then format(''%%s'', r.%1$I) end', attname) end, ', ' order by place
      ) || ')' end
      from unnest(numbers) with ordinality as part (number, place)
      join pg_attribute on attrelid = relation and attnum = number and not attisdropped join pg_type on pg_type.oid = atttypid
    );
  end $key$;

-- SQL for whether rows `r` and `other` are equal in these columns, by the same rule.
create function sensorctl.same_key_sql(relation oid, numbers smallint[]) returns text language plpgsql stable as $same$
  begin
    return (
      select string_agg(case typnamespace when 'pg_catalog'::regnamespace then format('other.%1$I = r.%1$I', attname)
        else format('format(''%%s'', other.%1$I) = format(''%%s'', r.%1$I)', attname) end, ' and ')
      from unnest(numbers) as part (number)
      join pg_attribute on attrelid = relation and attnum = number join pg_type on pg_type.oid = atttypid
    );
  end $same$;

-- SQL for the column of this number, of a row `r`, as a timestamptz; null where it is none.
create function sensorctl.axis_sql(relation oid, given smallint) returns text language plpgsql stable as $axis$
  begin
    return (
      select case atttypid when 'timestamptz'::regtype then format('r.%I', attname)
        when 'timestamp'::regtype then format('r.%I at time zone ''UTC''', attname)
        when 'date'::regtype then format('case when r.%1$I between ''0001-01-01'' and ''9999-01-01''
          then r.%1$I::timestamp at time zone ''UTC'' end', attname) end
      from pg_attribute where attrelid = relation and attnum = given
    );
  end $axis$;

-- SQL that is true for a time that a range of the ledger can hold.
create function sensorctl.usual_time_sql(axis text) returns text language sql immutable as $usual$
  select format('(%1$s >= ''0001-01-01Z'' and %1$s < ''9999-01-01Z'')', axis)
$usual$;

-- Who wrote, for people who read the ledger.
create function sensorctl.writer_name() returns text language sql stable as $writer$
  select 'written by ' || coalesce(nullif(current_setting('application_name'), ''), 'another program') || ' as ' || session_user
$writer$;

-- Any row of the table may have changed.
create function sensorctl.enter_whole_table(label text, touched bigint) returns void language sql as $enter$
  insert into sensorctl.ledger (table_name, state, reason, times, readings, whole_table)
  values (label, 'missed', sensorctl.writer_name(), '{}', least(touched, 2147483647)::integer, true)
$enter$;

-- A thousand keys at most. Null is none.
create function sensorctl.enter_keys(label text, keys jsonb, gone jsonb) returns void language plpgsql as $enter$
  begin
    insert into sensorctl.ledger (table_name, state, reason, times, readings, keys, gone) values (label, 'missed',
      sensorctl.writer_name(), '{}', coalesce(jsonb_array_length(keys), 0) + coalesce(jsonb_array_length(gone), 0), keys, gone);
  end $enter$;

-- SQL that enters keys, a thousand an entry. `touched` is a query of keys and of whether the row is gone. $1: the table.
create function sensorctl.enter_keys_sql(touched text) returns text language sql immutable as $enter$
  select 'insert into sensorctl.ledger (table_name, state, reason, times, readings, keys, gone)
    select $1, ''missed'', sensorctl.writer_name(), ''{}'', count(*),
      jsonb_agg(key) filter (where not is_gone), jsonb_agg(key) filter (where is_gone)
    from (select key, is_gone, (row_number() over () - 1) / 1000 as part from (' || touched || ') as touched) as numbered
    group by part'
$enter$;

-- SQL that enters the times of many rows, as some thousand ranges at most; says whether there are rows without such a time.
-- $1: the table.
create function sensorctl.enter_times_sql(axis text) returns text language sql immutable as $enter$
  select format('with bins as materialized (
      select min(%1$s) as first_time, max(%1$s) as last_time, count(*) as rows, is_usual
      from (select %2$s is true as is_usual, r.* from sensorctl_new as r) as r
      group by is_usual, case when is_usual then date_bin(interval ''1 hour'', %1$s, ''2000-01-01Z'') end
    ), width as (
      select greatest((max(last_time) - min(first_time)) / 1000, interval ''1 hour'') as width from bins where is_usual
    ), entered as (
      insert into sensorctl.ledger (table_name, state, reason, times, readings)
      select $1, ''missed'', sensorctl.writer_name(), range_agg(range), sum(rows) from (
        select tstzrange(min(first_time), max(last_time) + interval ''1 microsecond'') as range, sum(rows) as rows
        from bins cross join width where is_usual group by date_bin(width, first_time, ''2000-01-01Z'')
      ) as ranges having count(*) > 0
    )
    select exists (select from bins where not is_usual)', axis, sensorctl.usual_time_sql(axis))
$enter$;

-- The three functions below enter what a statement touched, from its transition tables. Arguments: the table as the ledger
-- names it; `key`, the numbers of the columns of its key, and that of its axis or 0. A table without a key has `place` and
-- the number of its axis instead: what is entered then are places on it, and `gone` says that any row there may be no more.
-- Where it has neither, the whole table is entered. All values are written as in any session of sensorctl.
create function sensorctl.enter_inserted() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO' set intervalstyle = 'postgres'
set bytea_output = 'hex' set extra_float_digits = 1 as $entry$
  declare
    key text := sensorctl.key_sql(tg_relid, tg_argv[2]::smallint[]);
    rows bigint := (select count(*) from (select from sensorctl_new limit 5001) as first);
    axis text := case when rows > 5000 then sensorctl.axis_sql(tg_relid, tg_argv[3]::smallint) end;
    keys jsonb;
    has_odd boolean;
  begin
    if rows = 0 then
      return null;
    elsif key is null then
      perform sensorctl.enter_whole_table(tg_argv[0], (select count(*) from sensorctl_new));
    elsif rows <= 1000 then
      execute format('select jsonb_agg(%s) from sensorctl_new as r', key) into keys;
      perform sensorctl.enter_keys(tg_argv[0], keys, null);
    elsif axis is null then
      execute sensorctl.enter_keys_sql(format('select %s as key, false as is_gone from sensorctl_new as r', key)) using tg_argv[0];
    else
      execute sensorctl.enter_times_sql(axis) into has_odd using tg_argv[0];
      if has_odd then
        execute sensorctl.enter_keys_sql(format('select %s as key, false as is_gone from sensorctl_new as r where %s is not true',
          key, sensorctl.usual_time_sql(axis))) using tg_argv[0];
      end if;
    end if;
    return null;
  end $entry$;

create function sensorctl.enter_updated() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO' set intervalstyle = 'postgres'
set bytea_output = 'hex' set extra_float_digits = 1 as $entry$
  declare
    key text := sensorctl.key_sql(tg_relid, tg_argv[2]::smallint[]);
    rows bigint := (select count(*) from (select from sensorctl_new limit 5001) as first);
    axis text := case when rows > 5000 then sensorctl.axis_sql(tg_relid, tg_argv[3]::smallint) end;
    keys jsonb;
    old_keys jsonb;
    keys_changed boolean := true;
  begin
    if rows = 0 then
      return null;
    elsif key is null then
      perform sensorctl.enter_whole_table(tg_argv[0], (select count(*) from sensorctl_new));
      return null;
    elsif rows <= 1000 then
      execute format('select jsonb_agg(%s) from sensorctl_new as r', key) into keys;
      execute format('select jsonb_agg(%s) from sensorctl_old as r', key) into old_keys;
      if tg_argv[1] = 'key' then
        old_keys := (select jsonb_agg(was) from (select jsonb_array_elements(old_keys) as was except
          select jsonb_array_elements(keys)) as gone where keys <> old_keys);
      end if;
      perform sensorctl.enter_keys(tg_argv[0], keys, old_keys);
      return null;
    elsif tg_argv[1] = 'place' then
      execute sensorctl.enter_keys_sql(format('select distinct %1$s as key, false as is_gone from sensorctl_new as r
        union all select distinct %1$s, true from sensorctl_old as r', key)) using tg_argv[0];
      return null;
    end if;
    if axis is not null then
      execute format('select exists (select from sensorctl_old as r where not exists (
          select from sensorctl_new as other where %s)) or exists (select from sensorctl_new as r where %s is not true)',
        sensorctl.same_key_sql(tg_relid, tg_argv[2]::smallint[]), sensorctl.usual_time_sql(axis)) into keys_changed;
    end if;
    if keys_changed then
      execute sensorctl.enter_keys_sql(format('select %1$s as key, false as is_gone from sensorctl_new as r
        union all (select %1$s, true from sensorctl_old as r except select %1$s, true from sensorctl_new as r)', key))
        using tg_argv[0];
    else
      execute sensorctl.enter_times_sql(axis) into keys_changed using tg_argv[0];
    end if;
    return null;
  end $entry$;

create function sensorctl.enter_deleted() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO' set intervalstyle = 'postgres'
set bytea_output = 'hex' set extra_float_digits = 1 as $entry$
  declare
    key text := sensorctl.key_sql(tg_relid, tg_argv[2]::smallint[]);
    rows bigint := (select count(*) from (select from sensorctl_old limit 1001) as first);
    gone jsonb;
  begin
    if rows = 0 then
      return null;
    elsif key is null then
      perform sensorctl.enter_whole_table(tg_argv[0], (select count(*) from sensorctl_old));
    elsif rows <= 1000 then
      execute format('select jsonb_agg(%s) from sensorctl_old as r', key) into gone;
      perform sensorctl.enter_keys(tg_argv[0], null, gone);
    else
      execute sensorctl.enter_keys_sql(format('select %s as key, true as is_gone from sensorctl_old as r', key)) using tg_argv[0];
    end if;
    return null;
  end $entry$;

-- After each row, where a transition table is not to be had: an entry a row. The arguments are the same, but for the last
-- one: `chunk` says that the numbers are those of the hypertable, while the row is of a chunk, which may have other ones.
create function sensorctl.enter_row() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO' set intervalstyle = 'postgres'
set bytea_output = 'hex' set extra_float_digits = 1 as $entry$
  declare
    root oid := coalesce((select inhparent from pg_inherits where inhrelid = tg_relid and tg_argv[3] = 'chunk'), tg_relid);
    key text := sensorctl.key_sql(root, tg_argv[2]::smallint[]);
    was jsonb;
    made jsonb;
  begin
    if key is null then
      perform sensorctl.enter_whole_table(tg_argv[0], 1);
      return null;
    end if;
    if tg_op <> 'INSERT' then
      execute format('select %s from (select ($1).*) as r', key) into was using old;
    end if;
    if tg_op <> 'DELETE' then
      execute format('select %s from (select ($1).*) as r', key) into made using new;
    end if;
    perform sensorctl.enter_keys(tg_argv[0], case when made is not null then jsonb_build_array(made) end,
      case when was is not null and (tg_argv[1] = 'place' or was is distinct from made) then jsonb_build_array(was) end);
    return null;
  end $entry$;

create function sensorctl.enter_truncated() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $entry$
  begin
    perform sensorctl.enter_whole_table(tg_argv[0], 1);
    return null;
  end $entry$;

-- Writers need no right on these: a trigger's function is checked when the trigger is made.
revoke all on function sensorctl.record_primary, sensorctl.hold_gate, sensorctl.pass_gate, sensorctl.lift_decompression_limit,
  sensorctl.key_sql, sensorctl.same_key_sql, sensorctl.axis_sql, sensorctl.writer_name, sensorctl.enter_whole_table, sensorctl.enter_keys, sensorctl.enter_keys_sql,
  sensorctl.enter_times_sql, sensorctl.usual_time_sql, sensorctl.enter_inserted, sensorctl.enter_updated,
  sensorctl.enter_deleted, sensorctl.enter_row, sensorctl.enter_truncated from public;
