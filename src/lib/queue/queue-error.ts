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
      next: 'check SQS_QUEUE_URL and AWS_REGION',
      cause: error,
    });
  }
  if (REFUSED_CREDENTIALS.has(name)) {
    const next = 'check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or renew the credentials of this host';
    return new UnreachableError(`${where} refused the credentials (${name})`, { next, cause: error });
  }
  if ((error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode !== undefined) {
    const next = 'see what AWS says of it; where it is throttled, repeat the command more slowly';
    return new UnreachableError(`${where} refused the call (${name}): ${message}`, { next, cause: error });
  }
  const detail = code ?? (message === '' ? name : message);
  const next = 'check SQS_QUEUE_URL, AWS_REGION and AWS_ENDPOINT_URL_SQS, and the network';
  return new UnreachableError(`${where} cannot be reached: ${detail}`, { next, cause: error });
}
