import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { register } from 'node:module';
import { pathToFileURL } from 'node:url';
import { withDeadline } from '../domain/retry.js';
import { describeFileFault, UsageError } from '../errors.js';
import type { Decoder } from './decoder.js';
import { createGuideDecoder } from './guide.js';
import type { DecodeOptions } from './message.js';
import type { UsedDecoder } from './run-decoder.js';

const LOAD_MS = 10_000;

/** The guide's decoder with its options, or the one that a file exports. Throws a UsageError where it cannot be used. */
export async function loadDecoder(path: string | null, options: DecodeOptions): Promise<UsedDecoder> {
  if (path === null) return { decoder: createGuideDecoder(options), file: null };
  const digest = await digestOf(path).catch((error: unknown) => {
    throw unusable(path, `cannot be read: ${describeFileFault(error)}`, error);
  });
  return { decoder: asDecoder(path, await importDefault(path)), file: { path, digest } };
}

/** Whether the file of a decoder holds something else by now; false where it cannot be read. */
export async function hasChanged({ file }: UsedDecoder): Promise<boolean> {
  if (file === null) return false;
  return await digestOf(file.path).then(
    (digest) => digest !== file.digest,
    () => false,
  );
}

async function digestOf(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

async function importDefault(path: string): Promise<unknown> {
  offerOwnPackage();
  try {
    const loading = import(pathToFileURL(path).href) as Promise<{ readonly default?: unknown }>;
    const { default: exported } = await withDeadline(loading, LOAD_MS, () => {
      throw new Error(`it was not loaded within ${LOAD_MS / 1000} s`);
    });
    return exported;
  } catch (error) {
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    throw unusable(path, `does not load: ${text}`, error);
  }
}

function asDecoder(path: string, exported: unknown): Decoder {
  const { decode, tables } = (exported ?? {}) as { readonly decode?: unknown; readonly tables?: unknown };
  if (typeof decode !== 'function') throw unusable(path, 'has no default export with a function `decode`');
  if (tables !== undefined && !isDeclaration(tables)) {
    throw unusable(path, 'has `tables` that do not say `columns` with their types for each table');
  }
  return exported as Decoder;
}

function isDeclaration(tables: unknown): boolean {
  const isRecord = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  const isTable = (table: unknown): boolean =>
    isRecord(table) &&
    isRecord(table.columns) &&
    Object.values(table.columns).every((type) => typeof type === 'string') &&
    (table.key === undefined || Array.isArray(table.key));
  return isRecord(tables) && Object.values(tables).every(isTable);
}

function unusable(path: string, problem: string, cause?: unknown): UsageError {
  return new UsageError(`the decoder ${path} ${problem}`, { code: 'decoder-unusable', facts: { path }, cause });
}

const OWN_MODULE = new URL('./guide.js', import.meta.url).href;
let isOffered = false;

/** A module finds `sensorctl/decoder` wherever it lies: this installation's, as it is the one that runs it. */
function offerOwnPackage(): void {
  if (isOffered) return;
  isOffered = true;
  const resolve = `export async function resolve(specifier, context, next) {
    if (specifier === 'sensorctl/decoder') return { url: ${JSON.stringify(OWN_MODULE)}, shortCircuit: true };
    return await next(specifier, context);
  }`;
  register(`data:text/javascript,${encodeURIComponent(resolve)}`);
}
