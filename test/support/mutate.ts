// Messages with random damage: as text, and as what JSON says.
type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

const TEXTS = [
  '',
  ' ',
  '0',
  'null',
  '\u0000',
  '\ud800',
  '9007199254740993',
  '1e400',
  '-0',
  'infinity',
  '2025-02-30',
  '24:00',
  'x'.repeat(300),
];
const NUMBERS = [0, -1, 0.1, 1e21, -1e308, 2 ** 53, 2 ** 31, Math.PI];
/** Of what SQS takes in a message. */
const CHARACTERS = ['{', '}', '[', ']', '"', ',', ':', '\\', '0', '9', 'e', '-', 'n', ' ', '\n', 'ÿ'];

function pickOf<Item>(items: readonly Item[], random: () => number): Item {
  return items[Math.floor(random() * items.length)]!;
}

const LONGEST_BYTES = 900_000;
/** What the queue of the sandbox takes in no message; SQS itself takes pairs of surrogates. */
const NOT_SENDABLE = /[^\t\n\r\x20-\uD7FF\uE000-\uFFFD]/g;

/** The message as the queue takes it: what it does not take is escaped, which JSON reads alike. */
export function asSendable(body: string): string {
  return body.replace(NOT_SENDABLE, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** A message that differs from the given one in a place or a few. */
export function mutate(body: string, random: () => number): string {
  const times = 1 + Math.floor(random() ** 3 * 4);
  let mutated = body;
  for (let time = 0; time < times; time += 1)
    mutated = random() < 0.4 ? mutateText(mutated, random) : mutateJson(mutated, random);
  return mutated === '' || Buffer.byteLength(mutated) > LONGEST_BYTES ? body : mutated;
}

function mutateText(body: string, random: () => number): string {
  const at = Math.floor(random() * body.length);
  const length = 1 + Math.floor(random() * 8);
  const rest = body.slice(at + length);
  const added = [
    '',
    pickOf(CHARACTERS, random),
    body.slice(at, at + length).repeat(2),
    body.slice(Math.floor(random() * body.length)).slice(0, 40),
  ];
  // Halves of a surrogate pair are no text that a queue takes.
  return `${body.slice(0, at)}${pickOf(added, random)}${rest}`.toWellFormed();
}

function mutateJson(body: string, random: () => number): string {
  try {
    return JSON.stringify(mutateValue(JSON.parse(body) as Json, random));
  } catch {
    // No JSON, or nested too deep to be written again.
    return mutateText(body, random);
  }
}

/** Goes down to a random place, and changes what stands there. */
function mutateValue(value: Json, random: () => number): Json {
  if (typeof value === 'object' && value !== null && Object.keys(value).length > 0 && random() < 0.85) {
    if (Array.isArray(value)) return mutateList(value, random);
    const name = pickOf(Object.keys(value), random);
    const { [name]: found, ...others } = value;
    if (random() < 0.1) return others;
    if (random() < 0.1)
      return { ...others, [pickOf(['__proto__', 'constructor', `${name} `, name.toUpperCase(), ''], random)]: found! };
    return { ...value, [name]: mutateValue(found!, random) };
  }
  return replacement(value, random);
}

function mutateList(list: readonly Json[], random: () => number): Json {
  const at = Math.floor(random() * list.length);
  if (random() < 0.1) return [...list.slice(0, at), ...list.slice(at + 1)];
  if (random() < 0.1) return [...list, ...list];
  return list.map((item, place) => (place === at ? mutateValue(item, random) : item));
}

function replacement(value: Json, random: () => number): Json {
  const kind = Math.floor(random() * 7);
  if (kind === 0) return pickOf(TEXTS, random);
  if (kind === 1) return pickOf(NUMBERS, random);
  if (kind === 2) return null;
  if (kind === 3) return random() < 0.5;
  if (kind === 4) return [value, value];
  if (kind === 5) return { '': value };
  return typeof value === 'number' ? String(value) : typeof value === 'string' ? Number(value) || 7 : [];
}
