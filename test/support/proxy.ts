import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

import { createRandom } from '../../src/lib/domain/random.js';
import { findFreePort, releasePort } from '../../src/lib/sandbox/ports.js';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** PostgreSQL's ReadyForQuery outside a transaction: what came before it is committed. */
export const READY_FOR_QUERY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);
/** The tag with which PostgreSQL confirms COMMIT. */
export const COMMITTED = Buffer.from('COMMIT\0');

type Ending = 'reset' | 'silence';

/** Sprung by the first request that holds `request`, once. */
interface Trap {
  readonly request: Buffer;
  /** The answer up to which nothing comes back; null cuts the request itself. */
  readonly answer: Buffer | null;
  readonly ending: Ending;
  onSprung(): void;
}

/** A port of 127.0.0.1 that leads to a server, over a network that misbehaves as told. Its seed says where it cuts. */
export class TcpProxy {
  readonly host = '127.0.0.1';
  readonly #links = new Set<Link>();
  readonly #random: () => number;
  #server: Server | undefined;
  #traps: Trap[] = [];
  #delayMs = 0;
  #opened: Promise<void> = Promise.resolve();
  #open: (() => void) | undefined;

  private constructor(
    readonly port: number,
    readonly target: Address,
    seed: number,
  ) {
    this.#random = createRandom(seed);
  }

  static async open(target: Address, seed = 1): Promise<TcpProxy> {
    const proxy = new TcpProxy(await findFreePort(), target, seed);
    await proxy.pass();
    return proxy;
  }

  /** Ends every fault; what a black hole held back goes on its way, as packets that are sent again do. */
  async pass(): Promise<void> {
    this.#delayMs = 0;
    this.#traps = [];
    this.#open?.();
    this.#open = undefined;
    if (this.#server !== undefined) return;
    const server = createServer({ pauseOnConnect: true }, (socket) => this.#link(socket));
    this.#server = server;
    server.listen({ host: this.host, port: this.port, exclusive: true });
    await once(server, 'listening');
  }

  /** Holds what is sent back for so long, in each direction. */
  delay(ms: number): void {
    this.#delayMs = ms;
  }

  /** Connections stay open, new ones open, and nothing gets through, in either direction. */
  blackHole(): void {
    if (this.#open !== undefined) return;
    this.#opened = new Promise((resolve) => (this.#open = resolve));
  }

  /** Resets all connections, wherever their statements and answers are. */
  cut(): void {
    for (const link of this.#links) link.reset();
  }

  /** Resets all connections and lets nobody in. */
  refuse(): void {
    this.#server?.close();
    this.#server = undefined;
    this.cut();
  }

  /** Resets the connection after a part of the next request that holds `request`. Resolves when it has happened. */
  cutRequest(request: string): Promise<void> {
    return this.#set(request, null, 'reset');
  }

  /**
   * Lets the next request that holds `request` through, waits for `answer`, keeps it, and resets the connection or
   * leaves it silent: done, and the client does not know. Resolves when it has happened.
   */
  swallowAnswer(request: string, answer: Buffer, ending: Ending): Promise<void> {
    return this.#set(request, answer, ending);
  }

  close(): void {
    this.refuse();
    releasePort(this.port);
    this.#open?.();
  }

  takeTrap(sent: Buffer): Trap | undefined {
    const index = this.#traps.findIndex((trap) => sent.includes(trap.request));
    return index === -1 ? undefined : this.#traps.splice(index, 1)[0];
  }

  /** Where to cut so many bytes. */
  cutPoint(bytes: number): number {
    return Math.floor(this.#random() * bytes);
  }

  /** Resolves when something sent now may arrive. */
  async transit(sentAt: number): Promise<void> {
    const leftMs = sentAt + this.#delayMs - performance.now();
    if (this.#delayMs > 0 && leftMs > 0) await sleep(leftMs);
    await this.#opened;
  }

  #set(request: string, answer: Buffer | null, ending: Ending): Promise<void> {
    return new Promise((resolve) => {
      this.#traps.push({ request: Buffer.from(request), answer, ending, onSprung: resolve });
    });
  }

  #link(client: Socket): void {
    const link: Link = new Link(client, connect(this.target), this, () => this.#links.delete(link));
    this.#links.add(link);
  }
}

const LONGEST_MARK = 64;

/** One connection through the proxy. */
class Link {
  #trap: Trap | undefined;
  #sent: Buffer = Buffer.alloc(0);
  #held: Buffer = Buffer.alloc(0);
  #silent = false;

  constructor(
    private readonly client: Socket,
    private readonly server: Socket,
    private readonly proxy: TcpProxy,
    onClose: () => void,
  ) {
    const requests = this.#lane(server);
    const answers = this.#lane(client);
    client.on('data', (chunk: Buffer) => requests(() => this.#request(chunk)));
    server.on('data', (chunk: Buffer) => answers(() => this.#answer(chunk)));
    client.on('close', () => requests(() => server.end()));
    server.on('close', () => answers(() => this.#silent || client.end()));
    for (const socket of [client, server]) socket.setNoDelay(true).on('error', () => undefined);
    server.on('error', () => client.resetAndDestroy());
    for (const socket of [client, server]) socket.on('close', () => client.closed && server.closed && onClose());
    client.resume();
  }

  reset(): void {
    this.client.resetAndDestroy();
    this.server.resetAndDestroy();
  }

  /** Runs what is handed to it in order, each after its way through the network. */
  #lane(to: Socket): (arrive: () => unknown) => void {
    let tail: Promise<unknown> = Promise.resolve();
    return (arrive) => {
      const sentAt = performance.now();
      tail = tail.then(() => this.proxy.transit(sentAt)).then(() => to.destroyed || arrive());
    };
  }

  #request(chunk: Buffer): void {
    const before = this.#sent.length;
    const sent = Buffer.concat([this.#sent, chunk]);
    this.#sent = sent.subarray(-LONGEST_MARK);
    this.#trap ??= this.proxy.takeTrap(sent);
    if (this.#trap?.answer !== null) {
      this.server.write(chunk);
      return;
    }
    this.server.write(sent.subarray(before, before + this.proxy.cutPoint(chunk.length)), () => this.reset());
    this.#trap.onSprung();
  }

  #answer(chunk: Buffer): void {
    if (this.#silent) return;
    if (this.#trap?.answer == null) {
      this.client.write(chunk);
      return;
    }
    this.#held = Buffer.concat([this.#held, chunk]);
    if (!this.#held.includes(this.#trap.answer)) return;
    if (this.#trap.ending === 'reset') this.reset();
    this.#silent = true;
    this.#trap.onSprung();
  }
}
