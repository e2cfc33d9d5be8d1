import type { CodeOfSide } from '../errors.js';
import { AuthenticationError } from './authentication.js';
import { isTlsMissing } from './pg-internals.js';

/** The faults of a certificate by the codes that Node gives them. */
const CERTIFICATE_PROBLEMS: Readonly<Record<string, CodeOfSide>> = {
  CERT_HAS_EXPIRED: 'certificate-expired',
  CERT_NOT_YET_VALID: 'certificate-expired',
  CERT_SIGNATURE_FAILURE: 'certificate-unknown',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'certificate-unknown',
  ERR_TLS_CERT_ALTNAME_INVALID: 'certificate-of-another-host',
  SELF_SIGNED_CERT_IN_CHAIN: 'certificate-unknown',
  UNABLE_TO_GET_ISSUER_CERT: 'certificate-unknown',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'certificate-unknown',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'certificate-unknown',
};

/** The problem where TLS or signing in failed before the server said anything with a SQLSTATE; null for anything else. */
export function findConnectingProblem(error: unknown): CodeOfSide | null {
  if (error instanceof AuthenticationError) return error.fault;
  if (isTlsMissing(error)) return 'tls-missing';
  return CERTIFICATE_PROBLEMS[(error as { code?: string }).code ?? ''] ?? null;
}
