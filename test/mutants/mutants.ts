/** A defect that somebody could make, and the test that has to notice it. */
export interface Mutant {
  readonly name: string;
  readonly file: string;
  /** Occurs in the file exactly once. */
  readonly source: string;
  readonly replacement: string;
  readonly test: string;
  /** A regular expression for the full title of the test or tests, one of which has to fail. */
  readonly title: string;
}

const HEALTH = 'src/lib/operations/consume/health.ts';
const CONNECTION = 'src/lib/db/connection.ts';
const AUTHENTICATION = 'src/lib/db/authentication.ts';
const REWRITTEN = 'src/lib/repository/tables/rewritten-tables.ts';
const OUTSIDE = 'test/unit/outside.test.ts';
const PROBES = 'test/acceptance/probes.test.ts';
const HANDSHAKES = 'test/integration/tls.test.ts';
const SNAPSHOTS = 'test/integration/rewritten-tables.test.ts';

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'names unescaped in HTML',
    file: 'src/lib/cli/monitor/html.ts',
    source: 'oneLine(text).replaceAll(/[&<>"\']/g,',
    replacement: 'oneLine(text).replaceAll(/[&]/g,',
    test: OUTSIDE,
    title: 'is text',
  },
  {
    name: 'log lines unquoted but for ESC',
    file: 'src/lib/logger.ts',
    source: 'return /[\\s"=]/.test(text) || quoted !== `"${text}"` ? quoted : text;',
    replacement: "return text.includes('\\u001b') ? quoted : text;",
    test: OUTSIDE,
    title: 'a log quotes',
  },
  {
    name: 'log messages of several lines',
    file: 'src/lib/logger.ts',
    source: '${oneLine(message)}',
    replacement: '${message}',
    test: OUTSIDE,
    title: 'makes no line of its own',
  },
  {
    name: 'secrets masked as they are alone',
    file: 'src/lib/cli/output.ts',
    source:
      "...[secret, oneLine(secret), encodeURIComponent(secret), encodeURIComponent(secret).replaceAll('%20', '+')],",
    replacement: '...[secret, oneLine(secret)],',
    test: OUTSIDE,
    title: 'mask',
  },
  {
    name: '/readyz without the lease',
    file: HEALTH,
    source: 'leaseAgeMs < LEASE_MS ?',
    replacement: 'leaseAgeMs < Infinity + LEASE_MS ?',
    test: PROBES,
    title: '/readyz is 503 once the lease',
  },
  {
    name: '/healthz without polls',
    file: HEALTH,
    source: 'healthy: polls.length === 0,',
    replacement: 'healthy: true,',
    test: PROBES,
    title: '/healthz and /readyz are 503 once the queue',
  },
  {
    name: 'the env file as readable as it was',
    file: 'src/lib/operations/sandbox.ts',
    source: 'await handle.chmod(0o600);',
    replacement: '',
    test: 'test/acceptance/outside.test.ts',
    title: 'that sandbox writes are for their owner alone',
  },
  {
    name: 'require without TLS',
    file: CONNECTION,
    source: "if (sslMode === 'disable') return false;",
    replacement: "if (sslMode === 'disable' || sslMode === 'require') return false;",
    test: HANDSHAKES,
    title: 'require takes a certificate that is good|require refuses a server without TLS',
  },
  {
    name: 'verify-full that accepts any certificate',
    file: CONNECTION,
    source: "if (sslMode === 'verify-full') return { rejectUnauthorized: true, ...authority };",
    replacement: "if (sslMode === 'verify-full') return { rejectUnauthorized: false, ...authority };",
    test: HANDSHAKES,
    title: 'verify-full with a root certificate refuses',
  },
  {
    name: 'verify-full that accepts any host',
    file: CONNECTION,
    source: "if (sslMode === 'verify-full') return",
    replacement: "if (sslMode === 'verify-full' && Number(sslRootCert) > 0) return",
    test: HANDSHAKES,
    title: 'verify-full with a root certificate refuses',
  },
  {
    name: 'SCRAM without channel binding believed under require',
    file: AUTHENTICATION,
    source: "if (asked === 'scram') return connection.sslMode === 'disable' ? null : 'server-unproven';",
    replacement: "if (asked === 'scram') return null;",
    test: HANDSHAKES,
    title: 'offers no channel binding, is not believed|offers SCRAM without channel binding',
  },
  {
    name: 'a password in clear to whoever asks',
    file: AUTHENTICATION,
    source: "isOnThisMachine(connection) ? null : 'password-exposed';",
    replacement: 'isOnThisMachine(connection) ? null : null;',
    test: HANDSHAKES,
    title: 'man in the middle|in between',
  },
  {
    name: 'a search path that is not pinned',
    file: 'src/lib/db/search-path.ts',
    source: "const PINNED_PATH = 'pg_catalog, pg_temp';",
    replacement: "const PINNED_PATH = 'public, pg_catalog, pg_temp';",
    test: 'test/integration/hostile-roles.test.ts',
    title: 'create in schema public',
  },
  {
    name: "a schema of somebody else's taken for sensorctl's",
    file: 'src/lib/db/database.ts',
    source: 'if (stranger !== null) throw foreignSchema(stranger, options);',
    replacement: 'if (stranger === undefined) throw foreignSchema(stranger, options);',
    test: 'test/integration/hostile-roles.test.ts',
    title: 'in the database',
  },
  {
    name: 'a commit behind a statement that was not sent',
    file: 'src/lib/db/transaction.ts',
    source: "(await failsAtOnce(sent)) ? 'rollback' : 'commit'",
    replacement: "(await failsAtOnce(sent)) ? 'commit' : 'commit'",
    test: 'test/integration/transaction.test.ts',
    title: '',
  },
  {
    name: 'gateway messages of any number of sensors',
    file: 'src/lib/decoders/moisture.ts',
    source: 'const MOST_ENTRIES = 1_000;',
    replacement: 'const MOST_ENTRIES = 1_000_000;',
    test: 'test/acceptance/hostile-messages.test.ts',
    title: '',
  },
  {
    name: 'times ahead of the receipt believed',
    file: 'src/lib/decoders/message.ts',
    source: 'const AHEAD_AT_MOST = 86_400 * 1_000_000;',
    replacement: 'const AHEAD_AT_MOST = Infinity;',
    test: 'test/unit/telemetry-limits.test.ts',
    title: '',
  },
  {
    name: 'after trouble one reading of each batch is stored, and all are acknowledged',
    file: 'src/lib/operations/consume/consume.ts',
    source: 'return await this.#writers.primary.write({ ...request, doubt });',
    replacement:
      'return await this.#writers.primary.write({ ...request, readings: attempt > 1 ? request.readings.slice(0, 1) : request.readings, doubt });',
    test: 'test/acceptance/local-trouble.test.ts',
    title: 'read-only: nothing is acknowledged',
  },
  {
    name: 'prune without holdAsSecondary',
    file: 'src/lib/repository/backfill/run-unit.ts',
    source: 'if (context.prune) await holdAsSecondary(target, context.target.side);',
    replacement: 'if (Date.now() < 0) await holdAsSecondary(target, context.target.side);',
    test: 'test/integration/prune-roles.test.ts',
    title: '',
  },
  {
    name: 'a secondary that may become the primary while it is pruned',
    file: 'src/lib/repository/phase/fence.ts',
    source: 'if ((await readRecordedState(client)).primary !== side) return;',
    replacement: 'if (Date.now() > 0) return;',
    test: 'test/integration/prune-roles.test.ts',
    title: 'deletes nothing of a side that became the primary',
  },
  {
    name: 'a repair that believes an empty snapshot',
    file: 'src/lib/repository/repair/bring-rows.ts',
    source: 'await assertNotRewritten(source, { side: otherSide(targetSide) }, transfer.rewriteCheck);',
    replacement: 'otherSide(targetSide) satisfies string; assertNotRewritten satisfies unknown;',
    test: SNAPSHOTS,
    title: 'a repair brings all that its entry names, and then settles it: TRUNCATE',
  },
  {
    name: 'a unit that believes an empty snapshot',
    file: 'src/lib/repository/backfill/run-unit.ts',
    source: 'assertNotRewritten(source, context.source, transfer.rewriteCheck),',
    replacement: 'Promise.resolve(assertNotRewritten),',
    test: SNAPSHOTS,
    title: 'a unit copied straight into the table .*TRUNCATE',
  },
  {
    name: 'a comparison that believes an empty snapshot',
    file: 'src/lib/repository/compare/look.ts',
    source: 'await assertNotRewritten(snapshot, primary, check);',
    replacement: 'if (Date.now() < 0) await assertNotRewritten(snapshot, primary, check);',
    test: SNAPSHOTS,
    title: 'a comparison of everything .*TRUNCATE',
  },
  {
    name: 'a table that takes the name of another is not noticed',
    file: REWRITTEN,
    source: '\n    or (file.oid = file.root and known.relname <> file.name)\n',
    replacement: '\n',
    test: SNAPSHOTS,
    title: 'has to begin again after a table that was there already, and takes its name',
  },
  {
    name: 'a partition that is detached is not noticed',
    file: REWRITTEN,
    source: 'or (known.relispartition and',
    replacement: 'or (false and',
    test: SNAPSHOTS,
    title: 'has to begin again after a partition cut in two by hand',
  },
];
