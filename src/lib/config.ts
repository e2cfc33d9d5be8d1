import { readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { parseEnvFile, type EnvFile } from './domain/env-file.js';
import { counted, didYouMean } from './domain/words.js';
import {
  isOnThisMachine,
  isServerVerified,
  readCertificate,
  type ConnectionSettings,
  type SslMode,
} from './db/connection.js';
import {
  parseTablePattern,
  PATTERN_FORM,
  splitPatterns,
  type TablePattern,
  type TableSelection,
} from './domain/table-patterns.js';
import { isTimezone } from './domain/time.js';
import { describeFileFault, UsageError } from './errors.js';
import { TIMES } from './timing.js';

/** Everything that settings decide, checked and frozen. */
export interface Settings {
  /** Undefined where nobody said: the phase decides. */
  readonly enableDualWrite: boolean | undefined;
  readonly local: ConnectionSettings & { readonly poolMax: number };
  /** Null where EC2_DB_HOST is not set. */
  readonly ec2: (ConnectionSettings & { readonly poolMax: number }) | null;
  readonly ec2Write: { readonly timeoutMs: number; readonly retries: number; readonly retryDelayMs: number };
  readonly queue: QueueSettings;
  /** The tables of the migration. */
  readonly tables: TableSelection;
  readonly telemetry: {
    readonly timezone: string;
    readonly sensorIdFromMac: boolean;
    /** The path of the operator's decoder; null for the guide's telemetry. */
    readonly decoder: string | null;
  };
  /** Values that must never be printed. */
  readonly secrets: readonly string[];
  /** Warnings about the way to EC2, though the settings are valid; for whenever EC2 is opened. */
  readonly warnings: readonly string[];
  /** The same of the files and variables that the settings came from. */
  readonly sourceWarnings: readonly string[];
}

export interface QueueSettings {
  readonly queueUrl: string | undefined;
  readonly region: string | undefined;
  readonly endpoint: string | undefined;
  /** Undefined leaves the credentials to the AWS SDK's own chain. */
  readonly credentials: { accessKeyId: string; secretAccessKey: string; sessionToken?: string } | undefined;
}

/** Settings without which a command cannot do; may depend on what is given, by variable. */
export type RequiredSettings = readonly string[] | ((given: Readonly<Record<string, string>>) => readonly string[]);

export interface SettingSources {
  /** The folder that holds `.env.local` and `.env`. */
  readonly directory: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Settings that flags gave, by the name of the variable. */
  readonly flags?: Readonly<Record<string, string | undefined>>;
}

const SSL_MODES = ['disable', 'require', 'verify-ca', 'verify-full'] as const;

const wholeNumber = (from: number, to: number) =>
  z
    .string()
    .regex(/^\d+$/)
    .transform(Number)
    .refine((value) => value >= from && value <= to)
    .describe(`a whole number from ${from} to ${to}`);

const text = z.string().describe('a text');
const host = z.string().describe('a host name or an address');
const database = z.string().describe('the name of a database');
const role = z.string().describe('the name of a role');
const flag = z
  .enum(['true', 'false'])
  .transform((value) => value === 'true')
  .describe('true or false');
const port = wholeNumber(1, 65_535);
const milliseconds = (from: number, to = 600_000) =>
  wholeNumber(from, to).describe(`milliseconds, a whole number from ${from} to ${to}`);
const sslMode = z.enum(SSL_MODES).describe(`one of ${SSL_MODES.join(', ')}`);
const url = z.url({ protocol: /^https?$/ }).describe('a URL that begins with http:// or https://');
const certificate = z
  .string()
  .transform((path, context) => {
    try {
      return readCertificate(path);
    } catch {
      context.addIssue('unreadable');
      return z.NEVER;
    }
  })
  .describe('the path of a readable PEM file');
const timezone = z.string().refine(isTimezone).describe('an IANA time zone such as Asia/Bangkok');

/** A wrong entry is told by its place: what somebody pasted there may be a secret. */
const patternsOf = (isRight: (pattern: TablePattern) => boolean) =>
  z.string().transform((list, context) => {
    const patterns = splitPatterns(list).map(parseTablePattern);
    const right = patterns.filter((pattern): pattern is TablePattern => pattern !== null && isRight(pattern));
    const wrong = patterns.findIndex((pattern) => pattern === null || !isRight(pattern));
    if (wrong >= 0) context.addIssue(`${PLACE_OF_FAULT}${wrong + 1}`);
    return right;
  });
const PLACE_OF_FAULT = '; it is wrong at entry ';
const tablePatterns = patternsOf(() => true).describe(`a list of ${PATTERN_FORM}`);
const plainPatterns = patternsOf(({ axis, except }) => axis === null && except.length === 0).describe(
  'a list of table, schema.table or patterns with *, odd names in "double quotes"',
);

/** Shorter than a consumer's lease, so that no statement outlives it. */
const EC2_WRITE_TIMEOUT_MAX = Math.min(25_000, TIMES.leaseMs - 1);

/** Every setting by its variable; `.describe` says what a right value is. */
const SCHEMA = z.object({
  ENABLE_DUAL_WRITE: flag.optional(),
  TIMESCALE_HOST: host.default('localhost'),
  TIMESCALE_PORT: port.default(5433),
  TIMESCALE_DB: database.default('sensor_data'),
  TIMESCALE_USER: role.default('postgres'),
  TIMESCALE_PASSWORD: text.optional(),
  TIMESCALE_SSLMODE: sslMode.optional(),
  TIMESCALE_SSLROOTCERT: certificate.optional(),
  TIMESCALE_POOL_MAX: wholeNumber(4, 1000).default(20),
  EC2_DB_HOST: host.optional(),
  EC2_DB_PORT: port.default(5432),
  EC2_DB_NAME: database.default('sensor_data'),
  EC2_DB_USER: role.default('postgres'),
  EC2_DB_PASSWORD: text.optional(),
  EC2_DB_SSLMODE: sslMode.optional(),
  EC2_DB_SSLROOTCERT: certificate.optional(),
  EC2_POOL_MAX: wholeNumber(2, 1000).default(10),
  EC2_WRITE_TIMEOUT: milliseconds(100, EC2_WRITE_TIMEOUT_MAX).default(Math.min(5000, EC2_WRITE_TIMEOUT_MAX)),
  EC2_RETRY_ATTEMPTS: wholeNumber(0, 100).default(3),
  EC2_RETRY_DELAY: milliseconds(1).default(1000),
  SQS_QUEUE_URL: url.optional(),
  AWS_REGION: text.describe('a region such as ap-southeast-1').optional(),
  AWS_ENDPOINT_URL_SQS: url.optional(),
  AWS_ACCESS_KEY_ID: text.optional(),
  AWS_SECRET_ACCESS_KEY: text.optional(),
  AWS_SESSION_TOKEN: text.optional(),
  TABLES: tablePatterns.default([]),
  TABLES_EXCEPT: plainPatterns.default([]),
  TELEMETRY_TIMEZONE: timezone.default('Asia/Bangkok'),
  SENSOR_ID_FROM_MAC: flag.default(false),
  TELEMETRY_DECODER: text.describe('the path of an ES module').optional(),
});

type Values = z.output<typeof SCHEMA>;

const SECRETS = ['TIMESCALE_PASSWORD', 'EC2_DB_PASSWORD', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'] as const;

/** The names of all settings, as variables. */
export const SETTING_NAMES = Object.keys(SCHEMA.shape);

/**
 * Reads flags over environment over `.env.local` over `.env`; an empty value counts as not set. `required` names what
 * the command cannot do without. Throws a UsageError that names every fault at once.
 */
export function loadSettings(sources: SettingSources, required: RequiredSettings = []): Settings {
  const files = FILES.map((name) => readEnvFile(sources.directory, name)).filter((file) => file !== null);
  const given = collect(sources, files);
  const unknown = [...files, { name: 'the environment', values: sources.environment }].flatMap(findLookAlikes);
  const wanted = typeof required === 'function' ? required(given) : required;
  const parsed = SCHEMA.safeParse(given);
  const faults = [
    ...(parsed.error?.issues ?? [])
      .map(({ path: [name], message }) => ({ name: String(name), message }))
      .map(
        ({ name, message }) =>
          `${name} should be ${expectation(name)}${message.startsWith(PLACE_OF_FAULT) ? message : ''}`,
      ),
    ...wanted
      .filter((name) => given[name] === undefined)
      .map((name) => `${name} is not set; it should be ${expectation(name)}`),
    ...halfCredentials(given),
    ...userInfo(given),
    ...missingAuthorities(given),
  ];
  if (parsed.data === undefined || faults.length > 0) throw wrongSettings(faults, unknown);
  return toSettings(parsed.data, sources.directory, [...files.flatMap(warningsOf), ...unknown]);
}

/** The later one counts. */
const FILES = ['.env', '.env.local'] as const;

interface NamedValues {
  readonly values: Readonly<Record<string, string | undefined>>;
}

interface SettingsFile extends EnvFile {
  readonly name: string;
  /** Others of this machine may read it. */
  readonly isOpen: boolean;
}

function collect(
  { environment, flags = {} }: SettingSources,
  files: readonly SettingsFile[],
): Readonly<Record<string, string>> {
  const given: Record<string, string> = {};
  for (const layer of [...files.map(({ values }) => values), environment, flags]) {
    for (const name of SETTING_NAMES) {
      const value = layer[name];
      if (value !== undefined && value !== '') given[name] = value;
    }
  }
  return given;
}

/** Null where there is no such file. Throws a UsageError where it cannot be read, or a line of it is no setting. */
function readEnvFile(directory: string, name: string): SettingsFile | null {
  const path = join(directory, name);
  try {
    const file = parseEnvFile(readFileSync(path), SETTING_NAMES);
    if (file.faults.length > 0) throw wrongFile(path, name, file.faults);
    // Windows has rights of another kind.
    return { ...file, name, isOpen: process.platform !== 'win32' && (statSync(path).mode & 0o044) !== 0 };
  } catch (error) {
    if (error instanceof UsageError) throw error;
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new UsageError(`${name} cannot be read: ${describeFileFault(error)}`, {
      code: 'settings-file-unreadable',
      facts: { path },
      cause: error,
    });
  }
}

function wrongFile(path: string, name: string, faults: readonly string[]): UsageError {
  const list = faults.map((fault) => `\n  - ${fault}`).join('');
  return new UsageError(`${name} cannot be taken as settings:${list}`, {
    code: 'settings-file-wrong',
    facts: { path },
  });
}

function warningsOf({ name, values, warnings, isOpen }: SettingsFile): string[] {
  const holdsSecret = SECRETS.some((secret) => (values[secret] ?? '') !== '');
  const open = `${name} holds secrets that others on this machine may read: chmod 600 ${name}`;
  return [...warnings.map((warning) => `${name}, ${warning}`), ...(holdsSecret && isOpen ? [open] : [])];
}

/** The beginnings of names that only sensorctl's settings have. */
const OWN_PREFIX = /^(?:TIMESCALE|EC2_DB|EC2_WRITE|EC2_RETRY|EC2_POOL|SQS_QUEUE|TELEMETRY)_/;
/** The AWS SDK has a variable that begins so for each of its services. */
const PREFIX_OF_THE_SDK = 'AWS_ENDPOINT_URL';
const EDITS_OF_A_SLIP = 3;

/** A warning for each name that is none of ours but looks like one; one that is set to nothing does no harm. */
function findLookAlikes({ name: source, values }: Pick<SettingsFile, 'name'> & NamedValues): string[] {
  return Object.entries(values).flatMap(([name, value = '']) => {
    if (value === '' || SETTING_NAMES.includes(name) || name.startsWith(PREFIX_OF_THE_SDK)) return [];
    const isOwn = OWN_PREFIX.test(name);
    const meant = didYouMean(name.toUpperCase(), SETTING_NAMES, isOwn ? Infinity : EDITS_OF_A_SLIP);
    return isOwn || meant !== '' ? [`${source} sets ${name}, which sensorctl does not know${meant}`] : [];
  });
}

function toSettings(values: Values, directory: string, sourceWarnings: readonly string[]): Settings {
  const local: Settings['local'] = {
    host: values.TIMESCALE_HOST,
    port: values.TIMESCALE_PORT,
    database: values.TIMESCALE_DB,
    user: values.TIMESCALE_USER,
    password: values.TIMESCALE_PASSWORD,
    sslMode: values.TIMESCALE_SSLMODE ?? (values.TIMESCALE_SSLROOTCERT === undefined ? 'disable' : 'verify-full'),
    sslRootCert: values.TIMESCALE_SSLROOTCERT,
    poolMax: values.TIMESCALE_POOL_MAX,
  };
  const ec2: NonNullable<Settings['ec2']> = {
    host: values.EC2_DB_HOST ?? '',
    port: values.EC2_DB_PORT,
    database: values.EC2_DB_NAME,
    user: values.EC2_DB_USER,
    password: values.EC2_DB_PASSWORD,
    sslMode: values.EC2_DB_SSLMODE ?? (values.EC2_DB_SSLROOTCERT === undefined ? 'require' : 'verify-full'),
    sslRootCert: values.EC2_DB_SSLROOTCERT,
    poolMax: values.EC2_POOL_MAX,
  };
  return Object.freeze({
    enableDualWrite: values.ENABLE_DUAL_WRITE,
    local: Object.freeze(local),
    ec2: ec2.host === '' ? null : Object.freeze(ec2),
    ec2Write: Object.freeze({
      timeoutMs: values.EC2_WRITE_TIMEOUT,
      retries: values.EC2_RETRY_ATTEMPTS,
      retryDelayMs: values.EC2_RETRY_DELAY,
    }),
    queue: Object.freeze({
      queueUrl: values.SQS_QUEUE_URL,
      region: values.AWS_REGION,
      endpoint: values.AWS_ENDPOINT_URL_SQS,
      credentials: credentialsOf(values),
    }),
    tables: Object.freeze({ tables: values.TABLES, except: values.TABLES_EXCEPT }),
    telemetry: Object.freeze({
      timezone: values.TELEMETRY_TIMEZONE,
      sensorIdFromMac: values.SENSOR_ID_FROM_MAC,
      decoder: values.TELEMETRY_DECODER === undefined ? null : resolve(directory, values.TELEMETRY_DECODER),
    }),
    secrets: SECRETS.flatMap((name) => values[name] ?? []),
    warnings: ec2.host === '' ? [] : tlsWarnings(ec2),
    sourceWarnings,
  });
}

function halfCredentials(given: Readonly<Record<string, string>>): string[] {
  const isWhole = (given.AWS_ACCESS_KEY_ID === undefined) === (given.AWS_SECRET_ACCESS_KEY === undefined);
  return isWhole ? [] : ['AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY should be set together'];
}

function credentialsOf(values: Values): QueueSettings['credentials'] {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = values;
  if (accessKeyId === undefined || secretAccessKey === undefined) return undefined;
  const token = values.AWS_SESSION_TOKEN;
  return { accessKeyId, secretAccessKey, ...(token === undefined ? {} : { sessionToken: token }) };
}

/** Addresses are printed, and credentials have settings of their own. */
function userInfo(given: Readonly<Record<string, string>>): string[] {
  return ['SQS_QUEUE_URL', 'AWS_ENDPOINT_URL_SQS']
    .filter((name) => /^https?:\/\/[^/?#]*@/i.test(given[name] ?? ''))
    .map((name) => `${name} should hold no user and no password: credentials are AWS_ACCESS_KEY_ID and its like`);
}

/** Without a root certificate verify-ca would take any certificate of any public authority for any host; psql refuses too. */
function missingAuthorities(given: Readonly<Record<string, string>>): string[] {
  return ['TIMESCALE', 'EC2_DB']
    .filter((side) => given[`${side}_SSLMODE`] === 'verify-ca' && given[`${side}_SSLROOTCERT`] === undefined)
    .map((side) => `${side}_SSLROOTCERT should be set, as ${side}_SSLMODE=verify-ca trusts whoever it names`);
}

function tlsWarnings(ec2: ConnectionSettings): string[] {
  if (isServerVerified(ec2) || (ec2.sslMode === 'disable' && isOnThisMachine(ec2))) return [];
  const what: Readonly<Partial<Record<SslMode, string>>> = {
    disable: 'neither encrypts nor checks who answers',
    require: 'encrypts but does not check who answers',
  };
  const safe = 'verify-full with EC2_DB_SSLROOTCERT is the safe one';
  return [`EC2_DB_SSLMODE=${ec2.sslMode} ${what[ec2.sslMode] ?? ''}; ${safe}`];
}

function expectation(name: string): string {
  const field: z.ZodType | undefined = (SCHEMA.shape as Record<string, z.ZodType>)[name];
  return describeType(field) ?? 'set';
}

function describeType(field: z.ZodType | undefined): string | undefined {
  if (field === undefined) return undefined;
  if (field.description !== undefined) return field.description;
  const inner = (field as { unwrap?: () => z.ZodType }).unwrap?.();
  return describeType(inner);
}

function wrongSettings(faults: readonly string[], unknown: readonly string[]): UsageError {
  const list = [...faults, ...unknown].map((each) => `\n  - ${each}`).join('');
  return new UsageError(`${counted(faults.length, 'setting is', 'settings are')} wrong:${list}`, {
    code: 'settings-wrong',
  });
}
