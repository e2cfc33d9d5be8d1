/** A longer value, in bytes, is shown by its size and its digest: no line and no document holds a hundred million characters. */
export const LONGEST_SHOWN = 8_192;
/** A longer value is not kept where a row is replaced, but its size and its digest: jsonb holds 255 MiB, and pages of records are read at once. */
export const LONGEST_KEPT = 16 * 1024 * 1024;

/** SQL for what stands for a long text, such as `104857600 bytes, sha256 …`. */
export function sizeAndDigestOf(text: string): string {
  return describeBytes(`octet_length(${text})`, `convert_to(${text}, 'UTF8')`);
}

/** The same for an expression of type bytea. */
export function sizeAndDigestOfBytes(bytes: string): string {
  return describeBytes(`octet_length(${bytes})`, bytes);
}

/** SQL for a text as it is shown. */
export function shownText(text: string): string {
  return `case when octet_length(${text}) > ${LONGEST_SHOWN} then ${sizeAndDigestOf(text)} else ${text} end`;
}

function describeBytes(length: string, bytes: string): string {
  return `(${length} || ' bytes, sha256 ' || encode(sha256(${bytes}), 'hex'))`;
}
