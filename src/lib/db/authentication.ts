// What leans on the messages by which pg lets itself be asked for a password (pg.Connection's events, and one error that it
// tells by its text alone) stands in this file; test/integration/tls.test.ts holds it by real handshakes.
import pg from 'pg';
import { isOnThisMachine, isServerVerified, type ConnectionSettings } from './connection.js';

export type AuthenticationFault = 'no-password' | 'password-exposed' | 'server-unproven';

const MESSAGES: Readonly<Record<AuthenticationFault, string>> = {
  'no-password': 'it asks for a password, and none is set',
  'password-exposed':
    'it asks for the password in clear text or as md5, and nothing proves who it is; nothing was sent',
  'server-unproven': 'nothing proves who it is: neither a certificate that is verified, nor SCRAM with channel binding',
};

/** A connection that was given up on this side, before anything of worth was sent. */
export class AuthenticationError extends Error {
  constructor(readonly fault: AuthenticationFault) {
    super(MESSAGES[fault]);
    this.name = 'AuthenticationError';
  }
}

/** How a server asks for the password: `bound` is SCRAM tied to the certificate that it has shown (SCRAM-SHA-256-PLUS). */
type Asked = 'open' | 'scram' | 'bound';

/** What of pg's connection is used here. */
interface Wire extends NodeJS.EventEmitter {
  readonly stream: { destroy(): void };
}

/**
 * pg's client, which gives the password away to nobody who could stand in between, takes no server for the right one that
 * has not proven it, and cuts the connection where signing in fails: pg leaves it open then, for as long as the server does.
 * `prepare` is called with each client before it connects.
 */
export function guardedClient(
  connection: ConnectionSettings,
  prepare: (client: pg.ClientBase) => void,
): new (config?: pg.ClientConfig) => pg.Client {
  return class GuardedClient extends pg.Client {
    constructor(config: pg.ClientConfig = {}) {
      let asked: Asked | undefined;
      const guarded = {
        ...config,
        // Called when the server asks, at the first time only: what follows is judged below.
        password: (): string => {
          const fault = judgeRequest(connection, asked);
          if (fault !== null || connection.password === undefined)
            throw new AuthenticationError(fault ?? 'no-password');
          return connection.password;
        },
        enableChannelBinding: connection.sslMode !== 'disable',
      };
      super(guarded);
      const { connection: wire } = this as unknown as { connection: Wire };
      let isProven = false;
      let isReady = false;
      const abandon = (): void => {
        if (isReady) return;
        // What a refused server sent behind does not open the door any more.
        wire.removeAllListeners('readyForQuery');
        wire.stream.destroy();
      };
      const refuse = (fault: AuthenticationFault | null): void => {
        if (fault !== null) wire.emit('error', new AuthenticationError(fault));
      };
      const onRequest = (way: Asked): void => {
        asked = way;
        refuse(judgeRequest(connection, way));
      };
      prepare(this);
      // These come before pg's own listeners: on a connection that is cut pg sends no more.
      wire.on('error', abandon);
      wire.on('errorMessage', abandon);
      wire.on('authenticationCleartextPassword', () => onRequest('open'));
      wire.on('authenticationMD5Password', () => onRequest('open'));
      wire.on('authenticationSASL', ({ mechanisms }: { mechanisms: readonly string[] }) =>
        onRequest(mechanisms.includes('SCRAM-SHA-256-PLUS') ? 'bound' : 'scram'),
      );
      // pg checks the server's signature in this message next, and reports an error where it is wrong.
      wire.on('authenticationSASLFinal', () => (isProven = asked === 'bound'));
      wire.on('authenticationOk', () => refuse(isProven ? null : judgeWelcome(connection)));
      wire.on('readyForQuery', () => (isReady = true));
    }
  };
}

/** True for pg's error where the server has no TLS; it carries no code. */
export function isTlsMissing(error: unknown): boolean {
  return error instanceof Error && error.message === 'The server does not support SSL connections';
}

/** Why such a request is not answered, or null where it is. */
function judgeRequest(connection: ConnectionSettings, asked: Asked | undefined): AuthenticationFault | null {
  if (connection.password === undefined) return 'no-password';
  if (isServerVerified(connection)) return null;
  if (asked === 'scram') return connection.sslMode === 'disable' ? null : 'server-unproven';
  if (asked === 'bound') return null;
  return connection.sslMode === 'disable' && isOnThisMachine(connection) ? null : 'password-exposed';
}

/** Why a server that lets us in without proof is left. Who sets no password wants none to be asked for. */
function judgeWelcome(connection: ConnectionSettings): AuthenticationFault | null {
  const isContent = isServerVerified(connection) || connection.sslMode === 'disable';
  return isContent || connection.password === undefined ? null : 'server-unproven';
}
