import { AuthenticationError, type AuthenticationFault } from './authentication.js';
import { isTlsMissing } from './pg-internals.js';

/** The faults of a certificate by the codes that Node gives them. */
const CERTIFICATE_FAULTS: Readonly<Record<string, 'unknown' | 'expired' | 'of another host'>> = {
  CERT_HAS_EXPIRED: 'expired',
  CERT_NOT_YET_VALID: 'expired',
  CERT_SIGNATURE_FAILURE: 'unknown',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'unknown',
  ERR_TLS_CERT_ALTNAME_INVALID: 'of another host',
  SELF_SIGNED_CERT_IN_CHAIN: 'unknown',
  UNABLE_TO_GET_ISSUER_CERT: 'unknown',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'unknown',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'unknown',
};

/** What to do where TLS or signing in failed before the server said anything with a SQLSTATE; null for anything else. */
export function adviseOnConnecting(error: unknown, prefix: string): string | null {
  const verify = `set ${prefix}_SSLROOTCERT to the PEM file of that server's certificate authority, and ${prefix}_SSLMODE=verify-full`;
  if (error instanceof AuthenticationError) {
    const steps: Readonly<Record<AuthenticationFault, string>> = {
      'no-password': `set ${prefix}_PASSWORD in .env.local`,
      'password-exposed': `${verify}; or let the server ask with scram-sha-256 (its pg_hba.conf and password_encryption)`,
      'server-unproven': `${verify}, as behind a pooler; or let the server itself ask with scram-sha-256 (its pg_hba.conf)`,
    };
    return steps[error.fault];
  }
  if (isTlsMissing(error)) {
    return `switch TLS on in that server (ssl = on); ${prefix}_SSLMODE=disable does without, where nobody can listen`;
  }
  switch (CERTIFICATE_FAULTS[(error as { code?: string }).code ?? '']) {
    case 'unknown':
      return `set ${prefix}_SSLROOTCERT to the PEM file of the authority that signed that server's certificate`;
    case 'expired':
      return "renew that server's certificate, and check the clock of this machine";
    case 'of another host':
      return `set ${prefix}_HOST to a name that is in that server's certificate, or ${prefix}_SSLMODE=verify-ca`;
    default:
      return null;
  }
}
