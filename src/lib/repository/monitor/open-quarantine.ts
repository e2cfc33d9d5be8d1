import type { Question } from '../../db/ask-together.js';

/** Quarantine records of this side that nobody has retried or discarded. */
export const OPEN_QUARANTINE: Question<number> = {
  text: 'select count(*) as records from sensorctl.quarantine where resolution is null',
  parse: (rows) => Number(rows[0]?.records),
};
