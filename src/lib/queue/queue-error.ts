import { UnreachableError } from '../errors.js';

const MISSING_QUEUE = new Set(['QueueDoesNotExist', 'AWS.SimpleQueueService.NonExistentQueue', 'InvalidAddress']);
const REFUSED_CREDENTIALS = new Set([
  'AccessDenied',
  'AccessDeniedException',
  'CredentialsProviderError',
  'ExpiredToken',
  'ExpiredTokenException',
  'InvalidClientTokenId',
  'InvalidSignatureException',
  'SignatureDoesNotMatch',
  'UnrecognizedClientException',
]);

/** Turns an error of the SDK into one that tells a missing queue, refused credentials and a network fault apart. */
export function asQueueError(error: unknown, queueUrl: string): UnreachableError {
  const { name = '', message = '', code } = error as { name?: string; message?: string; code?: string };
  const where = `the queue ${queueUrl}`;
  if (MISSING_QUEUE.has(name)) {
    return new UnreachableError(`${where} does not exist`, {
      code: 'queue-missing',
      cause: error,
    });
  }
  if (REFUSED_CREDENTIALS.has(name)) {
    return new UnreachableError(`${where} refused the credentials (${name})`, {
      code: 'queue-credentials-refused',
      cause: error,
    });
  }
  if ((error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode !== undefined) {
    return new UnreachableError(`${where} refused the call (${name}): ${message}`, {
      code: 'queue-call-refused',
      cause: error,
    });
  }
  const detail = code ?? (message === '' ? name : message);
  return new UnreachableError(`${where} cannot be reached: ${detail}`, { code: 'queue-unreachable', cause: error });
}
