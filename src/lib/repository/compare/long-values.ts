import { createHash } from 'node:crypto';
import { LONGEST_KEPT, LONGEST_SHOWN, sizeAndDigestOf, sizeAndDigestOfBytes } from '../../db/large-values.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import type { ComparedColumn } from '../tables/table-pair.js';
import { canonicalText } from './digest-method.js';

/** A longer value of a type that is compared by its bytes does not travel, in bytes. */
const LONGEST_READ = 65_536;
/** A jsonb may be equal to one of another text, so that it travels up to this size. */
const LONGEST_LOOSE = 16 * 1024 * 1024;
/** Longer than any text that travels as it is: no value can be taken for what stands for another one. */
const MARK = `repeat(' ', ${LONGEST_READ})`;
const MARKED = /^"? +(\d+) bytes, sha256 ([0-9a-f]{64})"?$/;

/** SQL for the value of a column as a text to compare: of a long one, what stands for it, in a form that the type takes. */
export function readableText(column: ComparedColumn): string {
  const text = canonicalText(column);
  switch (column.type) {
    case null:
    case 'text':
    case 'character varying':
    case 'character':
      return orMark(`octet_length(${text}) > ${LONGEST_READ}`, `${MARK} || ${sizeAndDigestOf(text)}`, text);
    case 'bytea': {
      // Twice as long as a text, it may be longer than a text can be.
      const bytes = quoteIdentifier(column.name);
      return orMark(
        `octet_length(${bytes}) > ${LONGEST_READ}`,
        `encode(convert_to(${MARK} || ${sizeAndDigestOfBytes(bytes)}, 'UTF8'), 'escape')`,
        text,
      );
    }
    case 'jsonb':
      return orMark(
        `octet_length(${text}) > ${LONGEST_LOOSE}`,
        `to_jsonb(${MARK} || ${sizeAndDigestOf(text)})::text`,
        text,
      );
    default:
      return text;
  }
}

function orMark(isLong: string, mark: string, text: string): string {
  return `case when ${isLong} then ${mark} else ${text} end`;
}

/** A value as it is shown: a long one by its size and its digest, with a word where a repair could not keep it. */
export function shownValue(value: string | null, type: string | null): string | null {
  if (value === null || value.length <= LONGEST_SHOWN / 4) return value;
  const marked = MARKED.exec(value);
  if (marked !== null) return describe(Number(marked[1]), marked[2] ?? '');
  const bytes = type === 'bytea' ? Buffer.from(value.slice(2), 'hex') : Buffer.from(value);
  return bytes.length <= LONGEST_SHOWN
    ? value
    : describe(bytes.length, createHash('sha256').update(bytes).digest('hex'));
}

function describe(bytes: number, digest: string): string {
  const kept = bytes > LONGEST_KEPT ? ' (too long for a repair to keep what it replaces)' : '';
  return `${bytes} bytes, sha256 ${digest}${kept}`;
}
