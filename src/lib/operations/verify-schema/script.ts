import { STEP, type Diagnosis, type Finding, type ScriptPart } from './finding.js';
import type { ObjectStep } from './compare-objects.js';

/** A statement, or several that belong together, for EC2. */
export interface ScriptStep {
  /** What it makes, or what it mends. */
  readonly what: string;
  readonly sql: string;
  /** Null for what belongs to none. */
  readonly table: string | null;
  /** Null for what only makes an object. */
  readonly finding: Finding | null;
  /** Without it the statement stands in the script as a comment, for a person to choose. */
  readonly runs: boolean;
  /** Rows that share a key are taken away by it. */
  readonly removesRows: boolean;
}

const HEAD = `-- Brings EC2 in line with local, as sensorctl verify-schema --sql found them. For EC2 only, for the owner of its tables:
--   psql --file this-file
-- Each statement stands by itself: what fails is named, and the rest goes on. It locks what it changes; batches that
-- cannot be written to EC2 meanwhile enter the ledger as missed and are repaired afterwards.`;

const SETTINGS = `set TimeZone = 'UTC';
set DateStyle = 'ISO';
set statement_timeout = 0;
set lock_timeout = 0;
-- The bodies of functions may name what comes after them.
set check_function_bodies = off;
-- Nothing that others have created is called.
set search_path = pg_catalog, pg_temp;`;
const FOOT = '\nreset all;';

const STEPS = Object.keys(STEP).length;

/** What is missing altogether comes first, then what mends the tables that are there, then what rests on both. */
export function planSteps(
  diagnoses: readonly Diagnosis[],
  objects: readonly ObjectStep[],
  tables: readonly string[],
): ScriptStep[] {
  const place = ({ changes, step }: ScriptPart): number => turnOf(changes, tables) * STEPS + step;
  const mends = diagnoses
    .flatMap(({ finding, part }) => (part === null ? [] : [{ part, finding }]))
    .toSorted((one, other) => place(one.part) - place(other.part));
  const before = mends.filter(({ part }) => part.step <= STEP.bookkeeping);
  return [
    ...before.map(mendStep),
    ...objects.filter(({ first }) => first).map(objectStep),
    ...mends.filter((each) => !before.includes(each)).map(mendStep),
    ...objects.filter(({ first }) => !first).map(objectStep),
  ];
}

function mendStep({ part, finding }: { part: ScriptPart; finding: Finding }): ScriptStep {
  const { sql, runs, removesRows = false } = part;
  const what = `${finding.table === null ? '' : `${finding.table}, `}${finding.subject}`;
  return { what, sql, table: finding.table, finding, runs, removesRows };
}

function objectStep({ what, sql, table }: ObjectStep): ScriptStep {
  return { what, sql: `${sql};`, table, finding: null, runs: true, removesRows: false };
}

/** What concerns no table comes first; tables that were not asked for come last. */
function turnOf(table: string | null, tables: readonly string[]): number {
  if (table === null) return -1;
  return tables.includes(table) ? tables.indexOf(table) : tables.length;
}

/** One script for psql, or for one call of a client. */
export function renderScript(steps: readonly ScriptStep[], diagnoses: readonly Diagnosis[]): string {
  const elsewhere = diagnoses.filter(
    ({ finding, part, brought }) => part === null && brought !== true && finding.weight !== 'notes',
  );
  return [
    HEAD,
    SETTINGS,
    ...steps.map(renderStep),
    ...(steps.some(({ runs }) => runs) ? [] : ['\n-- Nothing to do on EC2.']),
    FOOT,
    ...elsewhere.map(({ finding }) => `\n-- Not by this script:\n${comment(describe(finding))}`),
  ].join('\n');
}

function renderStep({ what, sql, finding, runs }: ScriptStep): string {
  const head = comment(finding === null ? what : describe({ ...finding, mend: null }));
  if (!runs) return `\n${head}\n${comment(`if you want it:\n${sql}`)}`;
  return `\n${head}\n${finding === null ? sql : `begin;\n${sql}\ncommit;`}`;
}

function describe({ weight, table, subject, local, ec2, reason, mend }: Finding): string {
  const what = `${weight}: ${table === null ? '' : `${table}, `}${subject}: local ${local}; EC2 ${ec2}`;
  return `${what}\n  ${reason}${mend === null ? '' : `\n  ${mend}`}`;
}

function comment(text: string): string {
  return text.replaceAll(/^/gm, '-- ');
}
