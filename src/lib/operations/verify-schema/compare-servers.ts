import { losesRowsOnConflict } from '../../repository/tables/server-facts.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { CLOCK_LIMIT_MS } from '../../repository/tables/server-catalog.js';
import { sideTitle } from '../../domain/side.js';
import { OLDEST_SERVER } from '../../repository/tables/reading-tables.js';
import { upgradeAdvice } from './compare-hypertables.js';
import { blocks, mendOn, notes, STEP, warns, type Diagnosis, type Mend, type Observation } from './finding.js';
import type { Snapshot } from './snapshot.js';
import { OWN_SCHEMA, timescaleSql } from './names.js';

const READ_ONLY = 'default_transaction_read_only';
const FLOAT_DIGITS = 'sensorctl sets it for each of its sessions; other programs may print floats with fewer digits';

/** The servers, their databases, and what a session there gets. */
export function compareServers(local: Snapshot, ec2: Snapshot): Diagnosis[] {
  const sides = [local, ec2] as const;
  return [
    ...sides.flatMap((side) => requireServer(side, sides)),
    ...sides.flatMap((side) => requireDurability(side, sides)),
    ...differences(sides),
    ...compareTimeZones(sides),
    ...sides.flatMap((side) => requireConnections(side, sides)),
    ...compareClocks(local, ec2),
    ...compareExtensions(sides),
  ];
}

type Sides = readonly [local: Snapshot, ec2: Snapshot];
type Words = (snapshot: Snapshot) => string;

function about([local, ec2]: Sides, subject: string, words: Words, reason: string): Observation {
  return { table: null, subject, local: words(local), ec2: words(ec2), reason };
}

function requireServer({ side, server, defaults }: Snapshot, sides: Sides): Diagnosis[] {
  const where = `on ${sideTitle(side)}`;
  const require = (holds: boolean, observation: Observation, mend?: Mend): Diagnosis[] =>
    holds ? [] : [blocks({ ...observation, reason: `${where}: ${observation.reason}` }, mend)];
  const role = `${quoteIdentifier(server.role)} in database ${quoteIdentifier(server.database)}`;
  return [
    ...require(server.version >= OLDEST_SERVER, about(
      sides,
      'PostgreSQL',
      (each) => each.server.versionText,
      'sensorctl needs 14 or newer (multiranges)',
    ), { elsewhere: `upgrade the server ${where}` }),
    ...require(server.encoding === 'UTF8', about(
      sides,
      'encoding',
      (each) => each.server.encoding,
      'it cannot hold every message',
    ), { elsewhere: `use a database with the encoding UTF8 ${where}` }),
    ...require(!server.standby, about(
      sides,
      'recovery',
      (each) => (each.server.standby ? 'standby' : 'writable'),
      'a standby takes no writes',
    ), { elsewhere: 'name the server that it follows in the settings' }),
    ...require(defaults.readOnly === 'off', about(
      sides,
      READ_ONLY,
      (each) => each.defaults.readOnly,
      'the sessions of this role take no writes',
    ), mendOn(side, STEP.rights, `alter role ${role} set ${READ_ONLY} = off;`)),
  ];
}

/** Writes that are confirmed have to be found afterwards, also after a crash. */
function requireDurability({ side, server, durability }: Snapshot, sides: Sides): Diagnosis[] {
  const where = `on ${sideTitle(side)}`;
  const found: Diagnosis[] = [];
  if (durability.restoring) {
    const words = (each: Snapshot): string => (each.durability.restoring ? 'on' : 'off');
    const reason = `${where}: in TimescaleDB's restoring mode an insert is confirmed, and its rows lie in no chunk: they are gone once it ends`;
    const mend = `once the restore has ended, ${where}:\nselect ${timescaleSql('timescaledb_post_restore')}();`;
    found.push(blocks(about(sides, 'timescaledb.restoring', words, reason), { elsewhere: mend }));
  }
  if (durability.replicationRole === 'replica') {
    const words = (each: Snapshot): string => each.durability.replicationRole;
    const reason = `${where}: foreign keys and triggers do not hold in the sessions of this role`;
    const sql = `alter role ${quoteIdentifier(server.role)} reset session_replication_role;`;
    found.push(blocks(about(sides, 'session_replication_role', words, reason), mendOn(side, STEP.rights, sql)));
  }
  for (const setting of durability.off) {
    const words = (each: Snapshot): string => (each.durability.off.includes(setting) ? 'off' : 'on');
    const reason = `${where}: a crash of the machine loses or damages what was confirmed before`;
    const mend = `${where}, as a superuser:\nalter system set ${setting} = on;\nselect pg_reload_conf();`;
    found.push(blocks(about(sides, setting, words, reason), { elsewhere: mend }));
  }
  return found;
}

