import { STEP, type Diagnosis, type Finding, type ScriptPart } from './finding.js';

interface ScriptOptions {
  /** Tables in the order in which they are mended. */
  readonly tables: readonly string[];
}

const HEAD = `-- Brings EC2 in line with local, as sensorctl verify-schema --sql found them. For EC2 only, for the owner of its tables:
--   psql --set ON_ERROR_STOP=1 --file this-file
-- One transaction: all of it or nothing. It locks what it changes; batches that cannot be written to EC2 meanwhile enter
-- the ledger as missed and are repaired afterwards.`;

const SETTINGS = `begin;
set local TimeZone = 'UTC';
set local DateStyle = 'ISO';
set local statement_timeout = 0;
set local lock_timeout = 0;
-- Nothing that others have created is called.
set local search_path = pg_catalog, pg_temp;`;

const STEPS = Object.keys(STEP).length;

type Part = ScriptPart & { readonly finding: Finding };

/** One script for psql, or for one call of a client: every finding with its statements, in an order that works. */
export function renderScript(diagnoses: readonly Diagnosis[], { tables }: ScriptOptions): string {
  const place = ({ changes, step }: Part): number => turnOf(changes, tables) * STEPS + step;
  const parts = diagnoses
    .flatMap(({ finding, part }) => (part === null ? [] : [{ ...part, finding }]))
    .toSorted((a, b) => place(a) - place(b));
  const elsewhere = diagnoses.filter(({ finding, part }) => part === null && finding.weight !== 'notes');
  return [
    HEAD,
    SETTINGS,
    ...parts.map(renderPart),
    ...(parts.some(({ runs }) => runs) ? [] : ['\n-- Nothing to do on EC2.']),
    '\ncommit;',
    ...elsewhere.map(({ finding }) => `\n-- Not by this script:\n${comment(describe(finding))}`),
  ].join('\n');
}

/** What concerns no table comes first; aggregates over aggregates, and tables that were not asked for, come last. */
function turnOf(table: string | null, tables: readonly string[]): number {
  if (table === null) return -1;
  return tables.includes(table) ? tables.indexOf(table) : tables.length;
}

function renderPart({ finding, sql, runs }: Part): string {
  const statements = runs ? sql : comment(`if you want it:\n${sql}`);
  return `\n${comment(describe({ ...finding, mend: null }))}\n${statements}`;
}

function describe({ weight, table, subject, local, ec2, reason, mend }: Finding): string {
  const what = `${weight}: ${table === null ? '' : `${table}, `}${subject}: local ${local}; EC2 ${ec2}`;
  return `${what}\n  ${reason}${mend === null ? '' : `\n  ${mend}`}`;
}

function comment(text: string): string {
  return text.replaceAll(/^/gm, '-- ');
}
