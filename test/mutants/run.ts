// npm run test:mutants [-- --only TEXT]: makes each defect of mutants.ts in a copy of the repository, and runs the test
// that has to notice it. Ends with 1 where one survives, or where the list and the sources no longer fit.
import { execFile, execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { MUTANTS, type Mutant } from './mutants.js';

const REPOSITORY = path.resolve(import.meta.dirname, '../..');
const TEST_TIMEOUT_MS = 300_000;

interface Outcome {
  readonly passes: number;
  readonly failures: readonly string[];
  readonly output: string;
}

const { values } = parseArgs({ options: { only: { type: 'string', default: '' } } });
const copy = mkdtempSync(path.join(tmpdir(), 'sensorctl-mutants-'));
process.once('exit', () => rmSync(copy, { recursive: true, force: true }));
process.once('SIGINT', () => process.exit(130));

copyRepository();
let faults = 0;
for (const mutant of MUTANTS.filter(({ name }) => name.includes(values.only))) {
  const verdict = await judge(mutant).catch((error: unknown) => `cannot be judged: ${(error as Error).message}`);
  if (!verdict.startsWith('killed')) faults += 1;
  process.stdout.write(`${mutant.name}: ${verdict}\n`);
}
process.exit(faults === 0 ? 0 : 1);

/** What git knows of, changed or not; the packages are those of this repository. */
function copyRepository(): void {
  const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: REPOSITORY,
    encoding: 'utf8',
  });
  for (const file of list.split('\0').filter((name) => name !== '')) {
    cpSync(path.join(REPOSITORY, file), path.join(copy, file));
  }
  symlinkSync(path.join(REPOSITORY, 'node_modules'), path.join(copy, 'node_modules'));
}

async function judge(mutant: Mutant): Promise<string> {
  const file = path.join(copy, mutant.file);
  const original = readFileSync(file, 'utf8');
  const places = original.split(mutant.source).length - 1;
  if (places !== 1) return `its source text occurs ${places} times in ${mutant.file}`;
  await build();
  const sound = await runTest(mutant);
  if (sound.failures.length > 0) return `its test fails without it, too: ${sound.failures.join(', ')}\n${sound.output}`;
  if (sound.passes === 0) return `${mutant.test} has no test titled ${mutant.title} that runs here\n${sound.output}`;
  writeFileSync(
    file,
    original.replace(mutant.source, () => mutant.replacement),
  );
  try {
    await build();
    const { failures } = await runTest(mutant);
    return failures.length > 0 ? `killed by ${mutant.test}: ${failures[0] ?? ''}` : `SURVIVED ${mutant.test}`;
  } finally {
    writeFileSync(file, original);
  }
}

async function build(): Promise<void> {
  const { code, output } = await run('npm', ['run', '-s', 'build']);
  if (code !== 0) throw new Error(`it does not compile:\n${output}`);
}

async function runTest({ test, title }: Mutant): Promise<Outcome> {
  const report = path.join(copy, 'report.json');
  rmSync(report, { force: true });
  const reporter = ['--reporter', 'json', '--reporter-option', `output=${report}`];
  const { output } = await run('npx', ['mocha', test, '--grep', title, ...reporter]);
  const { passes, failures } = JSON.parse(readFileSync(report, 'utf8')) as Record<string, { fullTitle: string }[]>;
  return { passes: passes?.length ?? 0, failures: failures?.map(({ fullTitle }) => fullTitle) ?? [], output };
}

function run(program: string, args: readonly string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const options = { cwd: copy, timeout: TEST_TIMEOUT_MS, maxBuffer: Infinity };
    execFile(program, args, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : 1, output: stdout + stderr });
    });
  });
}
