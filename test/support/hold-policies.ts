// Pauses the policies of a table, says so on stderr, and holds the pause until it is killed.
import { once } from 'node:events';
import { openDatabase } from '../../src/lib/db/database.js';
import type { ConnectionSettings } from '../../src/lib/db/connection.js';
import { withPausedPolicies } from '../../src/lib/repository/timescaledb/paused-jobs.js';

const connection = JSON.parse(process.argv[2] ?? '') as ConnectionSettings;
const target = openDatabase({ side: 'ec2', connection, poolMax: 2, callTimeoutMs: 15_000, applicationName: 'holder' });
await withPausedPolicies(
  target,
  process.argv.slice(3).map((name) => ({ schema: 'public', name })),
  'holder',
  async () => {
    process.stderr.write('holding\n');
    setInterval(() => undefined, 60_000);
    await once(process, 'SIGTERM');
  },
);
process.exit();
