import { renderTable } from './table.js';
import { type DemoReport } from '../operations/demo/demo.js';

export function renderDemoReport({ sent, consumed, local, ec2, missed, adds }: DemoReport): string {
  const sides = renderTable(
    ['table', 'local rows', 'EC2 rows', 'local newest', 'EC2 newest'],
    local.tables.map((here, index) => {
      const there = ec2.tables[index];
      return [here.table, here.rows, there?.rows ?? 0, here.newest ?? '-', there?.newest ?? '-'];
    }),
  );
  const account = renderTable(
    ['account of every message', 'count'],
    [
      ['messages sent', sent],
      ['+ further readings of gateway messages', consumed.furtherReadings],
      ['= readings that local accepted', consumed.accepted],
      ['+ retransmissions that local refused', consumed.refused],
      ['+ quarantined, with the reason', consumed.quarantined],
      ['readings on local', local.rows],
      ['= readings on EC2', ec2.rows],
      ['+ readings that the ledger says EC2 lacks', missed],
    ],
  );
  const verdict = adds
    ? 'It adds up: nothing is lost, and what EC2 lacks is known.'
    : 'It does not add up: this is a defect in sensorctl.';
  return `${sides}\n${account}\n${verdict}`;
}
