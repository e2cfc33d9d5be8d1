import type { Queryable } from '../../db/database.js';
import { describeFault } from '../../db/sqlstate.js';
import type { Reading } from '../../domain/reading.js';
import { sideTitle, type Side } from '../../domain/side.js';
import { counted } from '../../domain/words.js';
import type { Logger } from '../../logger.js';
import { readKnownSensors } from '../../repository/write/known-sensors.js';

/** The share of sensors that the registry knows, at most, where the messages seem to name them in another way. */
const NEARLY_NONE = 0.1;

/**
 * Warns where the registry of the primary holds sensors, and (nearly) none of those in the first batch: each would be a new
 * one. Has to end before the batch is written. Never throws: it is a hint.
 */
export async function warnOfUnknownSensors(
  { side, pool }: { readonly side: Side; readonly pool: Queryable },
  readings: readonly Reading[],
  { fromMac, logger }: { readonly fromMac: boolean; readonly logger: Logger },
): Promise<void> {
  const sensors = [...new Set(readings.map(({ sensorId }) => sensorId))];
  try {
    const { known, example } = await readKnownSensors(pool, sensors);
    if (example === null || known > sensors.length * NEARLY_NONE) return;
    const unknown = `${sensors.length - known} of ${counted(sensors.length, 'sensor')}`;
    logger.warn(`sensor_registry on ${sideTitle(side)} does not know ${unknown} in the first batch`, {
      inMessages: sensors[0],
      inRegistry: example,
      next: { code: 'sensors-unknown', facts: { fromMac } },
    });
  } catch (error) {
    logger.debug('the registry could not be asked for the sensors of the first batch', { error: describeFault(error) });
  }
}
