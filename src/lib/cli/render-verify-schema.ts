import { oneLine } from './output.js';
import { renderTable } from './table.js';
import { shorten } from './text-layout.js';
import type { Finding } from '../operations/verify-schema/finding.js';
import { type SchemaVerdict } from '../operations/verify-schema/verify-schema.js';

const CELL_WIDTH = 40;

export function renderFindings(verdict: SchemaVerdict['verdict'], findings: readonly Finding[]): string {
  const rows = findings.map(({ weight, table, subject, local, ec2 }) =>
    [weight, table ?? '-', subject, local, ec2].map(cellText),
  );
  const details = findings
    .filter(({ weight }) => weight !== 'notes')
    .map(({ weight, table, subject, reason, mend }) => {
      const what = `${weight === 'blocks' ? 'Blocks' : 'Warns'}: ${table === null ? '' : `${table}, `}${subject}: ${reason}.`;
      return mend === null ? oneLine(what) : `${oneLine(what)}\n  ${mend.replaceAll('\n', '\n  ')}`;
    });
  return [
    ...(rows.length === 0 ? [] : [renderTable(['weight', 'table', 'what', 'local', 'ec2'], rows)]),
    ...details,
    verdict === 'blocked' ? renderBlocked(findings) : COMPATIBLE,
  ].join('\n');
}

function renderBlocked(findings: readonly Finding[]): string {
  const inits = findings.flatMap(({ weight, mend }) =>
    weight === 'blocks' && mend?.startsWith(INIT) === true ? [mend] : [],
  );
  const next = inits.length === 0 ? SCRIPT : joinInits(inits);
  return `Blocked: dual write or repair is not safe yet.\nNext: ${next}`;
}

const INIT = 'sensorctl init';
const SCRIPT = 'sensorctl verify-schema --sql > ec2.sql    # mends EC2: read it, psql it into EC2, and verify again';

/** One command for both sides where both need it; keys come once everything else is there. */
function joinInits(commands: readonly string[]): string {
  const plain = commands.filter((command) => !command.includes('--add-keys'));
  const [first = INIT, ...others] = new Set(plain.length > 0 ? plain : commands);
  return others.length === 0 ? first : first.replace(/ --side \w+/, '');
}

const COMPATIBLE = `Compatible: nothing blocks dual write or repair.
Next: sensorctl consume --dual-write`;

function cellText(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ').trim();
  return shorten(line, CELL_WIDTH);
}
