import { describeFault } from '../../db/sqlstate.js';
import type { MessageSource, Reading } from '../../domain/reading.js';
import type { Side } from '../../domain/side.js';
import type { ReceivedMessage } from '../../queue/queue.js';
import type { QuarantineRecord } from '../../repository/ledger/quarantine.js';
import { decodeMessage, type Decoded, type DecodeOptions } from '../../decoders/guide-messages.js';

/** A message that was received, and the readings and faults that it decodes to. */
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
  const bytes = Buffer.byteLength(body) + sizeOf(decoded);
  return { message, source, decoded: { ...decoded, readings }, readings: readings.length, bytes };
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

/** How large a batch is: its items, their readings, and the memory that they take. */
export interface Size {
  readonly items: number;
  readonly readings: number;
  readonly bytes: number;
}

const EMPTY: Size = { items: 0, readings: 0, bytes: 0 };

/** Gathers messages from many pollers into batches that are bounded by number, size and time. */
export class MessageBatcher {
  #items: DecodedMessage[] = [];
  #size: Size = EMPTY;
  #timer: NodeJS.Timeout | undefined;

  /**
   * `deliver` gets each batch as soon as it is full, or `lingerMs` after its first item. An item that is larger than a
   * whole batch is one by itself.
   */
  constructor(
    private readonly atMost: Size,
    private readonly lingerMs: number,
    private readonly deliver: (batch: DecodedMessage[]) => void,
  ) {}

  add(item: DecodedMessage): void {
    if (this.#items.length > 0 && this.#isBeyond(item)) this.flush();
    this.#items.push(item);
    const { items, readings, bytes } = this.#size;
    this.#size = { items: items + 1, readings: readings + item.readings, bytes: bytes + item.bytes };
    if (this.#size.items >= this.atMost.items) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), this.lingerMs);
  }

  /** Delivers what has gathered so far. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#items;
    this.#items = [];
    this.#size = EMPTY;
    if (batch.length > 0) this.deliver(batch);
  }

  #isBeyond({ readings, bytes }: DecodedMessage): boolean {
    return this.#size.readings + readings > this.atMost.readings || this.#size.bytes + bytes > this.atMost.bytes;
  }
}
