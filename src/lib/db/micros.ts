/** SQL for a time as whole microseconds since 1970, exact. */
export function microsOf(expression: string): string {
  return `(extract(epoch from ${expression}) * 1000000)::bigint`;
}
