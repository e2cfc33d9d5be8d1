import { oneLine, printableJson } from '../domain/printable.js';

/**
 * Returns a function that masks every occurrence of the secrets, as they are, as URLs and forms carry them, as JSON writes
 * them, and as a terminal is shown them.
 */
export function createRedactor(secrets: readonly string[]): (text: string) => string {
  const forms = secrets
    .filter((secret) => secret.length > 3)
    .flatMap((secret) => [
      ...[secret, oneLine(secret), encodeURIComponent(secret), encodeURIComponent(secret).replaceAll('%20', '+')],
      ...[JSON.stringify(secret), printableJson(secret)].map((quoted) => quoted.slice(1, -1)),
    ]);
  // The longest first: one that is a part of another must not leave the rest of that one to be read.
  const longestFirst = [...new Set(forms)].sort((one, other) => other.length - one.length);
  return (text) => longestFirst.reduce((masked, form) => masked.replaceAll(form, '***'), text);
}
