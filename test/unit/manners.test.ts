import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { CommandLineError, nextStepFor, UnansweredError } from '../../src/lib/cli/advice.js';
import { withWait } from '../../src/lib/cli/progress.js';
import { createErrorReport, renderErrorReport } from '../../src/lib/cli/error-report.js';
import { didYouMean, nearest } from '../../src/lib/domain/words.js';
import { renderTable } from '../../src/lib/cli/table.js';
import { padEnd, padStart, shorten, widthOf, wrap } from '../../src/lib/cli/text-layout.js';
import { UnreachableError, UsageError } from '../../src/lib/errors.js';
import { createLogger } from '../../src/lib/logger.js';

interface Manifest {
  readonly commands: Readonly<Record<string, ManifestCommand>>;
}

interface ManifestCommand {
  readonly summary?: string;
  readonly examples?: readonly string[];
  readonly flags: Readonly<Record<string, { readonly description?: string }>>;
  readonly args: Readonly<Record<string, { readonly description?: string }>>;
}

const ROOT = path.resolve(import.meta.dirname, '../..');
const { commands } = JSON.parse(readFileSync(path.join(ROOT, 'oclif.manifest.json'), 'utf8')) as Manifest;

describe('the manners of the command line: help', () => {
  for (const [name, { summary, examples = [], flags, args }] of Object.entries(commands)) {
    it(`${name.replace(':', ' ')} has a summary, an example, and a word on each flag and argument`, () => {
      expect(summary).to.match(/^[A-Z].*\.$/s);
      expect(examples).not.to.deep.equal([]);
      const silent = [...Object.entries(flags), ...Object.entries(args)].filter(
        ([, { description = '' }]) => !description,
      );
      expect(silent.map(([each]) => each)).to.deep.equal([]);
    });

    it(`each flag in the examples of ${name.replace(':', ' ')} exists`, () => {
      const used = examples.join(' ').match(/(?<=--)[a-z][a-z-]*/g) ?? [];
      const known = Object.keys(flags);
      expect(used.filter((flag) => !known.includes(flag.replace(/^no-/, '')) && flag !== 'json')).to.deep.equal([]);
    });
  }
});

describe('the manners of the command line: suggestions', () => {
  const names = ['compare', 'consume', 'cutover', 'init', 'quarantine list'];

  for (const [typed, meant] of [
    ['comapre', 'compare'],
    ['int', 'init'],
    ['cutovr', 'cutover'],
    ['quarantine lsit', 'quarantine list'],
    ['deploy', null],
  ] as const) {
    it(`${typed}: ${meant ?? 'none'}`, () => {
      expect(nearest(typed, names)).to.equal(meant);
      expect(didYouMean(typed, names)).to.equal(meant === null ? '' : `; did you mean ${meant}?`);
    });
  }
});

describe('the manners of the command line: tables', () => {
  const head = ['table', 'rows', 'missing on local', 'what was found'];
  const rows = [
    ['water_level_readings', 1_234_567, 0, 'a sentence that is far too long for what is left of the line'],
    ['moisture_readings', 7, 12, 'short'],
  ];

  it('fits any width from 60 on: breaks between words, never in a number or a name', () => {
    for (let width = 60; width <= 120; width += 1) {
      const table = renderTable(head, rows, width);
      expect(Math.max(...table.split('\n').map((line) => line.length))).to.be.at.most(width);
      for (const whole of ['water_level_readings', 'moisture_readings', '1,234,567']) expect(table).to.contain(whole);
    }
  });

  it('keeps each row on one line where there is no width', () => {
    expect(renderTable(head, rows, Infinity).split('\n')).to.have.length(rows.length + 4);
  });

  it('counts columns, not letters: a Thai vowel sign takes none, a Chinese character two', () => {
    expect([widthOf('ที่นี่'), widthOf('水位'), widthOf('a\n水位')]).to.deep.equal([2, 4, 4]);
    expect([padEnd('ที่', 3), padStart('水', 3), shorten('水位計', 5)]).to.deep.equal(['ที่  ', ' 水', '水位…']);
    expect(wrap('  水位 水位 水位', 11)).to.deep.equal(['  水位 水位', '  水位']);
  });

  it('breaks a word where nothing else helps, and loses none of it', () => {
    const word = 'x'.repeat(100);
    const table = renderTable(['key'], [[word]], 40);
    expect(table.split('\n').every((line) => line.length <= 40)).to.equal(true);
    expect(table.replaceAll(/[^x]/g, '')).to.equal(word);
  });

  it('lets no control character of a device through, in tables and in the log', () => {
    const text = '\u001b[2Jgone';
    const logged: string[] = [];
    createLogger((line) => logged.push(line)).info('read', { text });
    for (const each of [renderTable(['a'], [[text]], 80), ...logged]) expect(each).not.to.contain('\u001b');
  });
});

describe('the manners of the command line: errors', () => {
  it('an error that an operator can act on has no stack, and always a next step', () => {
    for (const error of [new UnreachableError('gone'), new UsageError('wrong', { code: 'ec2-not-set' })]) {
      const report = createErrorReport(error, 'sensorctl init --help');
      const lines = renderErrorReport(report, error);
      expect(lines).to.deep.equal([
        `Error: ${error.message}`,
        `Next: ${nextStepFor(error) ?? 'sensorctl init --help'}`,
      ]);
    }
  });

  it('a question that nobody answered is no error, and names the flag that answers it', () => {
    const error = new UnansweredError('Rows will be deleted. Nobody can be asked here', 'give --yes');
    const report = createErrorReport(error, '');
    expect(report.exitCode).to.equal(2);
    expect(renderErrorReport(report, error)).to.deep.equal([error.message, 'Next: give --yes']);
  });

  it('on a terminal breaks the message between words, and nothing that is to be typed', () => {
    const error = new CommandLineError('one two three four', 'sensorctl quarantine list');
    expect(renderErrorReport(createErrorReport(error, ''), error, 16)).to.deep.equal([
      ...['Error: one two', 'three four', 'Next: sensorctl quarantine list'],
    ]);
  });

  it('a wait says how long it has lasted, once that is worth telling', () => {
    expect([withWait('drain', 2_999), withWait('drain', 12_345)]).to.deep.equal(['drain', 'drain (12 s)']);
  });

  it('a defect has the exit code 70, its stack, and says what to do', () => {
    const error = new TypeError('undefined is not a reading');
    const report = createErrorReport(error, '');
    expect(report).to.include({ exitCode: 70, error: 'undefined is not a reading' });
    expect(renderErrorReport(report, error).join('\n')).to.match(/manners\.test\.ts[\s\S]*\nNext: report this defect/);
  });
});
