-- Of a row that is kept newest by a column: when each part that rows may leave out was the newest, and what it held. It takes
-- the place of a table that knew of one such part alone. A key is a list of texts.
create table sensorctl.newest_part (
  table_name text not null,
  key text[] not null,
  -- The columns of the part.
  part text[] not null,
  newest text not null,
  content text[] not null,
  primary key (table_name, key, part)
);

insert into sensorctl.newest_part
select 'sensor_registry', array[sensor_id], array['location_lat', 'location_lng'], located_at::text, array[lat::text, lng::text]
from sensorctl.sensor_location;

-- Who wrote that table writes this one.
do $grants$
declare
  granted record;
begin
  for granted in
    select privilege_type, case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end as grantee
    from pg_class cross join lateral aclexplode(relacl)
    where oid = 'sensorctl.sensor_location'::regclass and grantee <> relowner
  loop
    execute format('grant %s on sensorctl.newest_part to %s', granted.privilege_type, granted.grantee);
  end loop;
end $grants$;

drop table sensorctl.sensor_location;
