import { quoteIdentifier } from '../../db/identifiers.js';
import type { ConstraintFacts } from '../../repository/tables/table-catalog.js';
import { REGISTRY } from '../../domain/reading.js';
import { blocks, notes, STEP, type Diagnosis } from './finding.js';
import type { TablePair } from './snapshot.js';
import { tableSql } from './names.js';

/** Checks, exclusions and foreign keys, by what they say, not by their names. */
export function compareConstraints(pair: TablePair): Diagnosis[] {
  const { local, ec2 } = pair;
  const lacks = (constraints: readonly ConstraintFacts[], { definition }: ConstraintFacts): boolean =>
    !constraints.some((each) => withoutValidity(each.definition) === withoutValidity(definition));
  return [
    ...local.constraints.filter((each) => lacks(ec2.constraints, each)).flatMap((each) => otherwise(pair, each)),
    ...ec2.constraints
      .filter((each) => lacks(local.constraints, each))
      .map((each) => (each.kind === 'foreign key' ? extraForeignKey(pair, each) : extra(pair, each))),
  ];
}

/** One that EC2 has under the same name and with another meaning, which goes first; what it lacks is told with the objects. */
function otherwise({ table, ec2 }: TablePair, constraint: ConstraintFacts): Diagnosis[] {
  const { name, definition } = constraint;
  const there = ec2.constraints.find((each) => each.name === name);
  if (there === undefined) return [];
  const sql = `alter table ${tableSql(table)} add constraint ${quoteIdentifier(name)} ${definition};`;
  const about = { table, subject: subjectOf(constraint), local: definition, ec2: there.definition };
  const reason = 'EC2 takes every row of local; once EC2 is the primary it takes rows that local would refuse';
  return [notes({ ...about, reason }, { step: STEP.indexes, sql })];
}

function extra({ table }: TablePair, constraint: ConstraintFacts): Diagnosis {
  const about = { table, subject: subjectOf(constraint), local: 'does not exist', ec2: constraint.definition };
  return blocks({ ...about, reason: 'EC2 refuses rows that local accepts' }, dropConstraint(table, constraint));
}

/** Batches write the registry in the same statement as the readings; nothing writes the parents in other tables. */
function extraForeignKey({ table }: TablePair, constraint: ConstraintFacts): Diagnosis {
  const about = { table, subject: subjectOf(constraint), local: 'does not exist', ec2: constraint.definition };
  if (isRegistryKey(constraint)) {
    return notes({ ...about, reason: `each batch writes the ${REGISTRY} rows that it needs` });
  }
  const reason = 'EC2 refuses rows that local accepts: nothing writes the rows that they refer to';
  return blocks({ ...about, reason }, dropConstraint(table, constraint));
}

function dropConstraint(table: string, { name }: ConstraintFacts): { step: typeof STEP.release; sql: string } {
  const sql = `alter table ${tableSql(table)} drop constraint if exists ${quoteIdentifier(name)};`;
  return { step: STEP.release, sql };
}

function isRegistryKey({ parent, columns, parentColumns }: ConstraintFacts): boolean {
  return parent === REGISTRY && columns.join() === 'sensor_id' && parentColumns.join() === 'sensor_id';
}

/** New rows are checked all the same. */
function withoutValidity(definition: string): string {
  return definition.replace(/ NOT VALID$/, '');
}

function subjectOf({ kind, name }: ConstraintFacts): string {
  return `${kind} ${name}`;
}
