import type { Row, Value } from '../domain/row.js';
import type { DecodedLine, DecodeSummary } from '../operations/decode.js';
import { oneLine } from './output.js';
import { renderTable } from './table.js';

/** A value as JSON has it: whole numbers beyond a double, and bytes, as text. */
export type PrintedValue = Exclude<Value, bigint | Uint8Array>;

/** A row as `decode --json` prints it. */
export interface PrintedRow {
  readonly table: string;
  readonly write: Row['write'];
  readonly unit?: string | number;
  readonly values: Readonly<Record<string, PrintedValue>>;
}

/** A message as `decode --json` prints it. */
export interface PrintedMessage extends Pick<DecodedLine, 'file' | 'line' | 'faults'> {
  readonly rows: readonly PrintedRow[];
  readonly differs: readonly PrintedRow[] | null;
}

export function printMessage({ file, line, rows, faults, differs }: DecodedLine): PrintedMessage {
  return { file, line, rows: rows.map(printRow), faults, differs: differs?.map(printRow) ?? null };
}

function printRow({ table, values, write = 'first', unit }: Row): PrintedRow {
  const printed = Object.entries(values).map(([name, value]) => [name, printValue(value)] as const);
  return { table, write, ...(unit === undefined ? {} : { unit }), values: Object.fromEntries(printed) };
}

function printValue(value: Value): PrintedValue {
  if (typeof value === 'bigint') return String(value);
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString('hex')}`;
  return value;
}

/** What became of one message: a line for each row and fault. */
export function renderMessage(message: DecodedLine): string {
  const { file, line, rows, faults, differs } = printMessage(message);
  const about = (row: PrintedRow): string => `${row.table}${ruleOf(row)} ${JSON.stringify(row.values)}`;
  const lines = [
    ...rows.map((row) => `  row    ${about(row)}`),
    ...faults.map(({ reason }) => `  FAULT  ${reason}`),
    ...(rows.length + faults.length === 0 ? ['  nothing: it is acknowledged, and nothing is stored'] : []),
    ...(differs === null ? [] : ['  DIFFERS the second time:', ...differs.map((row) => `    row    ${about(row)}`)]),
  ];
  return [`${file}:${line}`, ...lines].map(oneLine).join('\n');
}

function ruleOf({ write }: PrintedRow): string {
  return write === 'first' || write === undefined ? '' : ` (newest by ${write.newestBy})`;
}

export function renderDecodeSummary({ tables, reasons, ...counts }: DecodeSummary): string {
  const account = renderTable(
    ['decoded twice', 'count'],
    [
      ['messages', counts.messages],
      ['= stored whole', counts.sound],
      ['+ with a fault, for the quarantine', counts.faulty],
      ['+ that mean nothing to the decoder', counts.empty],
      ['not the same the second time', counts.differing],
    ],
  );
  const rows = renderTable(
    ['table', 'rows'],
    tables.map(({ table, rows: count }) => [table, count]),
  );
  const faults = renderTable(
    ['reason', 'faults'],
    reasons.map(({ reason, faults: count }) => [reason, count]),
  );
  return [account, ...(tables.length > 0 ? [rows] : []), ...(reasons.length > 0 ? [faults] : [])].join('\n');
}
