import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, chmod, chown, cp, mkdtemp, readdir, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { createServer, connect } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

import {
  type Message,
  DeleteMessageCommand,
  QueueDoesNotExist,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import { expect } from 'chai';
import pg from 'pg';

import { nextStepFor } from '../../src/lib/cli/advice.js';
import { ConflictError, UnreachableError, UsageError } from '../../src/lib/errors.js';
import { type Account, canEnter, findAccount, parsePasswd } from '../../src/lib/sandbox/account.js';
import { findPackagedBinaries, findRuntimeRoot, stageBinaries } from '../../src/lib/sandbox/postgres-binaries.js';
import { findFreePort } from '../../src/lib/sandbox/ports.js';
import { startPostgres } from '../../src/lib/sandbox/postgres.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { isAlive, waitUntilGone } from '../../src/lib/sandbox/processes.js';
import type { QueueServer } from '../../src/lib/sandbox/sandbox-queue.js';
import { startSandbox } from '../../src/lib/sandbox/start-sandbox.js';
import type { HeldServers } from '../support/hold-servers.js';
import { queueServer, startOwnServer, timescaleServer } from '../support/servers.js';

const IS_ROOT = process.getuid?.() === 0;
const REPOSITORY = path.resolve(import.meta.dirname, '../..');
const GONE_MS = 20_000;

describe('sandbox: PostgreSQL', () => {
  const scratch = useScratch();

  it('serves UTF-8 in UTC, durably, on the loopback only', async () => {
    const server = await scratch.start({ durable: true });
    const settings = ['server_encoding', 'TimeZone', 'fsync', 'listen_addresses', 'password_encryption'];
    const rows = await query(server, `select current_setting(name) as value from unnest($1::text[]) name`, [settings]);
    expect(rows.map(({ value }) => value)).to.deep.equal(['UTF8', 'UTC', 'on', '127.0.0.1', 'scram-sha-256']);
    for (const address of outsideAddresses()) {
      expect(await canConnect(address, server.port), address).to.equal(false);
    }
  });

  it('refuses a wrong password', async () => {
    const server = await startOwnServer();
    const client = new pg.Client({ ...connectionOf(server), password: 'wrong' });
    const failure = await client.connect().catch((error: unknown) => error);
    expect(failure).to.be.instanceOf(pg.DatabaseError).with.property('code', '28P01');
  });

  it('runs under an unprivileged account when root starts it', async function () {
    if (!IS_ROOT) skip(this, 'needs root');
    const server = await scratch.start();
    expect((await stat(`/proc/${server.pid!}`)).uid).to.not.equal(0);
  });

  it('starts where no account is called postgres', async function () {
    if (!IS_ROOT) skip(this, 'needs root');
    const accounts = { passwdFile: await scratch.file('passwd', 'root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/\n') };
    const server = await scratch.start({ accounts });
    expect((await stat(`/proc/${server.pid!}`)).uid).to.equal(65534);
  });

  it('starts for an ordinary user', async function () {
    const account = await findAccount({ candidates: ['nobody'] });
    if (account === undefined) skip(this, 'this is an ordinary user: every other test shows it');
    const needed = [path.join(REPOSITORY, 'node_modules'), path.dirname(process.execPath)];
    const enterable = await Promise.all(needed.map((directory) => canEnter(directory, account)));
    if (enterable.includes(false)) skip(this, `${account.name} may not enter ${needed.join(' or ')}`);
    const { child, held } = await holdServers([], account);
    try {
      expect(held.dataOwner).to.equal(account.uid);
      expect((await stat(`/proc/${held.postgres}`)).uid).to.equal(account.uid);
    } finally {
      await killAndWait(child, held);
    }
  });

  it('runs programs that lie in a folder closed to the account', async () => {
    const packaged = await findPackagedBinaries();
    const closed = await scratch.directory(0o700);
    await cp(packaged.directory, path.join(closed, 'native'), { recursive: true });
    const root = await scratch.directory(0o755);
    const binDir = await stageBinaries({ ...packaged, directory: path.join(closed, 'native') }, root);
    const server = await scratch.start({ binDir });
    expect(await query(server, 'select 1 as one')).to.deep.equal([{ one: 1 }]);
  });

  it('reports the last lines of the log when the server ends at its start', async () => {
    const failure = await scratch.start({ settings: { shared_preload_libraries: 'no_such_library' } }).catch(same);
    expect(failure).to.be.instanceOf(UnreachableError).with.property('message').that.includes('no_such_library');
  });

  it('names the port that another program holds', async () => {
    const holder = createServer().listen(await findFreePort(), '127.0.0.1');
    await once(holder, 'listening');
    const { port } = holder.address() as { port: number };
    const failure = await scratch.start({ port }).catch(same);
    holder.close();
    expect(failure).to.be.instanceOf(ConflictError).with.property('message').that.includes(String(port));
  });

  it('keeps named data, password and port over a second start', async () => {
    const dataDir = path.join(await scratch.directory(0o755), 'made', 'by', 'start');
    const first = await scratch.start({ dataDir });
    await query(first, 'create table kept as select 42 as answer');
    await first.dispose();
    const second = await scratch.start({ dataDir });
    expect(await query(second, 'select answer from kept')).to.deep.equal([{ answer: 42 }]);
    expect(connectionOf(second)).to.deep.equal(connectionOf(first));
  });

  it('moves kept data to a free port when its own is taken', async () => {
    const dataDir = await scratch.directory(0o755);
    const first = await scratch.start({ dataDir });
    await first.dispose();
    const holder = createServer().listen(first.port, '127.0.0.1');
    await once(holder, 'listening');
    const second = await scratch.start({ dataDir });
    holder.close();
    expect(second.port).to.not.equal(first.port);
  });

  it('removes data that nobody named', async () => {
    const server = await scratch.start();
    await server.dispose();
    expect(await exists(server.dataDir)).to.equal(false);
  });

  it('refuses a directory that holds other things', async () => {
    const dataDir = await scratch.directory(0o755);
    await writeFile(path.join(dataDir, 'thesis.tex'), '');
    const failure = await scratch.start({ dataDir }).catch(same);
    expect(failure).to.be.instanceOf(UsageError).with.property('message').that.includes('thesis.tex');
  });

  it('says so when the account may not enter the named directory', async function () {
    if (!IS_ROOT) skip(this, 'needs root');
    const dataDir = path.join(await scratch.directory(0o700), 'data');
    const failure = await scratch.start({ dataDir }).catch(same);
    expect(failure).to.be.instanceOf(UsageError).with.property('message').that.includes('may not enter');
  });

  it('refuses data that a running server uses', async () => {
    const dataDir = await scratch.directory(0o755);
    await scratch.start({ dataDir });
    const failure = await scratch.start({ dataDir }).catch(same);
    expect(failure).to.be.instanceOf(UnreachableError).with.property('message').that.includes('postmaster.pid');
  });

  it('serves what was committed after a stop and a start, on the same port', async () => {
    const server = await startOwnServer();
    await query(server, 'create table kept as select 42 as answer');
    for (const mode of ['smart', 'fast', 'immediate'] as const) {
      await server.stop(mode);
      expect(server.pid).to.equal(undefined);
      expect(await canConnect('127.0.0.1', server.port)).to.equal(false);
      await server.start();
      expect(await query(server, 'select answer from kept'), mode).to.deep.equal([{ answer: 42 }]);
    }
  });

  it('recovers what was committed before a kill', async () => {
    const server = await startOwnServer();
    await query(server, 'create table kept as select 42 as answer');
    await server.kill();
    await server.start();
    expect(await query(server, 'select answer from kept')).to.deep.equal([{ answer: 42 }]);
  });

  it('creates a database while another session uses template1', async () => {
    const server = await startOwnServer();
    const other = new pg.Client({ ...connectionOf(server), database: 'template1' });
    await other.connect();
    await server.createDatabase('beside_template1');
    await other.end();
    const created = new pg.Client({ ...connectionOf(server), database: 'beside_template1' });
    await created.connect();
    await created.end();
  });

  it('answers nothing while frozen, and the open connection goes on after the thaw', async () => {
    const server = await startOwnServer();
    const client = new pg.Client(connectionOf(server));
    await client.connect();
    await server.freeze();
    const answer = client.query('select 1 as one').then(({ rows }) => rows as unknown[]);
    expect(await Promise.race([answer, sleep(300, 'silence')])).to.equal('silence');
    server.thaw();
    expect(await answer).to.deep.equal([{ one: 1 }]);
    await client.end();
  });

  it('stops while frozen', async () => {
    const server = await startOwnServer();
    await server.freeze();
    await server.stop();
    expect(server.pid).to.equal(undefined);
  });

  it('runs another installation, with its extension', async function () {
    const timescale = await timescaleServer('local');
    if ('missing' in timescale) skip(this, timescale.missing);
    await timescale.server.createDatabase('sandbox_extension');
    const client = new pg.Client({ ...connectionOf(timescale.server), database: 'sandbox_extension' });
    await client.connect();
    await client.query('create extension timescaledb');
    const { rows } = await client.query(`select extname from pg_extension where extname = 'timescaledb'`);
    await client.end();
    await timescale.server.dropDatabase('sandbox_extension');
    expect(rows).to.have.length(1);
  });
});

describe('sandbox: accounts', () => {
  const scratch = useScratch();

  it('never offers root, nor a uid that the kernel does not take', () => {
    const lines = [
      'root:x:0:0::/:/',
      'toor:x:0:0::/:/',
      'nobody:*:-2:-2::/:/',
      'max:x:4294967295:1::/:/',
      '',
      '# note',
    ];
    expect(parsePasswd(lines.join('\n'))).to.deep.equal([]);
  });

  it('takes an account outside the usual names when it has to', async function () {
    if (!IS_ROOT) skip(this, 'needs root');
    const passwdFile = await scratch.file('passwd', 'root:x:0:0::/:/\nsomeone:x:4711:4711::/:/\n');
    expect(await findAccount({ passwdFile })).to.deep.equal({ name: 'someone', uid: 4711, gid: 4711 });
  });

  it('says what to do where root has no account to turn into', async function () {
    if (!IS_ROOT) skip(this, 'needs root');
    const failure = await findAccount({ passwdFile: await scratch.file('passwd', 'root:x:0:0::/:/\n') }).catch(same);
    expect(failure).to.be.instanceOf(UnreachableError);
    expect(nextStepFor(failure)).to.include('useradd');
  });
});

describe('sandbox: staged programs', () => {
  const scratch = useScratch();

  it('are complete and left alone however many starts stage them at once', async () => {
    const root = await scratch.directory(0o755);
    const packaged = await findPackagedBinaries();
    const staged = await Promise.all(Array.from({ length: 4 }, () => stageBinaries(packaged, root)));
    expect(new Set(staged)).to.have.property('size', 1);
    expect(await readdir(root)).to.deep.equal([path.basename(path.dirname(staged[0]!))]);
    const before = await stat(path.join(staged[0]!, 'postgres'));
    await stageBinaries(packaged, root);
    expect((await stat(path.join(staged[0]!, 'postgres'))).ino).to.equal(before.ino);
  });

  it('are made anew when a cleaner took a file away', async () => {
    const root = await scratch.directory(0o755);
    const packaged = await findPackagedBinaries();
    const binDir = await stageBinaries(packaged, root);
    await unlink(path.join(binDir, 'initdb'));
    await stageBinaries(packaged, root);
    expect(await exists(path.join(binDir, 'initdb'))).to.equal(true);
  });

  it('are not used where others may write to them', async () => {
    const root = await scratch.directory(0o755);
    const packaged = await findPackagedBinaries();
    const binDir = await stageBinaries(packaged, root);
    await chmod(path.dirname(binDir), 0o777);
    expect(await stageBinaries(packaged, root).catch(same)).to.be.instanceOf(ConflictError);
  });

  it('are not used where they belong to another user', async function () {
    if (!IS_ROOT) skip(this, 'needs root');
    const root = await scratch.directory(0o755);
    const packaged = await findPackagedBinaries();
    const binDir = await stageBinaries(packaged, root);
    await chown(path.dirname(binDir), 65534, 65534);
    expect(await stageBinaries(packaged, root).catch(same)).to.be.instanceOf(ConflictError);
  });
});

describe('sandbox: life and death', () => {
  const scratch = useScratch();

  for (const flags of [[], ['--frozen']]) {
    it(`leaves no process and no data when its parent is killed ${flags.join()}`, async () => {
      const { child, held } = await holdServers(flags);
      expect(isAlive(held.postgres) && isAlive(held.queue)).to.equal(true);
      await killAndWait(child, held);
      expect(await exists(held.dataDir)).to.equal(false);
    });
  }

  it('starts two servers and a queue, and names them by the settings of the command line', async () => {
    const sandbox = await startSandbox({ durable: false });
    const settings = sandbox.settings();
    try {
      for (const [server, side] of [
        [sandbox.local, 'TIMESCALE'],
        [sandbox.ec2, 'EC2_DB'],
      ] as const) {
        expect(await query(server, 'select current_database() as name', [], 'sensor_data')).to.have.length(1);
        expect(settings).to.include({ [`${side}_PORT`]: String(server.port), [`${side}_SSLMODE`]: 'disable' });
      }
      expect(settings.SQS_QUEUE_URL).to.match(/^http:\/\/127\.0\.0\.1:\d+\/\d+\/sensor-telemetry$/);
      expect(settings.SQS_QUEUE_URL).to.satisfy((url: string) => url.startsWith(settings.AWS_ENDPOINT_URL_SQS!));
    } finally {
      await sandbox.stop();
      await sandbox.stop();
    }
    expect(await exists(sandbox.local.dataDir)).to.equal(false);
    expect([sandbox.local.pid, sandbox.ec2.pid]).to.deep.equal([undefined, undefined]);
  });

  it('finds its data again where it was told to keep it', async () => {
    const dataDir = await scratch.directory(0o755);
    const first = await startSandbox({ durable: false, dataDir });
    await query(first.ec2, 'create table kept as select 42 as answer', [], 'sensor_data');
    await first.stop();
    const second = await startSandbox({ durable: false, dataDir });
    const rows = await query(second.ec2, 'select answer from kept', [], 'sensor_data');
    await second.stop();
    expect(rows).to.deep.equal([{ answer: 42 }]);
    expect(second.settings()).to.include({ EC2_DB_PASSWORD: first.ec2.password, EC2_DB_PORT: String(first.ec2.port) });
  });

  it('leaves nothing running when a part of it cannot start', async () => {
    const dataDir = await scratch.directory(0o755);
    await writeFile(path.join(dataDir, 'ec2'), 'a file in the way');
    const failure = await startSandbox({ durable: false, dataDir }).catch(same);
    expect(failure).to.be.instanceOf(Error);
    expect(await exists(path.join(dataDir, 'local', 'pgdata', 'postmaster.pid'))).to.equal(false);
  });
});

describe('sandbox: queue', () => {
  let queue: QueueServer;
  let sqs: SQSClient;

  before(async () => {
    queue = await queueServer();
    const { region, endpoint, accessKeyId, secretAccessKey } = queue;
    sqs = new SQSClient({ region, endpoint, credentials: { accessKeyId, secretAccessKey } });
  });
  after(() => sqs.destroy());

  const send = (url: string, body: string) => sqs.send(new SendMessageCommand({ QueueUrl: url, MessageBody: body }));
  const receive = async (url: string, waitSeconds: number): Promise<Message[]> => {
    const names = ['ApproximateReceiveCount'] as const;
    const wait = { WaitTimeSeconds: waitSeconds, MessageSystemAttributeNames: [...names] };
    return (await sqs.send(new ReceiveMessageCommand({ QueueUrl: url, ...wait }))).Messages ?? [];
  };
  const countOf = (message: Message | undefined) => message?.Attributes?.ApproximateReceiveCount;

  it('delivers a message once, and no more after it is deleted', async () => {
    const url = await queue.createQueue('deletes', { visibilityTimeoutSeconds: 1 });
    await send(url, 'a reading');
    const [message] = await receive(url, 5);
    expect(message?.Body).to.equal('a reading');
    await sqs.send(new DeleteMessageCommand({ QueueUrl: url, ReceiptHandle: message!.ReceiptHandle }));
    expect(await receive(url, 2)).to.deep.equal([]);
  });

  it('delivers again what was not deleted within the visibility timeout, and not before', async () => {
    const url = await queue.createQueue('redelivers', { visibilityTimeoutSeconds: 2 });
    await send(url, 'a reading');
    expect(countOf((await receive(url, 5))[0])).to.equal('1');
    expect(await receive(url, 0)).to.deep.equal([]);
    expect(countOf((await receive(url, 5))[0])).to.equal('2');
  });

  it('moves to the dead-letter queue what was received too often', async () => {
    const url = await queue.createQueue('poisoned', { visibilityTimeoutSeconds: 0, maxReceiveCount: 2 });
    await send(url, 'poison');
    expect([(await receive(url, 1)).length, (await receive(url, 1)).length]).to.deep.equal([1, 1]);
    expect(await receive(url, 0)).to.deep.equal([]);
    expect((await receive(`${url}-dead-letters`, 1))[0]?.Body).to.equal('poison');
  });

  it('answers a long poll as soon as a message comes', async () => {
    const url = await queue.createQueue('polled');
    const polled = receive(url, 20);
    const sentAt = performance.now();
    await send(url, 'late');
    expect((await polled)[0]?.Body).to.equal('late');
    expect(performance.now() - sentAt).to.be.below(5_000);
  });

  it('calls a queue that is not there by the name that SQS uses', async () => {
    const failure = await receive(`${queue.endpoint}/000000000000/nowhere`, 0).catch(same);
    expect(failure).to.be.instanceOf(QueueDoesNotExist);
  });

  it('listens on the loopback only', async () => {
    const port = Number(new URL(queue.endpoint).port);
    for (const address of outsideAddresses()) expect(await canConnect(address, port), address).to.equal(false);
  });
});

type StartOptions = NonNullable<Parameters<typeof startPostgres>[0]>;

/** Servers and directories of a describe block, taken away after each of its tests. */
function useScratch() {
  const servers: PostgresServer[] = [];
  const directories: string[] = [];
  afterEach(async () => {
    await Promise.all(servers.splice(0).map((server) => server.dispose()));
    await Promise.all(directories.splice(0).map((directory) => rm(directory, { recursive: true, force: true })));
  });
  const directory = async (mode: number): Promise<string> => {
    const made = await mkdtemp(path.join(await findRuntimeRoot(await findAccount()), 'sensorctl-test-'));
    await chmod(made, mode);
    directories.push(made);
    return made;
  };
  return {
    directory,
    file: async (name: string, text: string): Promise<string> => {
      const file = path.join(await directory(0o755), name);
      await writeFile(file, text);
      return file;
    },
    start: async (options: StartOptions = {}): Promise<PostgresServer> => {
      const server = await startPostgres({ durable: false, ...options });
      servers.push(server);
      return server;
    },
  };
}

async function holdServers(flags: string[], account?: Account): Promise<{ child: ChildProcess; held: HeldServers }> {
  const script = path.join(REPOSITORY, 'test', 'support', 'hold-servers.ts');
  const identity = account && {
    uid: account.uid,
    gid: account.gid,
    env: { PATH: process.env.PATH, HOME: os.tmpdir() },
  };
  const child = spawn(process.execPath, ['--import', 'tsx', script, ...flags], {
    ...identity,
    cwd: REPOSITORY,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  return { child, held: JSON.parse(line) as HeldServers };
}

async function killAndWait(child: ChildProcess, held: HeldServers): Promise<void> {
  child.kill('SIGKILL');
  expect(await waitUntilGone([held.postgres, held.queue], GONE_MS), 'processes gone').to.equal(true);
  const deadline = performance.now() + GONE_MS;
  while (performance.now() < deadline && (await exists(held.dataDir))) await sleep(20);
}

function connectionOf({ host, port, user, password }: PostgresServer) {
  return { host, port, user, password, database: 'postgres' };
}

async function query(server: PostgresServer, sql: string, values: unknown[] = [], database = 'postgres') {
  const client = new pg.Client({ ...connectionOf(server), database });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql, values)).rows;
  } finally {
    await client.end();
  }
}

function outsideAddresses(): string[] {
  const addresses = Object.values(os.networkInterfaces()).flatMap((entries) => entries ?? []);
  return addresses.filter(({ internal, family }) => !internal && family === 'IPv4').map(({ address }) => address);
}

async function canConnect(host: string, port: number): Promise<boolean> {
  const socket = connect(port, host);
  const connected = await once(socket, 'connect').then(
    () => true,
    () => false,
  );
  socket.destroy();
  return connected;
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

function same(error: unknown): unknown {
  return error;
}

function skip(context: Mocha.Context, reason: string): never {
  context.test!.title += ` (skipped: ${reason})`;
  return context.skip();
}
