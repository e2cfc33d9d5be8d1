import { expect } from 'chai';
import type { Side } from '../../src/lib/domain/side.js';
import { compareSchemas } from '../../src/lib/operations/verify-schema/compare-schemas.js';
import type { Finding } from '../../src/lib/operations/verify-schema/finding.js';
import type { Snapshot } from '../../src/lib/operations/verify-schema/snapshot.js';
import { BOOKKEEPING_FUNCTIONS, BOOKKEEPING_RIGHTS } from '../../src/lib/repository/write/consume-rights.js';
import { BOOKKEEPING_VERSION } from '../../src/lib/repository/ledger/bookkeeping-schema.js';

const TABLE = 'notes';

/** A side with one table of one key column, on which nothing can be said against it. */
function snapshotOf(side: Side, timescaleDb: string | null = null, compressed = false): Snapshot {
  const hypertable = {
    ...{ dimensions: [], compressed, segmentBy: '', orderBy: '', rootRows: false, policies: [] },
  };
  return {
    side,
    places: { schema: 'public', tables: new Map(), timescaledb: null },
    server: {
      ...{
        version: 150_020,
        versionText: '15.20',
        encoding: 'UTF8',
        collation: 'C / C',
        standby: false,
        database: 'd',
      },
      ...{ role: 'r', superuser: true, schemas: ['public'], freeConnections: 50 },
    },
    defaults: { timeZone: 'UTC', extraFloatDigits: '1', readOnly: 'off' },
    durability: { restoring: false, replicationRole: 'origin', off: [] },
    clock: { aheadMs: 0, toleranceMs: 10 },
    poolMax: 20,
    timescaleDb: {
      ...{ installed: timescaleDb, schema: null, creatable: false, aggregates: [] },
      hypertables: new Map(timescaleDb === null ? [] : [[TABLE, hypertable]]),
    },
    bookkeeping: {
      usage: true,
      functions: BOOKKEEPING_FUNCTIONS,
      relations: new Map(Object.entries(BOOKKEEPING_RIGHTS)),
    },
    triggers: new Map(),
    bookkeepingVersion: BOOKKEEPING_VERSION,
    tables: new Map([
      [
        TABLE,
        {
          ...{ name: TABLE, kind: 'table', unlogged: false, owner: 'r', rowSecurity: false, rowSecurityActive: false },
          table: {
            ...{ name: { schema: 'public', name: TABLE }, label: TABLE, oid: 1, key: ['id'], axis: null, parents: [] },
            ...{ isOnPath: true, hasHeirs: false, hasTriggers: false, hidesRows: false },
            kind: timescaleDb === null ? 'plain' : 'hypertable',
            columns: [{ name: 'id', type: 'integer', baseType: 'integer', notNull: true }],
            uniqueKeys: [{ columns: ['id'], primary: true }],
            hypertable:
              timescaleDb === null
                ? null
                : { column: 'id', compressed, losesRows: compressed && timescaleDb === '2.18.0' },
          },
          rights: ['select', 'insert', 'update'],
          closedSequences: [],
          columns: [
            {
              ...{ name: 'id', type: 'integer', notNull: true, default: null, generated: null, virtual: false },
              ...{ identity: null, collation: null, deterministic: true },
            },
          ],
          indexes: [
            {
              ...{ name: 'key', definition: ' USING btree (id)', unique: true, primary: true },
              ...{ constraint: 'key', columns: ['id'] },
            },
          ],
          ...{ constraints: [], triggers: [], children: [], rules: [], views: [] },
        },
      ],
    ]),
  };
}

function findingsOf(local: Snapshot, ec2: Snapshot): Finding[] {
  const schemas = { local, ec2, tables: [TABLE], missingParents: [] };
  return compareSchemas(schemas).map(({ finding }) => finding);
}

function change(snapshot: Snapshot, server: Partial<Snapshot['server']>): Snapshot {
  return { ...snapshot, server: { ...snapshot.server, ...server } };
}

/** What the servers of the tests cannot be. */
describe('compareSchemas', () => {
  const [local, ec2] = [snapshotOf('local'), snapshotOf('ec2')];

  it('finds nothing where nothing differs', () => {
    expect(findingsOf(local, ec2)).to.deep.equal([]);
  });

  it('blocks a server before PostgreSQL 14, on either side', () => {
    const old = { version: 130_099, versionText: '13.99' };
    for (const sides of [
      [change(local, old), ec2],
      [local, change(ec2, old)],
    ] as const) {
      expect(findingsOf(...sides)[0]).to.include({ weight: 'blocks', subject: 'PostgreSQL', table: null });
    }
    expect(
      findingsOf(local, change(ec2, { version: 140_000, versionText: '14.0' })).map(({ weight }) => weight),
    ).to.deep.equal(['notes']);
  });

  it('blocks a standby', () => {
    expect(findingsOf(local, change(ec2, { standby: true }))[0]).to.include({ weight: 'blocks', ec2: 'standby' });
  });

  it('blocks where TimescaleDB loses rows of compressed chunks, on the side that does, and warns before it is on', () => {
    const compressed = findingsOf(snapshotOf('local', '2.26.4', true), snapshotOf('ec2', '2.18.0', true));
    expect(compressed.filter(({ weight }) => weight === 'blocks')).to.have.length(1);
    expect(compressed.find(({ weight }) => weight === 'blocks')).to.deep.include({
      ...{ table: TABLE, subject: 'writes into compressed chunks' },
      ...{ local: 'TimescaleDB 2.26.4', ec2: 'TimescaleDB 2.18.0' },
    });
    const plain = findingsOf(snapshotOf('local', '2.26.4'), snapshotOf('ec2', '2.18.0'));
    expect(plain.map(({ weight, subject }) => `${weight} ${subject}`)).to.deep.equal(['warns TimescaleDB']);
    const fixed = findingsOf(snapshotOf('local', '2.26.4', true), snapshotOf('ec2', '2.18.1', true));
    expect(fixed.map(({ weight, subject }) => `${weight} ${subject}`)).to.deep.equal(['notes TimescaleDB']);
  });

  it('blocks a server that does not sync, and one whose role switches triggers off', () => {
    const frail = { restoring: false, replicationRole: 'replica', off: ['fsync', 'full_page_writes'] };
    const found = findingsOf({ ...local, durability: frail }, ec2);
    expect(found.map(({ weight, subject, mend }) => [weight, subject, mend])).to.deep.equal([
      ['blocks', 'session_replication_role', '-- on local:\nalter role "r" reset session_replication_role;'],
      ...frail.off.map((name) => [
        ...['blocks', name],
        `on local, as a superuser:\nalter system set ${name} = on;\nselect pg_reload_conf();`,
      ]),
    ]);
  });

  it('leaves a difference of clocks alone that its measurement cannot tell from a second', () => {
    const ahead = (aheadMs: number): Snapshot => ({ ...ec2, clock: { aheadMs, toleranceMs: 100 } });
    expect(findingsOf(local, ahead(1_110))).to.deep.equal([]);
    expect(findingsOf(local, ahead(-1_111))[0]).to.include({ weight: 'warns', subject: 'clock', ec2: '-1.1 s' });
  });
});
