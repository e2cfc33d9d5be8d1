import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';

const SOURCE = path.resolve(import.meta.dirname, '../../src');

/** What each part of the house may import beside itself; `errors`, `logger` and `timing` are open to all. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  commands: ['cli', 'operations'],
  cli: ['config', 'db', 'domain', 'http', 'operations', 'queue', 'repository', 'sandbox', 'decoders'],
  operations: ['repository', 'decoders', 'queue', 'db', 'domain', 'http', 'sandbox'],
  repository: ['db', 'domain'],
  decoders: ['domain'],
  queue: ['domain'],
  db: ['domain'],
  sandbox: ['domain'],
  http: [],
  domain: [],
  config: ['db', 'domain'],
  errors: ['domain'],
  logger: ['domain'],
  timing: [],
};

/** The rooms of the repository library, each above what it uses; at its root the public classes alone. */
const ROOMS = [
  '',
  'cutover',
  'backfill',
  'monitor',
  'repair',
  'compare',
  'write',
  'phase',
  'writers',
  'ledger',
  'schema',
  'timescaledb',
  'tables',
];

interface Import {
  readonly from: string;
  readonly to: string;
}

const FILES = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const TEXTS = new Map(FILES.map((file) => [file, readFileSync(path.join(SOURCE, file), 'utf8')]));
const IMPORTS = [...TEXTS].flatMap(([file, text]) => importsOf(file, text));
const LOCAL_IMPORTS = IMPORTS.filter(({ to }) => FILES.includes(to));

describe('the layering of src', () => {
  it('is read whole: every file has a layer, and every relative import leads to a file', () => {
    expect(FILES.length).to.be.greaterThan(50);
    expect(FILES.filter((file) => ARROWS[layerOf(file)] === undefined)).to.deep.equal([]);
    expect(IMPORTS.filter(({ to }) => to.includes('/') && to.endsWith('.ts') && !FILES.includes(to))).to.deep.equal([]);
    expect(LOCAL_IMPORTS.length).to.be.greaterThan(100);
  });

  it('has no arrow upward, sideways, or between siblings', () => {
    const wrong = LOCAL_IMPORTS.filter((each) => !isAllowed(each) || isBetweenSiblings(each));
    expect(wrong.map(describeImport)).to.deep.equal([]);
  });

  it('has rooms in the repository library that never use one above', () => {
    const ranks = LOCAL_IMPORTS.filter(({ from, to }) => isRepository(from) && isRepository(to)).map((each) => ({
      ...each,
      source: ROOMS.indexOf(roomOf(each.from)),
      target: ROOMS.indexOf(roomOf(each.to)),
    }));
    expect(FILES.filter((file) => isRepository(file) && !ROOMS.includes(roomOf(file)))).to.deep.equal([]);
    expect(new Set(FILES.filter(isRepository).map(roomOf)).size).to.equal(ROOMS.length);
    expect(ranks.filter(({ source, target }) => source > target).map(describeImport)).to.deep.equal([]);
  });

  it('has no two folders that depend on each other, whatever the layer', () => {
    const folders = LOCAL_IMPORTS.map((each) => ({ ...each, ends: [folderOf(each.from), folderOf(each.to)] }));
    const arrows = new Set(folders.filter(({ ends: [from, to] }) => from !== to).map(({ ends }) => ends.join(' -> ')));
    const both = folders.filter(({ ends: [from, to] }) => from !== to && arrows.has(`${to} -> ${from}`));
    expect(arrows.size).to.be.greaterThan(30);
    expect(both.map(describeImport)).to.deep.equal([]);
  });

  it('has no import cycle', () => {
    expect(findCycle()).to.equal(undefined);
  });

  it('has one barrel, the public export of the repository library', () => {
    const barrels = [...TEXTS].filter(([, text]) => codeOf(text).replaceAll(REEXPORT, '').trim() === '');
    expect(barrels.map(([file]) => file)).to.deep.equal(['lib/repository/index.ts']);
  });

  it('knows neither oclif, nor the console, nor the output and fate of the process below cli', () => {
    const below = [...TEXTS].filter(([file]) => !['commands', 'cli'].includes(layerOf(file)));
    const oclif = IMPORTS.filter(({ from, to }) => below.some(([file]) => file === from) && to.startsWith('@oclif'));
    expect(oclif.map(describeImport)).to.deep.equal([]);
    const uses = below
      .filter(([file]) => ![...ENTRIES, TIMING].includes(file))
      .flatMap(([file, text]) => [...codeOf(text).matchAll(FORBIDDEN)].map(([use]) => `${file}: ${use}`));
    expect(uses).to.deep.equal([]);
  });
});

