import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';

export type SslMode = 'disable' | 'require' | 'verify-ca' | 'verify-full';

/** Where a database is and how to get in; given to pg as fields, so that a password may hold any character. */
export interface ConnectionSettings {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string | undefined;
  readonly sslMode: SslMode;
  /** PEM text of the certificate authority, for verify-ca and verify-full; with `require` the chain is verified, as libpq does. */
  readonly sslRootCert: string | undefined;
}

/** `host:port/database`, for messages; never the password. */
export function describeConnection(connection: ConnectionSettings): string {
  return `${connection.host}:${connection.port}/${connection.database}`;
}

/** libpq's sslmode as Node's TLS options. */
export function tlsOptions(connection: ConnectionSettings): ConnectionOptions | false {
  const { sslMode, sslRootCert } = connection;
  if (sslMode === 'disable') return false;
  if (!isServerVerified(connection)) return { rejectUnauthorized: false };
  const authority = sslRootCert === undefined ? {} : { ca: sslRootCert };
  if (sslMode === 'verify-full') return { rejectUnauthorized: true, ...authority };
  return { rejectUnauthorized: true, checkServerIdentity: () => undefined, ...authority };
}

/** True where the server has to show a certificate that an authority of ours has signed. */
export function isServerVerified({ sslMode, sslRootCert }: ConnectionSettings): boolean {
  return sslMode.startsWith('verify-') || (sslMode === 'require' && sslRootCert !== undefined);
}

/** True where the way to the server does not leave this machine: loopback, or a folder of Unix sockets. */
export function isOnThisMachine({ host }: Pick<ConnectionSettings, 'host'>): boolean {
  return host.startsWith('/') || /^(?:localhost|127(?:\.\d{1,3}){3}|::1)$/i.test(host);
}

export function readCertificate(path: string): string {
  return readFileSync(path, 'utf8');
}
