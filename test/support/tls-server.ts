// PostgreSQL over TLS, and who stands in between.
import { chown, rename, stat, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { connect as connectTcp, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import path from 'node:path';
import { connect as connectTls, TLSSocket } from 'node:tls';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import type { ServerCertificate } from './certificates.js';
import { eventually, poolOf } from './cli.js';
import { startOwnServer } from './servers.js';

/** A server that speaks TLS and takes passwords by SCRAM; the roles `plain` and `old` are asked in clear and by md5. */
export class TlsServer {
  private constructor(readonly server: PostgresServer) {}

  static async start(certificate: ServerCertificate): Promise<TlsServer> {
    const started = new TlsServer(await startOwnServer());
    await started.present(certificate);
    return started;
  }

  /** Shows this certificate from now on. */
  async present({ key, cert }: ServerCertificate): Promise<void> {
    await this.#put('server.crt', cert);
    await this.#put('server.key', key);
    await this.#query(`alter system set ssl = on`);
    const expected = Buffer.from(cert.replaceAll(/-----[A-Z ]+-----|\s/g, ''), 'base64');
    await this.#query('select pg_reload_conf()');
    await eventually('the certificate is shown', async () => {
      return expected.equals((await this.#shown()) ?? Buffer.alloc(0));
    });
  }

  /** Puts lines before those of pg_hba.conf. */
  async allow(lines: readonly string[]): Promise<void> {
    await this.#put('pg_hba.conf', [...lines, 'host all all 127.0.0.1/32 scram-sha-256', ''].join('\n'));
    await this.#query('select pg_reload_conf()');
    await eventually('the rules count', async () => {
      const rules = await this.#query(`select count(*) as rules from pg_hba_file_rules`);
      return Number(rules[0]?.rules) === lines.length + 1;
    });
  }

  async dispose(): Promise<void> {
    await this.server.dispose();
  }

  async #put(name: string, text: string): Promise<void> {
    const directory = path.join(this.server.dataDir, 'pgdata');
    const { uid, gid } = await stat(directory);
    const file = path.join(directory, name);
    await writeFile(`${file}.new`, text, { mode: 0o600 });
    await chown(`${file}.new`, uid, gid);
    await rename(`${file}.new`, file);
  }

  async #query(sql: string): Promise<Record<string, unknown>[]> {
    const pool = poolOf(this.server, 'postgres');
    try {
      return (await pool.query<Record<string, unknown>>(sql)).rows;
    } finally {
      await pool.end();
    }
  }

  async #shown(): Promise<Buffer | undefined> {
    const socket = await askForTls(this.server.port);
    if (socket === null) return undefined;
    const secure = connectTls({ socket, rejectUnauthorized: false });
    try {
      await once(secure, 'secureConnect');
      return secure.getPeerCertificate().raw;
    } catch {
      return undefined;
    } finally {
      secure.destroy();
    }
  }
}

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

/** A connection on which TLS may begin; null where the server has none. */
async function askForTls(port: number): Promise<Socket | null> {
  const socket = connectTcp(port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(SSL_REQUEST);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  if (answer.toString() === 'S') return socket;
  socket.destroy();
  return null;
}

/** An authentication request, or what else PostgreSQL's protocol frames so. */
export function message(type: string, body: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(body.length + 4);
  return Buffer.concat([Buffer.from(type), length, body]);
}

export function authentication(kind: number, rest: Buffer | string = ''): Buffer {
  const code = Buffer.alloc(4);
  code.writeInt32BE(kind);
  return message('R', Buffer.concat([code, Buffer.from(rest)]));
}

export const ASK = {
  clear: authentication(3),
  md5: authentication(5, 'salt'),
  scram: authentication(10, 'SCRAM-SHA-256\0\0'),
  bound: authentication(10, 'SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0'),
  welcome: Buffer.concat([authentication(0), message('Z', Buffer.from('I'))]),
} as const;

/** What a man in the middle does with a client that has been let in; `client` is what the client reads and writes in clear. */
export type Trick = (client: Socket, startup: Buffer) => void;

/** Somebody in between, with a certificate of his own or, without one, no TLS; he notes what he is told. */
export class Middle {
  readonly #heard: Buffer[] = [];
  readonly #sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    readonly port: number,
  ) {}

  static async open(certificate: ServerCertificate | null, trick: Trick): Promise<Middle> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const middle = new Middle(server, (server.address() as AddressInfo).port);
    server.on('connection', (socket) => middle.#meet(socket, certificate, trick));
    return middle;
  }

  /** All that clients have said after the first packet. */
  get heard(): string {
    return Buffer.concat(this.#heard).toString('latin1');
  }

  /** Connections that are still open. */
  get open(): number {
    return this.#sockets.size;
  }

  close(): void {
    this.server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #meet(socket: Socket, certificate: ServerCertificate | null, trick: Trick): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket)).on('error', () => undefined);
    if (certificate === null) {
      this.#listen(socket, trick);
      return;
    }
    socket.once('data', () => {
      socket.write('S');
      const secure = new TLSSocket(socket, { isServer: true, ...certificate });
      secure.on('error', () => undefined);
      this.#listen(secure, trick);
    });
  }

  #listen(client: Socket, trick: Trick): void {
    client.once('data', (startup) => {
      client.on('data', (chunk) => this.#heard.push(chunk));
      trick(client, startup);
    });
  }
}

/** Hands everything on to the true server, over TLS or in clear, and its answers back. */
export function relay(port: number, how: 'tls' | 'clear'): Trick {
  return (client, startup) => {
    void (async () => {
      const socket = how === 'tls' ? await askForTls(port) : connectTcp(port, '127.0.0.1');
      if (socket === null) throw new Error('the true server has no TLS');
      const true_ = how === 'tls' ? connectTls({ socket, rejectUnauthorized: false }) : socket;
      true_.on('error', () => client.destroy());
      client.on('close', () => true_.destroy());
      true_.write(startup);
      client.pipe(true_);
      true_.pipe(client);
    })();
  };
}
