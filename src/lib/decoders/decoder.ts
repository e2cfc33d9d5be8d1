import type { DeclaredTables, Row } from '../domain/row.js';

/** The facts about a message that the queue gives beside its body. */
export interface MessageContext {
  readonly messageId: string | null;
  /** When the queue took it, as UTC text with microseconds, by a clock that no sender sets; null where it is not known. */
  readonly sentAt: string | null;
}

/** What cannot be stored, a whole message or a part of it, and why: it goes to the quarantine. */
export interface Fault {
  readonly fault: string;
  /** What it is about, for the reader of the quarantine. */
  readonly sensorId?: string | null;
  readonly time?: string | null;
}

/**
 * Says what messages become. Must be deterministic: a message that is delivered again has to decode alike. What it throws
 * sends its message to the quarantine, with the text of the error.
 */
export interface Decoder {
  /** The rows of a message, and what of it cannot be stored; an empty list where it means nothing. */
  readonly decode: (body: string, context: MessageContext) => readonly (Row | Fault)[];
  /** The rows of a message stand or fall together. Where it is left out, each row does alone, or with its `unit`. */
  readonly atomic?: boolean;
  /** The tables that it writes, so that one that does not fit is found when a consumer starts, not when a message comes. */
  readonly tables?: DeclaredTables;
}
