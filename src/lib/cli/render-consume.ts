import { counted, formatGapTimes } from './quantities.js';
import { renderTable } from './table.js';
import { type ConsumeReport } from '../operations/consume/consume.js';

export function renderConsumeReport({ gaps, ...summary }: ConsumeReport): string {
  const items = summary.accepted + summary.refused + summary.quarantined;
  const unsent = Math.max(0, summary.accepted - summary.confirmed - summary.missed - summary.refusedBySecondary);
  const account = renderTable(
    ['consumed', 'count'],
    [
      ['messages', summary.messages],
      ['further readings of gateway messages', summary.furtherReadings],
      ['= readings accepted by the primary', summary.accepted],
      ['+ retransmissions that it refused', summary.refused],
      ['+ quarantined', summary.quarantined],
      ['  (sum)', items],
      ['sent to the secondary and confirmed', summary.confirmed],
      ['entered in the ledger as missed', summary.missed],
      ['entered in the ledger as refused by the secondary', summary.refusedBySecondary],
      ['neither yet (one side alone is written, or on the way)', unsent],
      ['not acknowledged (will come again)', summary.unacknowledged],
    ],
  );
  if (gaps === null) return `${account}\nThe ledger did not answer: run consume --drain again to see the gaps.`;
  return gaps.length === 0 ? account : `${account}\n${renderGaps(gaps)}`;
}

const GAPS_SHOWN = 10;

function renderGaps(gaps: NonNullable<ConsumeReport['gaps']>): string {
  const shown = gaps
    .slice(0, GAPS_SHOWN)
    .map(({ table, from, to, entries }) => [table, ...formatGapTimes(from, to), entries]);
  const more = gaps.length > GAPS_SHOWN ? `\nand ${counted(gaps.length - GAPS_SHOWN, 'gap')} more` : '';
  return `${renderTable(['gap: the secondary may lack readings of', 'from (UTC)', 'to (UTC)', 'ledger entries'], shown)}${more}`;
}
