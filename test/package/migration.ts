import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';

import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { findUndocumented } from '../support/documented-json.js';

export interface Installed {
  /** The Node.js to run it with. */
  readonly node: string;
  /** `sensorctl`, as a shell would find it. */
  readonly program: string;
  readonly root: string;
}

const MESSAGES = 200;
/** What Node.js and the AWS SDK have to say of versions is not for operators. */
const WARNING = /warning|deprecat|no longer support|experimental/i;

/** The way from an empty sandbox to phase 2 by the installed program; returns what was done, throws at the first fault. */
export async function runMigration({ node, program, root }: Installed): Promise<string> {
  const cwd = await mkdtemp(path.join(root, 'run-'));
  const run = createRunner(node, program, cwd);
  const version = (await run(['--version'])).trim();
  if (!(await run(['--help'])).includes('verify-schema')) throw new Error('--help names no verify-schema');
  await writeFile(path.join(cwd, 'telemetry.jsonl'), [...generateTelemetry({ seed: 1, count: MESSAGES })].join('\n'));
  const sandbox = spawn(node, [program, 'sandbox', '--write-env', '.env.local'], {
    cwd,
    env: environment(node),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = once(sandbox, 'close');
  try {
    await ready(sandbox.stderr, version);
    const document = async (type: string, args: readonly string[]): Promise<Record<string, unknown>> => {
      const json = await run([...args, '--json']);
      const faults = findUndocumented(json, type);
      if (faults.length > 0) throw new Error(`${args.join(' ')} --json: ${faults.join('; ')}\n${json}`);
      return JSON.parse(json) as Record<string, unknown>;
    };
    await document('Init', ['init']);
    await document('VerifySchema', ['verify-schema']);
    await document('Replay', ['replay', 'telemetry.jsonl']);
    const { messages } = await document('Consume', ['consume', '--dual-write', '--drain']);
    if (messages !== MESSAGES) throw new Error(`${String(messages)} of ${MESSAGES} messages were consumed`);
    await document('Cutover', ['cutover', '--phase', '1', '--yes']);
    await document('Compare', ['compare', '--all']);
    await document('Cutover', ['cutover', '--phase', '2', '--yes']);
    await document('Monitor', ['monitor', '--once']);
  } finally {
    sandbox.kill('SIGTERM');
    await ended;
  }
  return `${version}: help, sandbox, init, verify-schema, replay, consume, compare, cutover, monitor.`;
}

/** Resolves once the sandbox says so; rejects with what it said instead. */
async function ready(stderr: Readable, version: string): Promise<void> {
  let said = '';
  await new Promise<void>((resolve, reject) => {
    stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (said.includes('Ready')) resolve();
    });
    stderr.once('close', () => reject(new Error(`sandbox ended under ${version}:\n${said}`)));
  });
}

/** The whole demo, whose document is held to its description; returns what was done. */
export async function runDemo({ node, program, root }: Installed): Promise<string> {
  const run = createRunner(node, program, await mkdtemp(path.join(root, 'demo-')));
  const faults = findUndocumented(await run(['demo', '--json']), 'Demo');
  if (faults.length > 0) throw new Error(`demo --json: ${faults.join('; ')}`);
  return 'The demo adds up.';
}

/** Runs the program to its end; throws where it fails, or where a version of something else is warned of. */
function createRunner(node: string, program: string, cwd: string): (args: readonly string[]) => Promise<string> {
  return async (args) => {
    const what = `${path.basename(program)} ${args.join(' ')} under ${node}`;
    const options = { cwd, env: environment(node), timeout: 300_000 };
    const { stdout, stderr } = await promisify(execFile)(node, [program, ...args], options).catch((error: unknown) => {
      throw new Error(`${what} failed: ${(error as Error).message}`, { cause: error });
    });
    if (WARNING.test(stderr)) throw new Error(`${what} warns:\n${stderr}`);
    return stdout;
  };
}

/** Nothing of this shell's settings; the Node.js that is tried comes first. */
function environment(node: string): NodeJS.ProcessEnv {
  return { PATH: `${path.dirname(node)}${path.delimiter}${process.env.PATH ?? ''}`, HOME: process.env.HOME };
}
