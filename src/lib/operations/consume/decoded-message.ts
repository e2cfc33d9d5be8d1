import { describeFault } from '../../db/sqlstate.js';
import type { MessageSource, Reading } from '../../domain/reading.js';
import type { Side } from '../../domain/side.js';
import type { ReceivedMessage } from '../../queue/queue.js';
import type { QuarantineRecord } from '../../repository/ledger/quarantine.js';
import { decodeMessage, type Decoded, type DecodeOptions } from '../../decoders/decode.js';

/** A message in hand, and what it decodes to. */
export interface DecodedMessage {
  readonly message: ReceivedMessage;
  /** The same object in each of its readings. */
  readonly source: MessageSource;
  readonly decoded: Decoded;
  readonly readings: number;
  /** Memory that a write of it needs: its body, and what it decodes to. */
  readonly bytes: number;
}

/** About what an object of a reading takes in memory, and in a statement, beside its texts. */
const READING_BYTES = 600;
const FAULT_BYTES = 300;

/** Never throws: what the decoder throws is the fault of the message. */
export function decodeReceived(message: ReceivedMessage, options: DecodeOptions): DecodedMessage {
  const { messageId, body, sentAtMs } = message;
  const source = { messageId, body };
  const decoded = decodeOrFault(body, options, sentAtMs === null ? null : sentAtMs * 1000);
  const readings = decoded.readings.map((reading) => ({ ...reading, source }));
  return {
    ...{ message, source, decoded: { ...decoded, readings }, readings: readings.length },
    bytes: Buffer.byteLength(body) + sizeOf(decoded),
  };
}

/** What the quarantine is to keep of a message, on the side that is the primary; null where it is sound. */
export function faultsOf({ source, decoded }: DecodedMessage, side: Side): QuarantineRecord | null {
  if (decoded.faults.length === 0) return null;
  const faults = decoded.faults.map((fault) => ({ ...fault, sqlstate: null, table: null }));
  return { side, ...source, faults, furtherFaults: 0 };
}

function decodeOrFault(body: string, options: DecodeOptions, sentAt: number | null): Decoded {
  try {
    return decodeMessage(body, options, { sentAt });
  } catch (error) {
    const reason = `the decoder failed: ${describeFault(error)}`;
    return { readings: [], faults: [{ reason, sensorId: null, time: null }] };
  }
}

function sizeOf({ readings, faults }: Decoded): number {
  const ofReadings = readings.reduce((sum, reading) => sum + READING_BYTES + textsOf(reading), 0);
  return faults.reduce((sum, { reason }) => sum + FAULT_BYTES + 2 * reason.length, ofReadings);
}

/** Up to two bytes a character, as V8 holds them. */
function textsOf({ sensorId, sensorType, values }: Reading): number {
  return Object.values(values).reduce<number>(
    (sum, value) => sum + (typeof value === 'string' ? 2 * value.length : 0),
    2 * (sensorId.length + sensorType.length),
  );
}
