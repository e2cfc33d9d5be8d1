// Starts a PostgreSQL server and a queue, tells their pids on stdout, and holds them until it is killed.
import { startPostgres } from '../../src/lib/sandbox/postgres.js';
import { startQueue } from '../../src/lib/sandbox/sandbox-queue.js';

/** One line of JSON on stdout. */
export interface HeldServers {
  readonly postgres: number;
  readonly queue: number;
  readonly dataDir: string;
  readonly dataOwner: number;
}

const [server, queue] = await Promise.all([startPostgres({ durable: false }), startQueue()]);
if (process.argv.includes('--frozen')) await server.freeze();
const held = { postgres: server.pid!, queue: queue.pid!, dataDir: server.dataDir, dataOwner: process.getuid!() };
process.stdout.write(`${JSON.stringify(held satisfies HeldServers)}\n`);
