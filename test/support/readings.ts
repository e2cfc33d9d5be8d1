// Readings of the guide's tables, as the units of rows that its decoder makes of them.
import { rowsOf } from '../../src/lib/decoders/guide.js';
import type { Reading as GuideReading } from '../../src/lib/decoders/message.js';
import type { MessageSource, Unit } from '../../src/lib/domain/row.js';

export type { ColumnValue } from '../../src/lib/decoders/message.js';

export interface Reading extends GuideReading {
  /** Kept in the quarantine, should a database refuse the reading. */
  readonly source?: MessageSource;
}

/** A unit a reading. */
export function unitsOf(readings: readonly Reading[]): Unit[] {
  return readings.map((reading, unit) => ({
    rows: rowsOf(reading, unit),
    ...(reading.source === undefined ? {} : { source: reading.source }),
  }));
}
