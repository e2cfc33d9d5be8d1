import { Script } from 'node:vm';
import { TIMES } from '../timing.js';
import { checkDecoded, DecodedError, storable, type CheckedRows } from './check-decoded.js';
import type { Decoder, MessageContext } from './decoder.js';

/** A decoder as a command uses it. */
export interface UsedDecoder {
  readonly decoder: Decoder;
  /** The file that it was loaded from, and what that held; null for the guide's. A module is not trusted to come to an end. */
  readonly file: { readonly path: string; readonly digest: string } | null;
}

/** A message to be decoded. */
export interface DecoderInput extends MessageContext {
  readonly body: string;
}

/** What became of a message. */
export interface DecodedRows extends CheckedRows {
  /** The decoder itself failed: it threw, took too long, or answered what is no answer. */
  readonly failed: boolean;
}

/** Decoded at once, so that the guard costs little; more than one is not begun once so much stands in memory. */
const BYTES_AT_ONCE = 8 * 1024 * 1024;

/**
 * Decodes the messages from the first on, and answers what became of those that it came to: one at least. Never throws: what a
 * decoder throws, its time or its answer is the fault of the message. Blocks for `TIMES.decodeMs` at most.
 */
export function decodeMessages(used: UsedDecoder, messages: readonly DecoderInput[]): DecodedRows[] {
  const done: DecodedRows[] = [];
  let bytes = 0;
  const decodeEach = (): void => {
    for (const message of messages.slice(done.length)) {
      if (bytes > BYTES_AT_ONCE) return;
      const decoded = decodeOne(used.decoder, message);
      bytes += decoded.bytes;
      done.push(decoded);
    }
  };
  if (used.file === null) decodeEach();
  else if (!endsInTime(decodeEach)) done.push(failure(`it took more than ${TIMES.decodeMs} ms`));
  return done;
}

function decodeOne(decoder: Decoder, { body, messageId, sentAt }: DecoderInput): DecodedRows {
  try {
    const answer: unknown = decoder.decode(body, { messageId, sentAt });
    return { ...checkDecoded(answer, decoder.atomic === true), failed: false };
  } catch (error) {
    return failure(error instanceof DecodedError ? error.message : `it threw ${describeThrown(error)}`);
  }
}

function failure(reason: string): DecodedRows {
  const faults = [{ reason: storable(`the decoder failed: ${reason}`), sensorId: null, time: null }];
  return { units: [], faults, bytes: 2 * reason.length, failed: true };
}

/** A module may throw anything, also what cannot be described. */
export function describeThrown(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  } catch {
    return 'what cannot be described';
  }
}

const CALL_GUARDED = new Script('globalThis.sensorctlGuarded()');

/** Calls `work` and ends it after a while, wherever it is: false where it had to be ended. */
function endsInTime(work: () => void): boolean {
  const scope = globalThis as { sensorctlGuarded?: () => void };
  scope.sensorctlGuarded = work;
  try {
    CALL_GUARDED.runInThisContext({ timeout: TIMES.decodeMs });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return false;
    throw error;
  } finally {
    delete scope.sensorctlGuarded;
  }
}