/** What only cli may do with the process: print, read settings, end it, and listen to its signals. */
const FORBIDDEN =
  /\bconsole\.\w+|\bprocess\.(?:stdout|stderr|stdin|env|exit|exitCode|argv|cwd|on|once)\b|from 'node:process'/g;

/** Programs of their own, which the sandbox starts as child processes. */
const ENTRIES = ['lib/sandbox/keeper-process.ts', 'lib/sandbox/queue-process.ts'];

/** Reads the one variable that is no setting: tests shorten times by it. */
const TIMING = 'lib/timing.ts';

const REEXPORT = /^export (?:type )?(?:\{[^}]*\}|\*[^;]*) from '[^']+';/gm;

function isAllowed({ from, to }: Import): boolean {
  const [source, target] = [layerOf(from), layerOf(to)];
  return (
    source === target || ['errors', 'logger', 'timing'].includes(target) || (ARROWS[source] ?? []).includes(target)
  );
}

function isBetweenSiblings({ from, to }: Import): boolean {
  const layer = layerOf(from);
  return layer === layerOf(to) && ['commands', 'operations'].includes(layer) && unitOf(from) !== unitOf(to);
}

/** `commands`, or the folder or file below `lib`. */
function layerOf(file: string): string {
  const [top = '', second = ''] = file.split('/');
  return top === 'lib' ? path.basename(second, '.ts') : top;
}

function isRepository(file: string): boolean {
  return file.startsWith('lib/repository/');
}

/** The folder below the repository library that a file is in; '' for its root. */
function roomOf(file: string): string {
  return file.split('/').slice(2, -1).join('/');
}

/** A file at the root of lib is a folder of its own: `errors` is used by all. */
function folderOf(file: string): string {
  return path.dirname(file) === 'lib' ? file : path.dirname(file);
}

/** A command or an operation: its file, or the folder that it has outgrown into. */
function unitOf(file: string): string {
  const parts = file.split('/');
  return parts[0] === 'lib' ? parts.slice(0, 3).join('/') : file;
}

function importsOf(file: string, text: string): Import[] {
  const statements = text.matchAll(
    /^(?:import|export)\b[^'";]*?from '([^']+)';|^import '([^']+)';|\bimport\('([^']+)'\)/gm,
  );
  return [...statements].map(([, ...specifiers]) => {
    const specifier = specifiers.find((each) => (each as string | undefined) !== undefined) ?? '';
    const isRelative = specifier.startsWith('.');
    return {
      from: file,
      to: isRelative ? path.join(path.dirname(file), specifier).replace(/\.js$/, '.ts') : specifier,
    };
  });
}

function describeImport({ from, to }: Import): string {
  return `${from} -> ${to}`;
}

function codeOf(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
}

/** The files of a cycle in the order of their imports, by depth-first search. */
function findCycle(): string[] | undefined {
  const done = new Set<string>();
  const visit = (file: string, trail: readonly string[]): string[] | undefined => {
    if (trail.includes(file)) return [...trail.slice(trail.indexOf(file)), file];
    if (done.has(file)) return undefined;
    for (const { from, to } of LOCAL_IMPORTS) {
      const cycle = from === file ? visit(to, [...trail, file]) : undefined;
      if (cycle !== undefined) return cycle;
    }
    done.add(file);
    return undefined;
  };
  return FILES.map((file) => visit(file, [])).find((cycle) => cycle !== undefined);
}
