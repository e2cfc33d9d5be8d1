// A real PgBouncer before a server, for tests that run where one is installed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, chmod, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { findAccount } from '../../src/lib/sandbox/account.js';
import { keeper, makeTemporaryDirectory, removeTemporaryDirectory } from '../../src/lib/sandbox/keeper.js';
import { findFreePort } from '../../src/lib/sandbox/ports.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { eventually } from './cli.js';
import { disposeAtEnd } from './disposal.js';

export type PoolMode = 'session' | 'transaction' | 'statement';

/** Where the program is; undefined where this machine has none. */
export async function findPgBouncer(): Promise<string | undefined> {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/local/sbin'].filter((folder) =>
    path.isAbsolute(folder),
  );
  for (const folder of folders) {
    const program = path.join(folder, 'pgbouncer');
    if (
      await access(program).then(
        () => true,
        () => false,
      )
    )
      return program;
  }
  return undefined;
}

export interface PgBouncer {
  readonly host: string;
  readonly port: number;
  stop(): Promise<void>;
}

/** Hands sessions of the server on, on any port but `listenPort`; `settings` are lines of its file. It ends after the test file at the latest. */
export async function startPgBouncer(
  program: string,
  server: PostgresServer,
  settings: Readonly<Record<string, string>>,
  listenPort?: number,
): Promise<PgBouncer> {
  const directory = await makeTemporaryDirectory(path.join(tmpdir(), 'sensorctl-pgbouncer-'));
  await chmod(directory, 0o755);
  const [host, port, account] = ['127.0.0.1', listenPort ?? (await findFreePort()), await findAccount()];
  const file = path.join(directory, 'pgbouncer.ini');
  const all = { listen_addr: host, listen_port: String(port), auth_type: 'any', unix_socket_dir: '', ...settings };
  await writeFile(
    file,
    `[databases]\n* = host=${server.host} port=${server.port} user=${server.user} password=${server.password}\n\n[pgbouncer]\n${Object.entries(
      all,
    )
      .map(([name, value]) => `${name} = ${value}\n`)
      .join('')}`,
  );
  const identity = account === undefined ? {} : { uid: account.uid, gid: account.gid };
  const child = spawn(program, ['-q', file], { ...identity, stdio: 'ignore' });
  if (child.pid !== undefined) await keeper.watchProcess(child.pid);
  const ended = once(child, 'exit');
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
    if (child.pid !== undefined) await keeper.releaseProcess(child.pid);
    await removeTemporaryDirectory(directory);
  };
  const forget = disposeAtEnd(stop);
  await eventually('PgBouncer listens', () => answers(host, port));
  return {
    ...{ host, port },
    stop: async () => {
      forget();
      await stop();
    },
  };
}

async function answers(host: string, port: number): Promise<boolean> {
  const socket = connect(port, host);
  return await once(socket, 'connect').then(
    () => {
      socket.destroy();
      return true;
    },
    () => false,
  );
}
