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
  /** PEM text of the certificate authority, for verify-ca and verify-full. */
  readonly sslRootCert: string | undefined;
}

/** `host:port/database`, for messages; never the password. */
export function describeConnection(connection: ConnectionSettings): string {
  return `${connection.host}:${connection.port}/${connection.database}`;
}

/** libpq's sslmode as Node's TLS options; throws the file's error where the certificate cannot be read. */
export function tlsOptions({ sslMode, sslRootCert }: ConnectionSettings): ConnectionOptions | false {
  if (sslMode === 'disable') return false;
  if (sslMode === 'require') return { rejectUnauthorized: false };
  const authority = sslRootCert === undefined ? {} : { ca: sslRootCert };
  if (sslMode === 'verify-full') return { rejectUnauthorized: true, ...authority };
  return { rejectUnauthorized: true, checkServerIdentity: () => undefined, ...authority };
}

export function readCertificate(path: string): string {
  return readFileSync(path, 'utf8');
}
