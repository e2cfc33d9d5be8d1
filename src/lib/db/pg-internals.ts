import { Readable, type Duplex } from 'node:stream';
import pg from 'pg';

/*
 * Everything that leans on parts of pg which are not documented or not in its types. package.json pins the version of pg;
 * test/unit/pg-internals.test.ts finds each part where it is expected, and the integration tests of TLS and COPY use them.
 */

/** pg's Connection: the messages of the protocol as events, and the socket below. */
interface Connection extends NodeJS.EventEmitter {
  readonly stream: Duplex;
  query(text: string): void;
}

function connectionOf(client: pg.ClientBase): Connection {
  return (client as unknown as { connection: Connection }).connection;
}

/** Cuts a connection, whatever it is doing. */
export function destroySocket(client: pg.ClientBase): void {
  connectionOf(client).stream.destroy();
}

/** Hears every error of a connection before pg does: those that the server sends, and those of the socket. */
export function onConnectionError(client: pg.ClientBase, listener: (error: object) => void): void {
  for (const event of ['errorMessage', 'error']) connectionOf(client).on(event, listener);
}

/** How a server asks for the password: `bound` is SCRAM tied to the certificate that it has shown (SCRAM-SHA-256-PLUS). */
export type PasswordRequest = 'open' | 'scram' | 'bound';

/** Asked at moments of signing in; an error that is returned is what the connection is given up with. */
export interface SignInRules {
  onPasswordRequest(way: PasswordRequest): Error | null;
  /** The server lets us in; `isProven` where it has proven by SCRAM, bound to its certificate, that it knows the password. */
  onWelcome(isProven: boolean): Error | null;
}

/**
 * Applies the rules while a client signs in. These listeners must be added before pg's own, in the client's constructor:
 * on a connection that is cut pg sends no more.
 */
export function superviseSignIn(client: pg.ClientBase, rules: SignInRules): void {
  const connection = connectionOf(client);
  let way: PasswordRequest | undefined;
  let isProven = false;
  let isReady = false;
  const abandon = (): void => {
    if (isReady) return;
    // A server that was refused may have sent more: it does not open the connection any more.
    connection.removeAllListeners('readyForQuery');
    connection.stream.destroy();
  };
  const giveUpOn = (error: Error | null): void => {
    if (error !== null) connection.emit('error', error);
  };
  const onRequest = (asked: PasswordRequest): void => {
    way = asked;
    giveUpOn(rules.onPasswordRequest(asked));
  };
  connection.on('error', abandon);
  connection.on('errorMessage', abandon);
  connection.on('authenticationCleartextPassword', () => onRequest('open'));
  connection.on('authenticationMD5Password', () => onRequest('open'));
  connection.on('authenticationSASL', ({ mechanisms }: { mechanisms: readonly string[] }) =>
    onRequest(mechanisms.includes('SCRAM-SHA-256-PLUS') ? 'bound' : 'scram'),
  );
  // pg checks the server's signature in this message next, and reports an error where it is wrong.
  connection.on('authenticationSASLFinal', () => (isProven = way === 'bound'));
  connection.on('authenticationOk', () => giveUpOn(rules.onWelcome(isProven)));
  connection.on('readyForQuery', () => (isReady = true));
}

/** True for pg's error where the server has no TLS; it carries no code. */
export function isTlsMissing(error: unknown): boolean {
  return error instanceof Error && error.message === 'The server does not support SSL connections';
}

/** The settings of a pool as pg-pool has them: it waits for `onConnect`, and knows pipelines. */
export type PoolConfig = Omit<pg.PoolConfig, 'onConnect'> & {
  readonly pipeline: true;
  readonly onConnect: (client: pg.ClientBase) => Promise<void>;
};

/** The text or bytes as which pg sends a value; throws where it has no such form. */
export const { prepareValue } = (pg as unknown as { utils: { prepareValue: (value: unknown) => unknown } }).utils;

/** pg's own parser of `text[]`, whose type id (1009) its declarations leave out. */
export const parseTextArray = (pg.types.getTypeParser as (oid: number) => (text: string) => (string | null)[])(1009);

/** pg ends its timer for a query (`query_timeout`) when it calls the query's callback, which a COPY stream never lets it do. */
export function endQueryTimeout(stream: object): void {
  (stream as { callback?: () => void }).callback?.();
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

  submit(connection: Pick<Connection, 'stream' | 'query'>): void {
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
