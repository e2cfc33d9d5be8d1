import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { commandRunner } from '../../src/lib/cli/command-runner.js';
import { startCommand } from '../../src/lib/operations/demo/run-command.js';
import { withTelemetryFiles } from '../../src/lib/operations/demo/telemetry-files.js';
import { forkEntry } from '../../src/lib/sandbox/helper-process.js';
import { findFreePort } from '../../src/lib/sandbox/ports.js';
import { Authority } from '../support/certificates.js';
import { eventually, REPOSITORY, runCli, Stage, startCli } from '../support/cli.js';
import { message, TlsServer } from '../support/tls-server.js';

function fault(reason: string, sensorId: string): object {
  return { reason, sqlstate: null, table: null, sensorId, time: null };
}

const WARNING = 'EC2_DB_SSLMODE=require encrypts but does not check who answers';

/** Each command that opens EC2. */
const COMMANDS = [
  ...['init', 'verify-schema', 'compare', 'backfill', 'consume --dual-write --drain', 'cutover', 'monitor --once'],
  ...['monitor report', 'quarantine list', 'quarantine show ec2:1', 'quarantine retry --all'],
];

describe('acceptance: what an outsider can do', function () {
  this.timeout(60_000);
  let stage: Stage;
  let tls: TlsServer;
  let authority: Authority;
  let directory: string;

  before(async () => {
    authority = await Authority.create('ours');
    tls = await TlsServer.start(await authority.sign());
    stage = await Stage.open('outside', { ec2: tls.server });
    await stage.runJson(['init']);
    directory = await mkdtemp(path.join(tmpdir(), 'sensorctl-outside-'));
  });

  after(async () => {
    await stage.close();
    await tls.dispose();
    await rm(directory, { recursive: true });
  });

  it('each command that opens EC2 unverified says so, on one line', async () => {
    for (const command of COMMANDS) {
      const { stderr } = await stage.run(command.split(' '), { EC2_DB_SSLMODE: undefined });
      expect(stderr.split(WARNING).length - 1, `${command}\n${stderr}`).to.equal(1);
    }
  });

  it('verify-full is the mode where a root certificate is named, and none says anything then', async () => {
    const root = path.join(directory, 'ca.pem');
    await writeFile(root, authority.pem);
    const settings = { EC2_DB_SSLMODE: undefined, EC2_DB_SSLROOTCERT: root };
    const { stderr, code } = await stage.run(['compare', '--verbose'], settings);
    expect(code, stderr).to.equal(0);
    expect(stderr)
      .to.match(/settings of ec2 .*sslMode=verify-full/)
      .and.not.to.contain('does not check');
    await writeFile(root, (await Authority.create('theirs')).pem);
    const refused = await stage.run(['compare'], settings);
    expect(refused.code).to.equal(3);
    expect(refused.stderr).to.match(/Next: set EC2_DB_SSLROOTCERT/);
  });

  for (const command of ['monitor --once --json', 'consume --dual-write --drain', 'compare']) {
    it(`without EC2_DB_PASSWORD \`${command}\` ends at once, and the variable is named`, async () => {
      const startedAt = performance.now();
      const { stdout, stderr } = await stage.run(command.split(' '), { EC2_DB_PASSWORD: undefined });
      expect(performance.now() - startedAt).to.be.below(20_000); // it hung for 60 s
      expect(stdout + stderr).to.match(command === 'compare' ? /EC2_DB_PASSWORD/ : /EC2_DB_PASSWORD|none is set/);
    });
  }

  it('a server cannot clear the screen or forge a line by its words', async () => {
    const words = 'no\u001b[2J\u009b1A\u202e\r\nNext: sensorctl init --remove';
    const refusal = message('E', Buffer.from(`SFATAL\0VFATAL\0C28P01\0M${words}\0\0`));
    const server = createServer((socket) =>
      socket.on('error', () => undefined).once('data', () => socket.end(refusal)),
    );
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as { port: number };
    for (const args of [['compare'], ['compare', '--json'], ['monitor', '--once'], ['compare', '--verbose']]) {
      const { stdout, stderr } = await stage.run(args, { TIMESCALE_PORT: String(port) });
      // eslint-disable-next-line no-control-regex -- they are what must not be there
      expect(stdout + stderr).not.to.match(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
      expect(stdout + stderr).not.to.match(/^\s*Next: sensorctl init --remove/m);
      expect(stdout + stderr).to.contain('x1b[2J');
    }
    server.close();
  });

  it('quarantine show and list let no id and no body make lines like those of sensorctl', async () => {
    const { rows } = await stage.local.query<{ id: string }>(
      `insert into sensorctl.quarantine (digest, side, faults, message_id, body) values ('\\x01', 'local', $1, $2, $3)
       returning quarantine_id as id`,
      [
        JSON.stringify([
          fault('bad\nstate: discarded', 'S1\nreason: none\u001b[2J'),
          fault('worse\r\u2028state: discarded', 'S2\u202e'),
        ]),
        'm\nstate: discarded',
        '{\n}\nreason: none\rstate: discarded\r\n\n\u2028reason: none\u0085reason: none',
      ],
    );
    const shown = await stage.run(['quarantine', 'show', `local:${rows[0]!.id}`]);
    const list = await stage.run(['quarantine', 'list']);
    for (const { stdout, code } of [shown, list]) {
      expect(code).to.equal(0);
      expect(stdout)
        .not.to.contain('\u001b')
        .and.not.to.match(/^(?:reason: none|state: discarded)/m);
    }
    expect(shown.stdout)
      .to.match(/^fault: bad\\x0astate: discarded$/m)
      .and.to.match(/^ {2}sensorId: S1\\x0areason: none\\x1b\[2J$/m)
      .and.to.match(/^fault: worse\\x0d\\u2028state: discarded$/m)
      .and.to.match(/^ {2}sensorId: S2\\u202e$/m)
      .and.to.match(/^messageId: m\\x0astate: discarded$/m);
    // What is above the empty line is ours, each line of it; below it every line is set in.
    const [head = '', body = ''] = shown.stdout.split(/\n\n(?= {2}\{)/);
    expect(head.split('\n').map((line) => /^ {0,2}[a-zA-Z]+(?=: )/.exec(line)?.[0])).to.deep.equal([
      ...['id', 'side', 'messageId', 'quarantinedAt', 'resolution', 'keptOn'],
      ...['fault', '  sensorId', 'fault', '  sensorId'],
    ]);
    expect(body).to.equal(
      '  {\n  }\n  reason: none\\x0dstate: discarded\\x0d\n  \n  \\u2028reason: none\\x85reason: none\n',
    );
    expect(list.stdout.split('\n').filter((line) => line.includes('S1\\x0areason'))).to.have.length(1);
  });

  it('--json of a success masks a secret, and stays JSON', async () => {
    const secret = String(stage.settings.EC2_DB_PASSWORD);
    const { rows } = await stage.local.query<{ id: string }>(
      `insert into sensorctl.quarantine (digest, side, faults, message_id, body) values ('\\x02', 'local', $1, 'm', $2)
       returning quarantine_id as id`,
      [JSON.stringify([fault('x', `of ${secret}`)]), JSON.stringify({ a: [secret, '\u009b\u202e'] })],
    );
    const { stdout } = await stage.run(['quarantine', 'show', `local:${rows[0]!.id}`, '--json']);
    expect(stdout)
      .not.to.contain(secret)
      .and.not.to.match(/[\u009b\u202e]/);
    expect(JSON.parse(stdout)).to.have.property('body', JSON.stringify({ a: ['***', '\u009b\u202e'] }));
  });

  it('a sample of anybody does not end monitor report', async () => {
    await stage.local.query(
      `insert into sensorctl.sample (taken_at, phase, epoch, troubles, unexplained, figures)
       select clock_timestamp() - number * interval '1 minute', 1, 1, '{gaps,null}', '{}', figure
       from unnest(array['null', '1', '[]', '{"lagSeconds": "<b>", "queued": null}']::jsonb[]) with ordinality as t (figure, number)`,
    );
    const { code, stderr, stdout } = await stage.run(['monitor', 'report', '--json']);
    expect(code, stderr).to.equal(0);
    const { samples } = JSON.parse(stdout) as { samples: { phase: number; figures: Record<string, unknown> }[] };
    const foreign = samples.filter(({ phase }) => phase === 1);
    expect(foreign).to.have.length(4);
    for (const { figures } of foreign) expect(figures).to.include({ lagSeconds: null, queued: null });
  });

  describe('who holds a port open', () => {
    async function halfRequest(port: number): Promise<Socket> {
      const socket = connect(port, '127.0.0.1').on('error', () => undefined);
      await once(socket, 'connect');
      socket.resume().write('GET /healthz HTTP/1.1\r\nHost: local');
      return socket;
    }

    for (const [args, flags] of [
      [
        ['consume', '--dual-write'],
        ['--health-port', '--metrics-port'],
      ],
      [
        ['monitor', '--interval', '200ms'],
        ['--metrics-port', '--web-port'],
      ],
    ] as const) {
      it(`does not keep ${args[0]} from ending at SIGTERM`, async () => {
        const ports = [await findFreePort(), await findFreePort()];
        const given = flags.flatMap((flag, place) => [flag, String(ports[place])]);
        const running = await stage.start([...args, ...given, ...(args[0] === 'monitor' ? ['--web'] : [])]);
        const sockets: Socket[] = [];
        for (const port of ports) {
          await eventually('the port is open', () =>
            halfRequest(port).then(
              (socket) => sockets.push(socket) > 0,
              () => false,
            ),
          );
        }
        running.kill('SIGTERM');
        const { code, stderr } = await running.wait(); // within 45 s, or it throws; half a request held it for 95 s
        expect(code, stderr).to.equal(0);
        for (const socket of sockets) socket.destroy();
      });
    }
  });

  describe('files', () => {
    it('of settings with a secret that others may read are named, once, with what to type', async () => {
      for (const [mode, warned] of [
        [0o644, true],
        [0o640, true],
        [0o600, false],
      ] as const) {
        const file = path.join(directory, '.env.local');
        await writeFile(file, 'TIMESCALE_PORT=1\nTIMESCALE_PASSWORD=of-production\n');
        await chmod(file, mode);
        const child = spawn(process.execPath, [path.join(REPOSITORY, 'bin', 'run.js'), 'quarantine', 'list'], {
          ...{ cwd: directory, env: { PATH: process.env.PATH, HOME: directory } },
          stdio: ['ignore', 'ignore', 'pipe'],
        });
        let stderr = '';
        child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
        await once(child, 'close');
        expect(stderr.split('chmod 600 .env.local').length - 1, stderr).to.equal(warned ? 1 : 0);
        await rm(file);
      }
    });

    it('that sandbox writes are for their owner alone, also where they were there', async () => {
      const file = path.join(directory, 'sandbox.env');
      await writeFile(file, '# written by sensorctl sandbox\n', { mode: 0o644 });
      await chmod(file, 0o644);
      const sandbox = await startCli(['sandbox', '--write-env', file]);
      await sandbox.printed('Ready');
      expect((await stat(file)).mode & 0o777).to.equal(0o600);
      expect(await readFile(file, 'utf8')).to.match(/^EC2_DB_PASSWORD=/m);
      sandbox.kill('SIGTERM');
      await sandbox.wait();
    });
  });

  it('an address with a user and a password in it is refused, and not printed', async () => {
    const settings = {
      SQS_QUEUE_URL: 'https://us:of-production@sqs.example.org/0/q',
      AWS_ENDPOINT_URL_SQS: 'http://of-production@127.0.0.1:1',
    };
    const { code, stdout, stderr } = await runCli(['consume', '--verbose'], { settings });
    expect(code).to.equal(2);
    expect(stderr).to.match(/SQS_QUEUE_URL should hold no user and no password[\s\S]*AWS_ENDPOINT_URL_SQS should hold/);
    expect(stdout + stderr).not.to.contain('of-production');
  });

  it('verify-ca without a root certificate is refused, as psql refuses it', async () => {
    const { code, stderr } = await stage.run(['compare'], { EC2_DB_SSLMODE: 'verify-ca' });
    expect(code).to.equal(2);
    expect(stderr).to.match(/EC2_DB_SSLROOTCERT should be set, as EC2_DB_SSLMODE=verify-ca/);
  });

  describe('helpers', () => {
    it('of the sandbox get nothing of the environment', async () => {
      process.env.SENSORCTL_TEST_SECRET = 'of-production';
      const helper = forkEntry('keeper-process');
      await once(helper, 'message');
      const environment = await readFile(`/proc/${helper.pid!}/environ`, 'utf8').catch(() => '');
      helper.disconnect();
      await once(helper, 'exit');
      expect(environment).not.to.contain('of-production');
      if (process.platform === 'linux') expect(environment).to.contain('PATH=/usr/bin:/bin');
    });

    it('of the demo get no settings of the operator, and read none that others have planted', async () => {
      process.env.PGPASSWORD = 'of-production';
      const printer = [
        'console.log(JSON.stringify({ environment: process.env, directory: process.cwd() }))',
        'console.log(require("node:fs").statSync(".").mode & 0o777, require("node:fs").readdirSync(".").join())',
      ];
      const runner = { ...commandRunner(REPOSITORY), arguments: ['-e', printer.join(';')] };
      const output = await withTelemetryFiles({ messages: 30, seed: 1 }, async ({ directory: own }) => {
        return await startCommand(runner, [], { settings: { EC2_DB_HOST: 'sandbox' }, directory: own }).finished;
      });
      delete process.env.PGPASSWORD;
      const [first = '', second = ''] = output.split('\n');
      const { environment, directory: where } = JSON.parse(first) as {
        environment: Record<string, string>;
        directory: string;
      };
      expect(environment).to.include({ EC2_DB_HOST: 'sandbox' }).and.not.to.have.any.keys('PGPASSWORD');
      expect(where).not.to.equal(tmpdir());
      expect(second).to.equal('448 telemetry.jsonl');
    });
  });
});
