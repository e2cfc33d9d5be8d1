import { quoteIdentifier } from '../../db/identifiers.js';
import { sideTitle } from '../../domain/side.js';
import { bookkeepingScript, BOOKKEEPING_VERSION } from '../../repository/ledger/bookkeeping-schema.js';
import { BOOKKEEPING_FUNCTIONS, BOOKKEEPING_RIGHTS, rightsOnTable } from '../../repository/write/consume-rights.js';
import { ALL_TABLES } from '../../repository/tables/reading-tables.js';
import { blocks, mendOn, STEP, type Diagnosis } from './finding.js';
import type { Snapshot } from './snapshot.js';
import { tableSql } from './names.js';

/** sensorctl's own schema, and whether the role that is connected may do there and in the tables what `consume` does. */
export function compareRights(local: Snapshot, ec2: Snapshot, tables: readonly string[]): Diagnosis[] {
  const sides = { local, ec2 };
  return [
    ...[local, ec2].flatMap((snapshot) => requireBookkeeping(snapshot, sides)),
    ...tables.flatMap((table) => [local, ec2].flatMap((snapshot) => requireTableRights(table, snapshot, sides))),
    ...tables.flatMap((table) => [local, ec2].flatMap((snapshot) => requireSequences(table, snapshot, sides))),
  ];
}

interface Sides {
  readonly local: Snapshot;
  readonly ec2: Snapshot;
}

function requireBookkeeping(snapshot: Snapshot, sides: Sides): Diagnosis[] {
  const { side, bookkeeping, bookkeepingVersion: version } = snapshot;
  if (version !== null && version < BOOKKEEPING_VERSION) return [missingBookkeeping(snapshot, sides)];
  const lacking = Object.entries(BOOKKEEPING_RIGHTS).flatMap(([relation, wanted]) => {
    const held = bookkeeping?.relations.get(relation) ?? [];
    const missing = wanted.filter((right) => !held.includes(right));
    return missing.length === 0 ? [] : [{ relation: `sensorctl.${relation}`, missing }];
  });
  const uncallable = BOOKKEEPING_FUNCTIONS.filter((name) => bookkeeping?.functions.includes(name) !== true);
  if (bookkeeping?.usage === true && lacking.length + uncallable.length === 0) return [];
  const words = (each: Snapshot): string => (each.side === side ? describeLacking(lacking, uncallable) : '-');
  const about = { table: null, subject: 'rights on the bookkeeping', local: words(sides.local), ec2: words(sides.ec2) };
  const reason = `the role ${snapshot.server.role} cannot run consume on ${sideTitle(side)}`;
  const grants = [
    `grant usage on schema sensorctl to ${quoteIdentifier(snapshot.server.role)};`,
    ...lacking.map(({ relation, missing }) => grantSql(relation, missing, snapshot.server.role)),
    ...(uncallable.length === 0 ? [] : [grantFunctionsSql(uncallable, snapshot.server.role)]),
  ];
  return [blocks({ ...about, reason }, mendOn(side, STEP.rights, grants.join('\n')))];
}

function missingBookkeeping({ side, server }: Snapshot, { local, ec2 }: Sides): Diagnosis {
  const words = ({ bookkeepingVersion: version }: Snapshot): string =>
    version === null ? 'not readable' : version === 0 ? 'does not exist' : `version ${version}`;
  const about = { table: null, subject: `bookkeeping on ${side}`, local: words(local), ec2: words(ec2) };
  const reason = 'sensorctl keeps there what was written, missed and refused';
  const command = `sensorctl init --side ${side}`;
  if (side === 'local') return blocks({ ...about, reason }, { elsewhere: command });
  const grants = server.superuser ? '' : `\n${allBookkeepingGrants(server.role)}`;
  return blocks({ ...about, reason }, { step: STEP.bookkeeping, sql: `${bookkeepingScript()}${grants}`, command });
}

function allBookkeepingGrants(role: string): string {
  const tables = Object.entries(BOOKKEEPING_RIGHTS);
  return [
    `grant usage on schema sensorctl to ${quoteIdentifier(role)};`,
    ...tables.map(([relation, rights]) => grantSql(`sensorctl.${relation}`, rights, role)),
    grantFunctionsSql(BOOKKEEPING_FUNCTIONS, role),
  ].join('\n');
}

function grantFunctionsSql(names: readonly string[], role: string): string {
  const functions = names.map((name) => `sensorctl.${name}`).join(', ');
  return `grant execute on function ${functions} to ${quoteIdentifier(role)};`;
}

function requireTableRights(table: string, snapshot: Snapshot, { local, ec2 }: Sides): Diagnosis[] {
  const { side, server, tables } = snapshot;
  const held = tables.get(table)?.rights;
  const missing = held === undefined ? [] : rightsOnTable(table, side).filter((right) => !held.includes(right));
  if (missing.length === 0) return [];
  const words = (each: Snapshot): string => each.tables.get(table)?.rights.join(', ') ?? '-';
  const about = { table, subject: `rights on ${side}`, local: words(local), ec2: words(ec2) };
  const reason = `the role ${server.role} lacks ${missing.join(', ')}`;
  const sql = grantSql(tableSql(table), missing, server.role);
  return [blocks({ ...about, reason }, mendOn(side, STEP.rights, sql))];
}

/** Of a table that batches are written to, on either side: the switch exchanges their roles. */
function requireSequences(table: string, snapshot: Snapshot, { local, ec2 }: Sides): Diagnosis[] {
  const { side, server, tables } = snapshot;
  const closed = tables.get(table)?.closedSequences ?? [];
  if (closed.length === 0 || !ALL_TABLES.includes(table)) return [];
  const words = (each: Snapshot): string => (each.side === side ? `lacks usage on ${closed.join(', ')}` : '-');
  const about = { table, subject: `rights on sequences of ${side}`, local: words(local), ec2: words(ec2) };
  const reason = `the role ${server.role} may not ask for the numbers of new rows`;
  const sql = grantSql(`sequence ${closed.join(', ')}`, ['usage'], server.role);
  return [blocks({ ...about, reason }, mendOn(side, STEP.rights, sql))];
}

function describeLacking(
  lacking: readonly { relation: string; missing: readonly string[] }[],
  uncallable: readonly string[],
): string {
  const relations = lacking.map(({ relation, missing }) => `${missing.join(', ')} on ${relation}`);
  const functions = uncallable.length === 0 ? [] : [`execute on ${uncallable.join(', ')}`];
  return `lacks ${[...relations, ...functions].join('; ') || 'usage on schema sensorctl'}`;
}

/** Rights on a table for the role that is connected. */
function grantSql(table: string, rights: readonly string[], role: string): string {
  return `grant ${rights.join(', ')} on ${table} to ${quoteIdentifier(role)};`;
}
