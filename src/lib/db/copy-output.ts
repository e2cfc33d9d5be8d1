import type { Duplex } from 'node:stream';
import { Readable } from 'node:stream';

/** What this needs of pg's Connection. */
interface Connection {
  readonly stream: Duplex;
  query(text: string): void;
}

type DataListener = (chunk: Buffer) => void;

const BUFFERED_BYTES = 256 * 1024;
const HEADER_BYTES = 5;
const COPY_DATA = 0x64;
const COPY_DONE = 0x63;
const ERROR_RESPONSE = 0x45;
const NONE: Buffer = Buffer.alloc(0);

/**
 * The bytes of a `COPY … TO STDOUT`, to be submitted with `query()` of a pg client. The server frames every row; the
 * frames are taken off within the chunk that the socket gave, where pg-copy-streams makes an object and a copy of each
 * row (two thirds of the CPU time of a copy). All other messages go to pg, which ends or fails this query by them.
 */
export class CopyOutput extends Readable {
  /** pg ends its timer for the query by it. */
  callback: () => void = () => undefined;
  #stream: Duplex | undefined;
  #toDriver: DataListener = () => undefined;
  /** Begin of a frame's header whose rest has not arrived. */
  #header: Buffer = NONE;
  #isRows = false;
  /** Bytes of the frame at hand that have not arrived. */
  #left = 0;

  constructor(private readonly text: string) {
    super({ highWaterMark: BUFFERED_BYTES });
  }

  submit(connection: Connection): void {
    const { stream } = connection;
    const [listener] = stream.listeners('data') as DataListener[];
    if (listener === undefined) throw new TypeError('the connection is not read by pg');
    this.#stream = stream;
    this.#toDriver = listener;
    stream.off('data', listener).on('data', this.#take);
    connection.query(this.text);
  }

  override _read(): void {
    this.#stream?.resume();
  }

  handleCommandComplete(): void {
    // The side that is written tells the number of rows.
  }

  handleReadyForQuery(): void {
    this.callback();
    this.push(null);
  }

  handleError(error: Error): void {
    this.callback();
    this.#release();
    this.destroy(error);
  }

  readonly #take = (chunk: Buffer): void => {
    const bytes = this.#header.length === 0 ? chunk : Buffer.concat([this.#header, chunk]);
    this.#header = NONE;
    let rowBytes = 0;
    for (let at = 0; at < bytes.length;) {
      if (this.#left === 0) {
        if (bytes.length - at < HEADER_BYTES) {
          this.#header = bytes.subarray(at);
          break;
        }
        const type = bytes[at];
        if (type === COPY_DONE || type === ERROR_RESPONSE) {
          this.#pass(bytes.subarray(0, rowBytes));
          this.#release();
          this.#toDriver(bytes.subarray(at));
          return;
        }
        this.#isRows = type === COPY_DATA;
        // The length counts itself, and not the type.
        this.#left = bytes.readUInt32BE(at + 1) + 1;
        if (this.#isRows) {
          at += HEADER_BYTES;
          this.#left -= HEADER_BYTES;
        }
      }
      const end = Math.min(bytes.length, at + this.#left);
      if (this.#isRows) {
        bytes.copyWithin(rowBytes, at, end);
        rowBytes += end - at;
      } else this.#toDriver(Buffer.from(bytes.subarray(at, end))); // a copy, as rows may come to lie there
      this.#left -= end - at;
      at = end;
    }
    this.#pass(bytes.subarray(0, rowBytes));
  };

  #pass(rows: Buffer): void {
    if (rows.length > 0 && !this.push(rows)) this.#stream?.pause();
  }

  /** Gives the connection back to pg. */
  #release(): void {
    this.#stream?.off('data', this.#take).on('data', this.#toDriver).resume();
    this.#stream = undefined;
  }
}
