import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { ADVISED_CODES, adviseOn, CommandLineError, nextStepFor } from '../../src/lib/cli/advice.js';
import { UnreachableError, UsageError } from '../../src/lib/errors.js';
import { createLogger } from '../../src/lib/logger.js';

const LIBRARY = path.resolve(import.meta.dirname, '../../src/lib');

/** The files below the command line, with their text but without comments. */
const BELOW = readdirSync(LIBRARY, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.startsWith('cli'))
  .map((file) => ({ file, text: withoutComments(readFileSync(path.join(LIBRARY, file), 'utf8')) }));

/** They read or write settings, run commands, or list the statements and commands that mend a schema as their result. */
const NAME_SETTINGS_AND_COMMANDS = [
  'config.ts',
  'timing.ts',
  'sandbox/sandbox.ts',
  'operations/demo/',
  'operations/verify-schema/',
];

const COMMAND =
  /sensorctl (?:backfill|compare|completion|consume|cutover|demo|init|monitor|quarantine|replay|verify-schema)\b/;
const VARIABLE = /\b(?:TIMESCALE|EC2|SQS|AWS|TELEMETRY)_[A-Z_]+|\bENABLE_DUAL_WRITE\b|\bTMPDIR\b/;
/** What happened, not what to do. */
const MESSAGE = 'EC2_DB_HOST is not set';

describe('advice to operators', () => {
  it('stands in cli alone: below it no text names a command or a variable', () => {
    const found = BELOW.filter(({ file }) => !NAME_SETTINGS_AND_COMMANDS.some((each) => file.startsWith(each)))
      .flatMap(({ file, text }) => text.split('\n').map((line) => `${file}: ${line.trim()}`))
      .filter((line) => (COMMAND.test(line) || VARIABLE.test(line)) && !line.includes(MESSAGE) && !isConstant(line));
    expect(found).to.deep.equal([]);
    expect(BELOW.filter(({ text }) => /\bnext: ['"`]/.test(text)).map(({ file }) => file)).to.deep.equal([]);
  });

  it('is there for every problem, and for none that nothing meets', () => {
    const source = BELOW.filter(({ file }) => file !== 'errors.ts')
      .map(({ text }) => text)
      .join('\n');
    expect(ADVISED_CODES.filter((code) => !source.includes(`'${code}'`))).to.deep.equal([]);
    const codes = [...source.matchAll(/\bcode: '([a-z0-9]+(?:-[a-z0-9]+)+)'/g)].map(([, code = '']) => code);
    expect(codes.length).to.be.greaterThan(60);
    expect(codes.filter((code) => !(ADVISED_CODES as readonly string[]).includes(code))).to.deep.equal([]);
  });

  it('puts the facts of a problem into words', () => {
    expect(adviseOn({ code: 'not-prepared', facts: { side: 'ec2' } })).to.equal('sensorctl init --side ec2');
    expect(adviseOn({ code: 'password-wrong', facts: { side: 'local' } })).to.equal(
      'check TIMESCALE_USER and TIMESCALE_PASSWORD',
    );
    expect(nextStepFor(new UnreachableError('gone', { code: 'queue-missing' }))).to.match(/SQS_QUEUE_URL/);
  });

  it('is what the command line says of its own errors, and nothing where there is none', () => {
    expect(nextStepFor(new CommandLineError('wrong', 'do it right'))).to.equal('do it right');
    for (const error of [new UsageError('wrong'), new TypeError('defect'), null]) {
      expect(nextStepFor(error)).to.equal(null);
    }
  });

  it('stands in the log in words where the command line writes it, else by its code', () => {
    const lines: string[] = [];
    const fields = { next: { code: 'timescaledb-too-old' } } as const;
    createLogger((line) => lines.push(line.slice(25)), 'info', adviseOn).warn('lost', fields);
    createLogger((line) => lines.push(line.slice(25))).warn('lost', fields);
    expect(lines).to.deep.equal([
      'warn  lost next="upgrade TimescaleDB to 2.18.1 or newer"',
      'warn  lost next=timescaledb-too-old',
    ]);
  });
});

/** The name of a constant of ours is no variable of the environment. */
function isConstant(line: string): boolean {
  return !/['"`].*(?:sensorctl |[A-Z]+_[A-Z]|TMPDIR)/.test(line);
}

function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
}
