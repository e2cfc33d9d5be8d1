import { losesRowsOnConflict } from '../../db/catalog.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { sideTitle } from '../../domain/side.js';
import { OLDEST_SERVER } from '../../repository/reading-tables.js';
import { upgradeAdvice } from './compare-hypertables.js';
import { blocks, notes, STEP, warns, type Diagnosis } from './finding.js';
import type { Snapshot } from './snapshot.js';

const CLOCK_LIMIT_MS = 1_000;

const FLOAT_DIGITS = 'sensorctl sets it for each of its sessions; other programs may print floats with fewer digits';

type Weigh = typeof blocks;

/** The servers, their databases, and what a session there gets. */
export function compareServers(local: Snapshot, ec2: Snapshot): Diagnosis[] {
  const about = (subject: string, words: (snapshot: Snapshot) => string, reason: string) => ({
    ...{ table: null, subject, local: words(local), ec2: words(ec2), reason },
  });
  const differ = (weigh: Weigh, subject: string, words: (snapshot: Snapshot) => string, reason: string): Diagnosis[] =>
    words(local) === words(ec2) ? [] : [weigh(about(subject, words, reason))];
  return [
    ...[local, ec2].flatMap((side) => requireServer(side, about)),
    ...differ(notes, 'PostgreSQL', ({ server }) => server.versionText, 'definitions may be printed differently'),
    ...differ(
      notes,
      'collation',
      ({ server }) => server.collation,
      'text sorts differently; sensorctl compares by bytes',
    ),
    ...compareTimeZones(about, local, ec2),
    ...differ(notes, 'extra_float_digits', ({ defaults }) => defaults.extraFloatDigits, FLOAT_DIGITS),
    ...[local, ec2].flatMap((side) => requireConnections(side, about)),
    ...compareClocks(local, ec2),
    ...compareExtensions(local, ec2, about),
  ];
}

type About = (subject: string, words: (snapshot: Snapshot) => string, reason: string) => Parameters<Weigh>[0];

function requireServer({ side, server, defaults }: Snapshot, about: About): Diagnosis[] {
  const where = `on ${sideTitle(side)}`;
  const found: Diagnosis[] = [];
  if (server.version < OLDEST_SERVER) {
    found.push(
      blocks(
        about('PostgreSQL', (each) => each.server.versionText, `${where}: sensorctl needs 14 or newer (multiranges)`),
        {
          elsewhere: `on ${side}: upgrade the server`,
        },
      ),
    );
  }
  if (server.encoding !== 'UTF8') {
    found.push(
      blocks(
        about('encoding', (each) => each.server.encoding, `${where}: it cannot hold every message`),
        {
          elsewhere: `on ${side}: use a database with the encoding UTF8`,
        },
      ),
    );
  }
  if (server.standby) {
    const words = (each: Snapshot): string => (each.server.standby ? 'standby' : 'primary');
    found.push(blocks(about('recovery', words, `${where}: a standby takes no writes`)));
  }
  if (defaults.readOnly === 'on') {
    const role = quoteIdentifier(server.role);
    const sql = `alter role ${role} in database ${quoteIdentifier(server.database)} set default_transaction_read_only = off;`;
    const reason = `${where}: the sessions of this role take no writes`;
    found.push(
      blocks(
        about('default_transaction_read_only', (each) => each.defaults.readOnly, reason),
        mendOn(side, sql),
      ),
    );
  }
  return found;
}

function mendOn(side: Snapshot['side'], sql: string): Parameters<Weigh>[1] {
  return side === 'ec2' ? { step: STEP.rights, sql } : { elsewhere: `on local: ${sql}` };
}

function compareTimeZones(about: About, local: Snapshot, ec2: Snapshot): Diagnosis[] {
  const isUtc = [local, ec2].every(({ defaults }) => ['UTC', 'Etc/UTC', 'GMT'].includes(defaults.timeZone));
  if (isUtc) return [];
  const reason =
    'sensorctl sets UTC for each of its sessions; the `timestamp` columns that other programs write mean their zone';
  return [notes(about('TimeZone', ({ defaults }) => defaults.timeZone, reason))];
}

function requireConnections({ side, server, poolMax }: Snapshot, about: About): Diagnosis[] {
  if (server.freeConnections >= poolMax) return [];
  const words = (each: Snapshot): string => `${each.server.freeConnections} free, the pool wants ${each.poolMax}`;
  const variable = side === 'local' ? 'TIMESCALE_POOL_MAX' : 'EC2_POOL_MAX';
  const reason = `${sideTitle(side)} may refuse connections; each consumer has a pool of its own`;
  return [
    warns(about('connections', words, reason), { elsewhere: `raise max_connections on ${side}, or lower ${variable}` }),
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

function compareExtensions(local: Snapshot, ec2: Snapshot, about: About): Diagnosis[] {
  const words = ({ timescaleDb }: Snapshot): string => timescaleDb.installed ?? 'not in use';
  const found = [local, ec2]
    .filter(({ timescaleDb }) => timescaleDb.installed !== null && losesRowsOnConflict(timescaleDb.installed))
    .map(({ side }) => {
      const reason = `on ${sideTitle(side)}: before 2.18.1 writes into compressed chunks lose rows: leave compression off`;
      return warns(about('TimescaleDB', words, reason), { elsewhere: upgradeAdvice(side) });
    });
  if (found.length > 0 || words(local) === words(ec2)) return found;
  if (ec2.timescaleDb.installed === null && ec2.timescaleDb.creatable) {
    const sql = 'create extension if not exists timescaledb;';
    return [warns(about('TimescaleDB', words, 'EC2 has it loaded, but not in use'), { step: STEP.extension, sql })];
  }
  return [notes(about('TimescaleDB', words, 'both write into compressed chunks without losing rows'))];
}
