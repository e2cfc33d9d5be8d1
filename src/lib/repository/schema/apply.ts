import type pg from 'pg';
import { withSession, type Database } from '../../db/database.js';
import type { LeftOut } from './schema-object.js';
import { BRING_SCHEMA_ALONE } from '../../db/locks.js';
import { describeFault, faultKind, sqlstateOf } from '../../db/sqlstate.js';

/** One statement, or several that belong together, and what they make. */
export interface Step {
  /** Such as `view public.levels`. */
  readonly what: string;
  readonly sql: string;
}

/** What became of local's schema on EC2. */
export interface Brought {
  /** What was made or mended, in that order. */
  readonly done: readonly string[];
  readonly failed: readonly { readonly what: string; readonly problem: string }[];
  readonly leftOut: readonly LeftOut[];
}

/** A step that failed, and why; null where it was done. */
export interface StepOutcome {
  readonly step: Step;
  readonly problem: string | null;
}

/** Indexes and conversions take as long as their tables are large; nothing waits behind a lock for long. */
const SETTINGS = `begin; set local statement_timeout = 0; set local lock_timeout = '30s';
  set local idle_in_transaction_session_timeout = '30s'; set local check_function_bodies = off`;
const LONGEST_MS = 6 * 3_600_000;
const WITHOUT_LIMITS =
  'set local statement_timeout = 0; set local lock_timeout = 0; set local idle_in_transaction_session_timeout = 0';

/** Calls `work` while nobody else brings a schema to this database. */
export async function withSchemaLock<Result>(database: Database, work: () => Promise<Result>): Promise<Result> {
  return await withSession(database, async (session) => {
    await session.query({
      text: `begin; ${WITHOUT_LIMITS}; ${BRING_SCHEMA_ALONE}`,
      query_timeout: LONGEST_MS,
    } as pg.QueryConfig);
    const result = await work();
    await session.query('commit');
    return result;
  });
}

/** Somebody else has just made it: what it is like is looked at afterwards. */
const THERE_ALREADY: ReadonlySet<string> = new Set(['42P06', '42P07', '42710', '42723', '42701']);

/**
 * Carries out each step by itself, in a transaction of its own; what fails is tried again after the others, as long as
 * that brings anything on. Throws where the server cannot be reached.
 */
export async function applySteps(
  database: Database,
  steps: readonly Step[],
  onStep: (step: Step) => void,
): Promise<StepOutcome[]> {
  return await withSession(database, async (session) => {
    const outcomes = new Map<Step, string | null>();
    let open = steps;
    while (open.length > 0) {
      for (const step of open) {
        onStep(step);
        outcomes.set(step, await applyStep(session, step));
      }
      const failed = open.filter((step) => outcomes.get(step) !== null);
      if (failed.length === open.length) break;
      open = failed;
    }
    return steps.map((step) => ({ step, problem: outcomes.get(step) ?? null }));
  });
}

async function applyStep(session: pg.Client, { sql }: Step): Promise<string | null> {
  try {
    await session.query({ text: `${SETTINGS};\n${sql};\ncommit`, query_timeout: LONGEST_MS } as pg.QueryConfig);
    return null;
  } catch (error) {
    if (['unavailable', 'defect'].includes(faultKind(error)) && sqlstateOf(error) === undefined) throw error;
    await session.query('rollback');
    return isThereAlready(error) && isMaking(sql) ? null : describeFault(error);
  }
}

/** Two that make the same at once can also collide in the catalog itself. */
function isThereAlready(error: unknown): boolean {
  const code = sqlstateOf(error) ?? '';
  return THERE_ALREADY.has(code) || (code === '23505' && (error as pg.DatabaseError).schema === 'pg_catalog');
}

function isMaking(sql: string): boolean {
  return /^(create|alter table \S+ add) /.test(sql);
}
