/** Sets the clock of one database off. A session of sensorctl calls no other function, so the server's own is replaced there. */
export function skewClockSql(interval: string): string {
  return `create or replace function pg_catalog.clock_timestamp() returns timestamptz language sql volatile parallel safe strict as
    $$ select pg_catalog.timeofday()::timestamptz + interval '${interval}' $$`;
}

export const MEND_CLOCK = `
  create or replace function pg_catalog.clock_timestamp() returns timestamptz
  language internal volatile parallel safe strict as 'clock_timestamp'`;
