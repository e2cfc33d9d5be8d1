import pg from 'pg';
import { isOnThisMachine, isServerVerified, type ConnectionSettings } from './connection.js';
import { superviseSignIn, type PasswordRequest } from './pg-internals.js';

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
      let asked: PasswordRequest | undefined;
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
      prepare(this);
      superviseSignIn(this, {
        onPasswordRequest: (way) => {
          asked = way;
          return asError(judgeRequest(connection, way));
        },
        onWelcome: (isProven) => asError(isProven ? null : judgeWelcome(connection)),
      });
    }
  };
}

function asError(fault: AuthenticationFault | null): AuthenticationError | null {
  return fault === null ? null : new AuthenticationError(fault);
}

/** Why such a request is not answered, or null where it is. */
function judgeRequest(connection: ConnectionSettings, asked: PasswordRequest | undefined): AuthenticationFault | null {
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
