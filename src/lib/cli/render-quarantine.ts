import { oneLine } from './output.js';
import { counted, formatTime } from './quantities.js';
import { renderTable } from './table.js';
import { shorten } from './text-layout.js';
import { type NamedRecord } from '../operations/manage-quarantine.js';

export function describeNone(resolvedToo: boolean, isOneSilent: boolean): string {
  const what = resolvedToo ? 'No record' : 'No open record';
  return isOneSilent ? `${what} on the side that answers.` : `${what} on any side.`;
}

const REASON_WIDTH = 60;

export function renderRecords(records: readonly NamedRecord[]): string {
  const rows = records.map(({ keptOn, id, quarantinedAt, faults, furtherFaults, resolution }) => {
    const [first] = faults;
    const more = faults.length + furtherFaults - 1;
    const reason = `${more > 0 ? `(1 of ${more + 1}) ` : ''}${first?.reason ?? ''}`;
    return [
      `${keptOn}:${id}`,
      formatTime(quarantinedAt).slice(0, 19),
      first?.sensorId ?? '-',
      shorten(oneLine(reason), REASON_WIDTH),
      resolution ?? 'open',
    ];
  });
  const table = renderTable(['record', 'since (UTC)', 'sensor', 'reason', 'state'], rows);
  return `${table}\nNext: sensorctl quarantine show ${rows[0]?.[0] ?? ''}`;
}

export function renderRecord({ body, faults, furtherFaults, ...facts }: NamedRecord): string {
  const listed = faults.map(({ reason, ...about }) => {
    const known = Object.entries(about).filter(([, value]) => value !== null);
    return [`fault: ${reason}`, ...known.map(([name, value]) => `  ${name}: ${value}`)].map(oneLine).join('\n');
  });
  const more = furtherFaults > 0 ? [`and ${counted(furtherFaults, 'fault')} more`] : [];
  return [
    ...Object.entries(facts).map(([name, value]) => oneLine(`${name}: ${value ?? '-'}`)),
    ...listed,
    ...more,
    '',
    // Set in, so that no line of a message looks like one of ours; --json prints it as it came.
    ...body.split('\n').map((line) => `  ${line}`),
  ].join('\n');
}
