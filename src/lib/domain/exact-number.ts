/** Digits that a double holds of any decimal number. */
const EXACT_DIGITS = 15;

/** Whether a number of JSON cannot have been another one before it was rounded to a double. */
export function isExact(value: number): boolean {
  if (Number.isInteger(value)) return Number.isSafeInteger(value);
  return value.toExponential().replace(/e.*|\D/g, '').length <= EXACT_DIGITS;
}
