import { quoteIdentifier } from '../../db/identifiers.js';
import type { TriggerFacts } from '../../repository/tables/table-catalog.js';
import { blocks, mendOn, notes, STEP, warns, type Diagnosis } from './finding.js';
import type { TablePair } from './snapshot.js';
import { tableSql } from './names.js';

/** Triggers and rules: what runs beside an insert or an update, and what can turn it into something else. */
export function compareTriggers(pair: TablePair): Diagnosis[] {
  const find = (triggers: readonly TriggerFacts[], { name }: TriggerFacts): TriggerFacts | undefined =>
    triggers.find((trigger) => trigger.name === name);
  const [local, ec2] = [pair.local, pair.ec2].map(({ triggers }) => triggers.filter((each) => !each.ofTimescaleDb));
  return [
    ...findLeftOver(pair),
    ...(ec2 ?? []).flatMap((trigger) => onEc2(pair, trigger, find(local ?? [], trigger))),
    ...compareRules(pair),
  ];
}

/** TimescaleDB's triggers on a table that is no hypertable any more, as pg_dump carries them over. */
function findLeftOver(pair: TablePair): Diagnosis[] {
  const { table } = pair;
  const words = (side: TablePair['local'], name: string): string =>
    side.triggers.find((each) => each.ofTimescaleDb && each.name === name)?.definition ?? 'does not exist';
  const reason =
    'TimescaleDB left it on a plain table: it refuses every insert, and no hypertable can be made of the table';
  return (['local', 'ec2'] as const).flatMap((side) =>
    pair[side].triggers
      .filter(({ ofTimescaleDb }) => ofTimescaleDb)
      .map(({ name }) => {
        const about = { table, subject: `trigger ${name}`, local: words(pair.local, name), ec2: words(pair.ec2, name) };
        const sql = `drop trigger if exists ${quoteIdentifier(name)} on ${tableSql(table)};`;
        return blocks({ ...about, reason }, mendOn(side, STEP.release, sql));
      }),
  );
}

function onEc2(
  { table, triggersOnEc2 }: TablePair,
  trigger: TriggerFacts,
  local: TriggerFacts | undefined,
): Diagnosis[] {
  const isSame = local?.definition === trigger.definition && local.source === trigger.source;
  const here = local === undefined ? 'does not exist' : local.definition;
  const there = local !== undefined && !isSame ? `${trigger.definition}, another function body` : trigger.definition;
  const about = { table, subject: `trigger ${trigger.name}`, local: here, ec2: there };
  const sql = `drop trigger if exists ${quoteIdentifier(trigger.name)} on ${tableSql(table)};`;
  if (triggersOnEc2 === 'silent') {
    const reason =
      'sensorctl writes to EC2 in replica role, in which it does not fire; once EC2 is the primary it does';
    return [isSame ? notes({ ...about, reason }) : warns({ ...about, reason }, { step: STEP.release, optional: sql })];
  }
  if (isSame && triggersOnEc2 === 'firing') return [warns({ ...about, reason: TWICE }, { elsewhere: MAY_SILENCE })];
  if (!trigger.beforeRow) {
    if (isSame) return [];
    const reason = 'it runs on EC2 for every row from local, and refuses the row where it fails';
    return [warns({ ...about, reason }, { step: STEP.release, optional: sql })];
  }
  if (isSame) return [notes({ ...about, reason: 'it runs again on EC2, on the row as local stored it' })];
  const reason = 'it can change a row from local or leave it out, and the write is confirmed all the same';
  return [blocks({ ...about, reason }, { step: STEP.release, sql })];
}

const TWICE =
  'it fires on EC2, too, for what sensorctl writes there, beside the rows that it wrote on local, which are brought';
const MAY_SILENCE =
  "as a superuser on ec2 (PostgreSQL 15 or newer): grant set on parameter session_replication_role to sensorctl's role;";

/** PostgreSQL refuses `insert … on conflict` on a table that has such a rule. */
function compareRules({ table, local, ec2 }: TablePair): Diagnosis[] {
  const reason = 'a rule on insert or update: PostgreSQL refuses `on conflict` beside it';
  const drop = (name: string): string => `drop rule if exists ${quoteIdentifier(name)} on ${tableSql(table)};`;
  const about = (name: string) => ({
    ...{ table, subject: `rule ${name}`, reason },
    local: local.rules.includes(name) ? 'exists' : 'does not exist',
    ec2: ec2.rules.includes(name) ? 'exists' : 'does not exist',
  });
  return [
    ...local.rules.map((name) => blocks(about(name), mendOn('local', STEP.release, drop(name)))),
    // One that local has too is local's own: whether both can go is for a person to say.
    ...ec2.rules.map((name) =>
      blocks(
        about(name),
        local.rules.includes(name) ? { elsewhere: `on ec2:\n${drop(name)}` } : mendOn('ec2', STEP.release, drop(name)),
      ),
    ),
  ];
}
