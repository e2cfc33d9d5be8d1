/** A longer value, in bytes, is shown by its size and its digest: no line and no document holds a hundred million characters. */
export const LONGEST_SHOWN = 8_192;

/** SQL for what stands for a long text, such as `104857600 bytes, sha256 …`. */
export function sizeAndDigestOf(text: string): string {
  return `(octet_length(${text}) || ' bytes, sha256 ' || encode(sha256(convert_to(${text}, 'UTF8')), 'hex'))`;
}

/** SQL for a text as it is shown. */
export function shownText(text: string): string {
  return `case when octet_length(${text}) > ${LONGEST_SHOWN} then ${sizeAndDigestOf(text)} else ${text} end`;
}
