/** SQL for a time as whole microseconds since 1970, exact. */
export function microsOf(expression: string): string {
  return `(extract(epoch from ${expression}) * 1000000)::bigint`;
}

/** SQL for the bounds of a range of times as the columns `from` and `to`, in whole microseconds since 1970. */
export function boundsOf(range: string): string {
  return `${microsOf(`lower(${range})`)} as "from", ${microsOf(`upper(${range})`)} as "to"`;
}
