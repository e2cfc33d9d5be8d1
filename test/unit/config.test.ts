import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { loadSettings, SETTING_NAMES, type Settings } from '../../src/lib/config.js';
import { UsageError } from '../../src/lib/errors.js';

const TEMPLATE = readFileSync(new URL('../../.env.dual-write', import.meta.url), 'utf8');

interface Layers {
  readonly env?: string | Uint8Array;
  readonly envLocal?: string | Uint8Array;
  readonly environment?: Record<string, string>;
  readonly flags?: Record<string, string>;
}

describe('settings', () => {
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'sensorctl-config-'));
  });

  afterEach(() => rmSync(directory, { recursive: true }));

  function load({ env, envLocal, environment = {}, flags = {} }: Layers, required: string[] = []): Settings {
    if (env !== undefined) writeFileSync(path.join(directory, '.env'), env);
    if (envLocal !== undefined) writeFileSync(path.join(directory, '.env.local'), envLocal);
    return loadSettings({ directory, environment, flags }, required);
  }

  function refusal(layers: Layers, required: string[] = []): string {
    try {
      load(layers, required);
    } catch (error) {
      expect(error).to.be.instanceOf(UsageError);
      return (error as UsageError).message;
    }
    throw new Error('these settings were accepted');
  }

  it('have the defaults of the design where nothing is set', () => {
    const settings = load({});
    expect(settings.local).to.include({ host: 'localhost', port: 5433, database: 'sensor_data', user: 'postgres' });
    expect(settings.local).to.include({ password: undefined, sslMode: 'disable', poolMax: 20 });
    expect(settings.ec2).to.equal(null);
    expect(settings.enableDualWrite).to.equal(undefined);
    expect(settings.ec2Write).to.deep.equal({ timeoutMs: 5000, retries: 3, retryDelayMs: 1000 });
    expect(settings.telemetry).to.deep.equal({ timezone: 'Asia/Bangkok', sensorIdFromMac: false, decoder: null });
    expect(settings.warnings).to.deep.equal([]);
  });

  it('have the defaults of EC2 where only its host is set, and warn that `require` checks nobody', () => {
    const settings = load({ environment: { EC2_DB_HOST: 'ec2.example.org' } });
    expect(settings.ec2).to.include({ host: 'ec2.example.org', port: 5432, database: 'sensor_data', user: 'postgres' });
    expect(settings.ec2).to.include({ sslMode: 'require', poolMax: 10 });
    expect(settings.warnings.join()).to.contain('verify-full');
  });

  it('come from flags over environment over .env.local over .env', () => {
    const layers: Layers = {
      env: 'TIMESCALE_HOST=1\nTIMESCALE_DB=1\nTIMESCALE_USER=1\nTIMESCALE_PASSWORD=1',
      envLocal: 'TIMESCALE_HOST=2\nTIMESCALE_DB=2\nTIMESCALE_USER=2',
      environment: { TIMESCALE_HOST: '3', TIMESCALE_DB: '3' },
      flags: { TIMESCALE_HOST: '4' },
    };
    expect(load(layers).local).to.include({ host: '4', database: '3', user: '2', password: '1' });
  });

  it('take the last of two equal names', () => {
    expect(load({ env: 'TIMESCALE_DB=first\nTIMESCALE_DB=last' }).local.database).to.equal('last');
  });

  it('end before an inline comment, but not at a # in quotes', () => {
    const env = 'EC2_WRITE_TIMEOUT=700   # ms\nTIMESCALE_PASSWORD="a#b c"  # quoted\nTIMESCALE_USER=\'d#e\'';
    const settings = load({ env });
    expect(settings.ec2Write.timeoutMs).to.equal(700);
    expect(settings.local).to.include({ password: 'a#b c', user: 'd#e' });
  });

  it('count as not set where the value is empty, in every layer', () => {
    const layers: Layers = {
      env: 'TIMESCALE_DB=from_env\nTIMESCALE_USER=',
      envLocal: 'TIMESCALE_DB=',
      environment: { TIMESCALE_DB: '', TIMESCALE_PORT: '', EC2_DB_HOST: '' },
      flags: { TIMESCALE_DB: '' },
    };
    const settings = load(layers);
    expect(settings.local).to.include({ database: 'from_env', user: 'postgres', port: 5433 });
    expect(settings.ec2).to.equal(null);
    expect(refusal({ environment: { SQS_QUEUE_URL: '' } }, ['SQS_QUEUE_URL'])).to.contain('SQS_QUEUE_URL is not set');
  });

  it('are refused with every fault at once, each by its variable and what it should be', () => {
    const missing = path.join(directory, 'no-such.pem');
    const environment = {
      ENABLE_DUAL_WRITE: 'yes',
      TIMESCALE_PORT: '70000',
      TIMESCALE_SSLMODE: 'prefer',
      TIMESCALE_POOL_MAX: '0',
      TIMESCALE_SSLROOTCERT: missing,
      EC2_DB_PORT: '5432.5',
      EC2_DB_SSLROOTCERT: missing,
      EC2_WRITE_TIMEOUT: '5s',
      EC2_RETRY_ATTEMPTS: '-1',
      AWS_ENDPOINT_URL_SQS: 'localhost:4566',
      AWS_ACCESS_KEY_ID: 'alone',
      TELEMETRY_TIMEZONE: 'Bangkok',
      SENSOR_ID_FROM_MAC: '1',
      TABLES: 'public.*, public.events=created_at, a.b.c',
      TABLES_EXCEPT: 'public.events=created_at',
    };
    const message = refusal({ environment }, ['SQS_QUEUE_URL', 'EC2_DB_HOST']);
    expect(message.split('\n')).to.have.members([
      '17 settings are wrong:',
      '  - ENABLE_DUAL_WRITE should be true or false',
      '  - TIMESCALE_PORT should be a whole number from 1 to 65535',
      '  - TIMESCALE_SSLMODE should be one of disable, require, verify-ca, verify-full',
      '  - TIMESCALE_POOL_MAX should be a whole number from 4 to 1000',
      '  - TIMESCALE_SSLROOTCERT should be the path of a readable PEM file',
      '  - EC2_DB_PORT should be a whole number from 1 to 65535',
      '  - EC2_DB_SSLROOTCERT should be the path of a readable PEM file',
      '  - EC2_WRITE_TIMEOUT should be milliseconds, a whole number from 100 to 25000',
      '  - EC2_RETRY_ATTEMPTS should be a whole number from 0 to 100',
      '  - AWS_ENDPOINT_URL_SQS should be a URL that begins with http:// or https://',
      '  - AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY should be set together',
      '  - TELEMETRY_TIMEZONE should be an IANA time zone such as Asia/Bangkok',
      '  - SENSOR_ID_FROM_MAC should be true or false',
      '  - TABLES should be a list of table, schema.table or a pattern with * (all: *), with =column for its axis and -column for one that is not compared; odd names in "double quotes"; it is wrong at entry 3',
      '  - TABLES_EXCEPT should be a list of table, schema.table or patterns with *, odd names in "double quotes"; it is wrong at entry 1',
      '  - SQS_QUEUE_URL is not set; it should be a URL that begins with http:// or https://',
      '  - EC2_DB_HOST is not set; it should be a host name or an address',
    ]);
  });

  it('never appear in an error, whichever variable a secret was put in', () => {
    const secret = 'marked-Secret-1';
    const environment = Object.fromEntries(SETTING_NAMES.map((name) => [name, secret]));
    expect(refusal({ environment })).not.to.contain(secret);
  });

  it('name every secret, for whoever masks output', () => {
    const environment = {
      TIMESCALE_PASSWORD: 'secret-1',
      EC2_DB_PASSWORD: 'secret-2',
      AWS_ACCESS_KEY_ID: 'known',
      AWS_SECRET_ACCESS_KEY: 'secret-3',
      AWS_SESSION_TOKEN: 'secret-4',
    };
    expect(load({ environment }).secrets).to.have.members(['secret-1', 'secret-2', 'secret-3', 'secret-4']);
  });

  it('read the text of a certificate authority from its file', () => {
    writeFileSync(path.join(directory, 'ca.pem'), 'the authority');
    const environment = { EC2_DB_HOST: 'ec2.example.org', EC2_DB_SSLROOTCERT: path.join(directory, 'ca.pem') };
    expect(load({ environment }).ec2?.sslRootCert).to.equal('the authority');
  });

  it('are read from a file that begins with a byte order mark', () => {
    expect(load({ envLocal: '\uFEFFEC2_DB_HOST=h\r\nEC2_DB_SSLMODE=verify-full\r\n' }).ec2).to.include({
      ...{ host: 'h', sslMode: 'verify-full' },
    });
  });

  for (const [what, envLocal, line] of [
    ['a stray word', 'stray\nENABLE_DUAL_WRITE=false', 1],
    ['a colon for the equals sign', 'EC2_DB_HOST=h\nEC2_DB_PASSWORD: s3cret', 2],
    ['half of a value that was broken', 'EC2_DB_PASSWORD=s3\n\ncret\nEC2_DB_HOST=h', 3],
    ['a name with a character that is not seen', '\u200BEC2_DB_HOST=h', 1],
    ['a quote that no other closes', 'EC2_DB_HOST=h\nEC2_DB_PASSWORD="s3cret\nEC2_DB_SSLMODE=verify-full', 2],
    ['a quote that only the next setting closes', 'OTHER="x\nEC2_DB_SSLMODE="verify-full"', 1],
    ['a quote within the quotes', 'EC2_DB_PASSWORD="s3"cret"', 1],
    ['an escaped quote within the quotes', String.raw`EC2_DB_PASSWORD="s3\"cret"`, 1],
  ] as const) {
    it(`are refused by the number of the line: ${what}`, () => {
      const message = refusal({ envLocal });
      expect(message).to.match(new RegExp(`^\\.env\\.local cannot be taken as settings:\n  - line ${line}\\b`));
      expect(message).not.to.match(/s3|cret/);
    });
  }

  for (const [what, bytes] of [
    ['Latin-1', Buffer.from('EC2_DB_PASSWORD=caf\xE9', 'latin1')],
    ['UTF-16 with its byte order mark', Buffer.from('\uFEFFEC2_DB_HOST=h', 'utf16le')],
    ['UTF-16 without', Buffer.from('EC2_DB_HOST=h', 'utf16le')],
  ] as const) {
    it(`are refused from a file in ${what}`, () => {
      expect(refusal({ env: bytes })).to.equal('.env cannot be taken as settings:\n  - the file is not UTF-8 text');
    });
  }

  it('may stand beside those of other programs, also of several lines', () => {
    const env =
      'KEY="-----BEGIN\nabc\n-----END"\nexport CONFIG={"a":"b"}\nNOTE="a" "b"\nDB_PASSWORD="x\\ny"\nEC2_DB_HOST=h';
    const settings = load({ env });
    expect(settings.ec2?.host).to.equal('h');
    expect(settings.sourceWarnings).to.deep.equal([]);
  });

  for (const [what, line, value, warning] of [
    [String.raw`\n in double quotes`, String.raw`"a\nb"`, 'a\nb', String.raw`holds \n in double quotes`],
    [String.raw`\n in single quotes`, String.raw`'a\nb'`, String.raw`a\nb`, null],
    ['a quote in other quotes', `'a"b'`, 'a"b', null],
    ['both quotes in a third kind', '`a"b\'c`', `a"b'c`, null],
    ['a # within a word', 'pass#word', 'pass', 'ends before its #'],
    ['a comment', 'pass # word', 'pass', null],
  ] as const) {
    it(`say when a value is not what stands there: ${what}`, () => {
      const settings = load({ envLocal: `EC2_DB_HOST=h\nTIMESCALE_PASSWORD=${line}` });
      expect(settings.local.password).to.equal(value);
      const said = settings.sourceWarnings.filter((each) => !each.includes('chmod')).join();
      if (warning === null) expect(said).to.equal('');
      else expect(said).to.contain(`.env.local, line 2: TIMESCALE_PASSWORD ${warning}`);
    });
  }

  for (const [name, meant] of [
    ['EC2_DB_HOSTS', 'EC2_DB_HOST'],
    ['EC2_DB_SSLMOD', 'EC2_DB_SSLMODE'],
    ['ec2_db_port', 'EC2_DB_PORT'],
    ['TIMESCALEDB_PORT', 'TIMESCALE_PORT'],
    ['ENABLE_DUALWRITE', 'ENABLE_DUAL_WRITE'],
    ['AWS_REGIONS', 'AWS_REGION'],
    ['EC2_DB_FAVOURITE_COLOUR', null],
  ] as const) {
    it(`warn of ${name}, which looks like one of them, in a file and in the environment`, () => {
      const unknown = `sets ${name}, which sensorctl does not know${meant === null ? '' : `; did you mean ${meant}?`}`;
      expect(load({ envLocal: `${name}=x` }).sourceWarnings).to.deep.equal([`.env.local ${unknown}`]);
      rmSync(path.join(directory, '.env.local'));
      expect(load({ environment: { [name]: 'x' } }).sourceWarnings).to.deep.equal([`the environment ${unknown}`]);
      expect(refusal({ environment: { [name]: 'x' } }, ['SQS_QUEUE_URL'])).to.contain(`the environment ${unknown}`);
    });
  }

  it('warn of no variable of the AWS SDK or of another program', () => {
    const names = [
      'AWS_PROFILE',
      'AWS_DEFAULT_REGION',
      'AWS_ENDPOINT_URL_SNS',
      'AWS_EC2_METADATA_DISABLED',
      'DB_PASSWORD',
    ];
    const environment = Object.fromEntries([...names, 'EC2_HOME', 'PGHOST', 'TZ'].map((name) => [name, 'x']));
    expect(load({ environment }).sourceWarnings).to.deep.equal([]);
  });

  it('cannot be changed once read', () => {
    const settings = load({ environment: { EC2_DB_HOST: 'ec2.example.org' } });
    for (const part of [
      settings,
      settings.local,
      settings.ec2,
      settings.ec2Write,
      settings.queue,
      settings.telemetry,
    ]) {
      expect(part).to.be.frozen;
    }
  });

  describe('template .env.dual-write', () => {
    it('is valid as it is', () => {
      const settings = load({ envLocal: TEMPLATE }, ['SQS_QUEUE_URL', 'EC2_DB_HOST']);
      expect(settings.enableDualWrite).to.equal(true);
      expect(settings.local.password).to.equal('a-password-with-@-and-!');
      expect(settings.ec2?.sslMode).to.equal('require');
      expect(settings.ec2Write).to.deep.equal({ timeoutMs: 5000, retries: 3, retryDelayMs: 1000 });
    });

    it('holds every setting, and no other', () => {
      const named = [...TEMPLATE.matchAll(/^(?:# )?([A-Z0-9_]+)=/gm)].map((match) => match[1]);
      expect(named).to.have.members(SETTING_NAMES);
    });

    it('names no real host', () => {
      const hosts = [...TEMPLATE.matchAll(/^(?:# )?[A-Z0-9_]+(?:_HOST|URL\w*)=(?:https?:\/\/)?([^:/\s]+)/gm)];
      expect(hosts).to.have.length(4);
      for (const [, host] of hosts) expect(host).to.match(/^(localhost|127\.0\.0\.1|[\w.]+\.example\.org)$/);
    });
  });
});
