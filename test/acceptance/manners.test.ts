import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { REPOSITORY, runCli, Stage, type CliResult } from '../support/cli.js';

const SECRETS = { TIMESCALE_PASSWORD: 'Marked-Local-4711', EC2_DB_PASSWORD: 'Marked-Ec2-4712' };
const KEYS = { AWS_SECRET_ACCESS_KEY: 'Marked-Key-4713', AWS_SESSION_TOKEN: 'Marked-Token-4714' };

/** Each command that uses a side or the queue. */
const COMMANDS = [
  'init',
  'verify-schema',
  'compare',
  'backfill',
  'consume --dual-write --drain',
  'cutover',
  'monitor --once',
  'monitor report',
  'quarantine list',
  'quarantine show local:1',
  'quarantine retry --all',
  'quarantine discard --all --side local',
  'replay package.json',
];

describe('acceptance: the manners of the command line', function () {
  this.timeout(40_000);
  let stage: Stage;

  before(async () => {
    stage = await Stage.open('manners');
    await stage.runJson(['init']);
  });

  after(async () => {
    await stage.close();
  });

  function expectMannered({ code, stdout, stderr }: CliResult): void {
    expect(code, stderr).to.be.oneOf([0, 1, 2, 3]);
    for (const secret of Object.values({ ...SECRETS, ...KEYS })) expect(stdout + stderr).not.to.contain(secret);
    expect(stdout + stderr)
      .not.to.match(/^\s+at |node_modules|\[object|undefined/m)
      .and.not.to.contain('\u001b');
  }

  it('wrong passwords: no command prints one, nor a stack, nor colour in a pipe, also with --verbose', async () => {
    const settings = { ...stage.settings, ...SECRETS, ...KEYS, SQS_QUEUE_URL: `${stage.settings.SQS_QUEUE_URL!}-none` };
    const files = { 'package.json': '{}' };
    for (const half of [COMMANDS.slice(0, 7), COMMANDS.slice(7)]) {
      const results = await Promise.all(
        half.map((command) => runCli([...command.split(' '), '--verbose'], { settings, files })),
      );
      for (const [index, result] of results.entries()) {
        expectMannered(result);
        if (result.code === 3) expect(result.stderr, half[index]).to.match(/^Next: .+/m);
        expect(result.stderr, half[index]).to.match(/ debug settings of local host=/);
      }
    }
  });

  for (const [args, says, next] of [
    ['comapre', 'there is no command comapre; did you mean compare?', 'sensorctl compare --help'],
    [
      'quarantine lst',
      'there is no command quarantine lst; did you mean quarantine list?',
      'sensorctl quarantine list',
    ],
    ['compare today', 'compare takes no argument: today', 'sensorctl compare --help'],
    [
      'consume --dual-wirte',
      'consume has no flag --dual-wirte; did you mean --dual-write?',
      'sensorctl consume --help',
    ],
    ['consume --pollers 65', '--pollers should be a whole number, 1 to 64, not 65', 'sensorctl consume --help'],
    ['quarantine show', 'quarantine show needs RECORD (record, such as', 'sensorctl quarantine show --help'],
    ['quarantine retry', 'no record is named', 'name one, such as local:12, or give --all'],
    ['cutover --force', '--force wants --reason as well', 'sensorctl cutover --help'],
    ['cutover --phase 4', '--phase cannot be 4; it is one of 1, 2, 3', 'sensorctl cutover --help'],
    ['cutover --phase', '--phase wants a value', 'sensorctl cutover --help'],
    ['cutover --phase 2 --rollback', '--rollback and --phase exclude each other', 'sensorctl cutover --help'],
    ['monitor --fail-on lag>60', 'lag in --fail-on is a duration, not "60"', 'write lag>60s, '],
    ['monitor --fail-on gap>0', '--fail-on knows no figure "gap"; did you mean gaps?', 'name one of lag, gaps, '],
  ] as const) {
    it(`\`${args}\` says what was meant: 2`, async () => {
      const { code, stdout, stderr } = await runCli(args.split(' '));
      expect({ code, stdout }).to.deep.equal({ code: 2, stdout: '' });
      expect(stderr.split('\n')).to.have.length(3);
      expect(stderr).to.contain(`Error: ${says}`).and.to.contain(`\nNext: ${next}`);
    });
  }

  for (const args of ['help', '--help', '-h', 'help quarantine list', 'version', '--version']) {
    it(`\`${args}\` answers on stdout: 0`, async () => {
      const { code, stdout, stderr } = await runCli(args.split(' '));
      expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
      expect(stdout).to.match(
        args.includes('ersion') ? /^sensorctl\/\d+\.\d+\.\d+ \S+ node-v\d+/ : /USAGE\n {2}\$ sensorctl/,
      );
      expect(stdout).not.to.contain('\u001b');
    });
  }

  it('a disk that is full under stdout is no defect: 2, and no stack', function () {
    if (!existsSync('/dev/full')) this.skip();
    const run = path.join(REPOSITORY, 'bin', 'run.js');
    for (const json of ['', ' --json']) {
      const command = `"$0" "$1" quarantine list${json} > /dev/full`;
      const { status, stderr } = spawnSync('sh', ['-c', command, process.execPath, run], {
        encoding: 'utf8',
        env: { PATH: process.env.PATH, ...stage.settings },
      });
      expect(status, stderr).to.equal(2);
      expect(stderr)
        .to.match(/^Error: stdout cannot be written: ENOSPC/m)
        .and.not.to.match(/^\s+at /m);
    }
  });

  it('sandbox writes its settings over no file but its own', async () => {
    const files = { '.env.local': 'EC2_DB_PASSWORD=of-production\n' };
    const { code, stderr } = await runCli(['sandbox', '--write-env', '.env.local'], { files });
    expect(code, stderr).to.equal(2);
    expect(stderr).to.match(/\.env\.local exists, and no sandbox has written it\nNext: move it away/);
  });
});