function differences(sides: Sides): Diagnosis[] {
  const observations = [
    about(sides, 'PostgreSQL', ({ server }) => server.versionText, 'definitions may be printed differently'),
    about(sides, 'collation', ({ server }) => server.collation, 'text sorts differently; sensorctl compares by bytes'),
    about(sides, 'extra_float_digits', ({ defaults }) => defaults.extraFloatDigits, FLOAT_DIGITS),
  ];
  return observations.filter(({ local, ec2 }) => local !== ec2).map((each) => notes(each));
}

function compareTimeZones(sides: Sides): Diagnosis[] {
  const isUtc = sides.every(({ defaults }) => ['UTC', 'Etc/UTC', 'GMT'].includes(defaults.timeZone));
  if (isUtc) return [];
  const reason =
    'sensorctl sets UTC for each of its sessions; the `timestamp` columns that other programs write mean their zone';
  return [notes(about(sides, 'TimeZone', ({ defaults }) => defaults.timeZone, reason))];
}

function requireConnections({ side, server, poolMax }: Snapshot, sides: Sides): Diagnosis[] {
  if (server.freeConnections >= poolMax) return [];
  const words = (each: Snapshot): string => `${each.server.freeConnections} free, the pool wants ${each.poolMax}`;
  const variable = side === 'local' ? 'TIMESCALE_POOL_MAX' : 'EC2_POOL_MAX';
  const reason = `${sideTitle(side)} may refuse connections; each consumer has a pool of its own`;
  return [
    warns(about(sides, 'connections', words, reason), {
      elsewhere: `raise max_connections on ${side}, or lower ${variable}`,
    }),
  ];
}

function compareClocks(local: Snapshot, ec2: Snapshot): Diagnosis[] {
  const differenceMs = ec2.clock.aheadMs - local.clock.aheadMs;
  const toleranceMs = ec2.clock.toleranceMs + local.clock.toleranceMs;
  if (Math.abs(differenceMs) - toleranceMs <= CLOCK_LIMIT_MS) return [];
  const seconds = (differenceMs / 1000).toFixed(1);
  const about = { table: null, subject: 'clock', local: '0 s', ec2: `${differenceMs > 0 ? '+' : ''}${seconds} s` };
  const reason = `measured to ${Math.ceil(toleranceMs)} ms; what the sides record by their clocks cannot be set against each other`;
  return [warns({ ...about, reason }, { elsewhere: 'let both servers follow a time server (NTP)' })];
}

function compareExtensions(sides: Sides): Diagnosis[] {
  const [local, ec2] = sides;
  const words = ({ timescaleDb }: Snapshot): string => timescaleDb.installed ?? 'not in use';
  const found = sides
    .filter(({ timescaleDb }) => timescaleDb.installed !== null && losesRowsOnConflict(timescaleDb.installed))
    .map(({ side }) => {
      const reason = `on ${sideTitle(side)}: before 2.18.1 writes into compressed chunks lose rows: leave compression off`;
      return warns(about(sides, 'TimescaleDB', words, reason), { elsewhere: upgradeAdvice(side) });
    });
  if (found.length > 0 || words(local) === words(ec2)) return found;
  if (ec2.timescaleDb.installed === null && ec2.timescaleDb.creatable) {
    const sql = `create extension if not exists timescaledb schema ${OWN_SCHEMA};`;
    return [
      warns(about(sides, 'TimescaleDB', words, 'EC2 has it loaded, but not in use'), { step: STEP.extension, sql }),
    ];
  }
  const isOnBoth = local.timescaleDb.installed !== null && ec2.timescaleDb.installed !== null;
  const reason = isOnBoth ? 'both write into compressed chunks without losing rows' : 'one side has plain tables only';
  return [notes(about(sides, 'TimescaleDB', words, reason))];
}
