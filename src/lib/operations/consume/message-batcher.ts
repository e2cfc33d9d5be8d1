import type { FoundFault } from '../../decoders/check-decoded.js';
import { sentAtText } from '../../decoders/guide.js';
import { decodeMessages, type DecodedRows, type UsedDecoder } from '../../decoders/run-decoder.js';
import { countReadings, type MessageSource, type Unit } from '../../domain/row.js';
import type { Side } from '../../domain/side.js';
import type { ReceivedMessage } from '../../queue/queue.js';
import type { QuarantineRecord } from '../../repository/ledger/quarantine.js';

/** A message that was received, and what it decodes to. */
export interface DecodedMessage {
  readonly message: ReceivedMessage;
  /** The same object in each of its units. */
  readonly source: MessageSource;
  readonly units: readonly Unit[];
  readonly faults: readonly FoundFault[];
  /** Rows that count as readings. */
  readonly readings: number;
  /** Memory that a write of it needs: its body, and what it decodes to. */
  readonly bytes: number;
  /** The decoder itself failed. */
  readonly failed: boolean;
}

/** Decodes messages from the first on; answers those that it came to. Never throws. */
export function decodeReceived(messages: readonly ReceivedMessage[], decoder: UsedDecoder): DecodedMessage[] {
  const inputs = messages.map(({ body, messageId, sentAtMs }) => ({ body, messageId, sentAt: sentAtText(sentAtMs) }));
  return decodeMessages(decoder, inputs).flatMap((decoded, place) => {
    const message = messages[place];
    return message === undefined ? [] : [describeMessage(message, decoded)];
  });
}

function describeMessage(message: ReceivedMessage, { units, faults, bytes, failed }: DecodedRows): DecodedMessage {
  const { messageId, body } = message;
  const source = { messageId, body };
  const withSource = units.map((rows) => ({ rows, source }));
  const readings = withSource.reduce((sum, unit) => sum + countReadings(unit), 0);
  return { message, source, units: withSource, faults, readings, bytes: Buffer.byteLength(body) + bytes, failed };
}

/** The quarantine record of a message, on the side that is the primary; null where the message is sound. */
export function faultsOf({ source, faults }: DecodedMessage, side: Side): QuarantineRecord | null {
  if (faults.length === 0) return null;
  return {
    side,
    ...source,
    faults: faults.map((fault) => ({ ...fault, sqlstate: null, table: null })),
    furtherFaults: 0,
  };
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
