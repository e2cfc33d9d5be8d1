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

const CONSUME = 'src/lib/operations/consume/consume.ts';
const LET_THROUGH = 'test/unit/let-through.test.ts';

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'names unescaped in HTML',
    file: 'src/lib/cli/monitor/html.ts',
    source: "return text.replaceAll(/[&<>\"']/g, (character) => ENTITIES[character] ?? '');",
    replacement: "return text.replaceAll(/[&]/g, (character) => ENTITIES[character] ?? '');",
    test: LET_THROUGH,
    title: 'is text in HTML',
  },
  {
    name: 'log lines unquoted but for ESC',
    file: 'src/lib/logger.ts',
    source: String.raw`/[\s"=\p{Cc}]/u`,
    replacement: String.raw`/\u001b/u`,
    test: LET_THROUGH,
    title: 'one quoted value of one log line',
  },
  {
    name: 'secrets masked as they are alone',
    file: 'src/lib/cli/redact.ts',
    source: '[secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)]',
    replacement: '[secret]',
    test: LET_THROUGH,
    title: 'is masked as it is, as a URL carries it',
  },
  {
    name: '/readyz without the lease',
    file: CONSUME,
    source: "repository.leaseAgeMs < LEASE_MS ? [] : ['the lease could not be renewed']",
    replacement: "repository.leaseAgeMs < Infinity ? [] : ['the lease could not be renewed']",
    test: 'test/acceptance/probes.test.ts',
    title: '/readyz is 503 once the lease',
  },
  {
    name: '/healthz without polls',
    file: CONSUME,
    source: 'healthy: polls.length === 0,',
    replacement: 'healthy: true,',
    test: 'test/acceptance/probes.test.ts',
    title: '/healthz and /readyz are 503 once no poll',
  },
  {
    name: 'prune without holdAsSecondary',
    file: 'src/lib/repository/backfill/run-unit.ts',
    source: 'if (context.prune) await holdAsSecondary(target, context.target.side);',
    replacement: 'if (Date.now() < 0) await holdAsSecondary(target, context.target.side);',
    test: 'test/integration/backfill-prune.test.ts',
    title: 'holds EC2 in its role',
  },
  {
    name: 'after trouble one reading of each batch is stored, and all are acknowledged',
    file: CONSUME,
    source: 'await repository.follow(this.#stop);\n        return await repository.writeBatch(request);',
    replacement:
      'await repository.follow(this.#stop);\n' +
      '        return await repository.writeBatch({ ...request, readings: request.readings.slice(0, 1) });',
    test: 'test/acceptance/local-trouble.test.ts',
    title: 'read-only: nothing is acknowledged',
  },
];
