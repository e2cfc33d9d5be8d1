// The pages that a stranger reads: short where it says so, and every link and every name in them leads somewhere.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';

const ROOT = path.resolve(import.meta.dirname, '../..');
const README_LINES = 200;
const PAGES = readdirSync(path.join(ROOT, 'docs')).map((name) => `docs/${name}`);
const DOCUMENTS = ['README.md', 'CONTRIBUTING.md', ...PAGES];
/** npm packs these whatever `files` says. */
const ALWAYS_PACKED = ['README.md', 'LICENSE', 'package.json'];
/** Made by the build, from src/assets. */
const BUILT = 'dist/assets/';
/** A page, the settings to copy, or what the build copies: what help and messages may send a reader to. */
const REFERENCE =
  /(?<![\w/.-])(?:docs\/[\w-]+\.md|[A-Z][A-Z-]+\.md|README(?:\.md)?|\.env\.dual-write|dist\/assets\/[\w-]+)/g;

const { files } = JSON.parse(read('package.json')) as { files: readonly string[] };

describe('the documents', () => {
  it(`README.md has at most ${README_LINES} lines, and links every page of docs`, () => {
    expect(read('README.md').trimEnd().split('\n').length).to.be.at.most(README_LINES);
    const linked = linksIn('README.md').map(({ file }) => file);
    expect(PAGES.length).to.be.greaterThan(5);
    expect(PAGES.filter((page) => !linked.includes(page))).to.deep.equal([]);
  });

  for (const document of DOCUMENTS) {
    it(`${document}: each link leads to a file, and to a heading of it`, () => {
      const dead = linksIn(document).filter(({ file, fragment }) => !leadsSomewhere(file, fragment));
      expect(dead.map(({ link }) => link)).to.deep.equal([]);
    });

    it(`${document}: each path of the source and each test that it names exists`, () => {
      expect(pathsIn(document).filter((each) => !existsSync(path.join(ROOT, each)))).to.deep.equal([]);
    });
  }

  it('docs/promises.md names only functions, constants and classes that are in the source or the tests', () => {
    const source = ['src', 'test']
      .flatMap((folder) => filesBelow(folder))
      .filter((file) => file.endsWith('.ts'))
      .map((file) => read(file))
      .join('\n');
    const names = codeIn('docs/promises.md').filter((code) => /^#?[A-Za-z]+(?:[A-Z]|_[A-Z])[A-Za-z_]*$/.test(code));
    expect(names.length).to.be.greaterThan(30);
    expect(names.filter((name) => !new RegExp(`(?<![\\w#])${name}\\b`).test(source))).to.deep.equal([]);
  });
});

describe('the runbook', () => {
  const [, before = '', first = '', , third = ''] = read('docs/runbook.md').split(/^## /m);

  it('stops the former consumer and the other writers, and points them at the new primary', () => {
    expect(before)
      .to.match(/^Before/)
      .and.to.contain('list every program that writes to local: the former consumer');
    expect(first)
      .to.match(/^Phase 1/)
      .and.to.match(/^2\. stop the former consumer and what would start it again/m);
    const steps = [...third.matchAll(/^\d+\. (.*)/gm)].map(([, step = '']) => step);
    const place = (text: string): number => steps.findIndex((step) => step.includes(text));
    expect(place('stop the programs that write to local besides the consumers')).to.be.greaterThan(-1);
    expect(place('stop the programs')).to.be.lessThan(place('`sensorctl cutover --phase 3` (with'));
    expect(place('start those programs again: they write to EC2')).to.be.greaterThan(place('cutover --phase 3` (with'));
  });

  it('adds policies on EC2 after the backfill, not before', () => {
    const copied = first.indexOf('sensorctl backfill --all --full');
    expect(first.indexOf('on EC2, after the backfill: `select job_id')).to.be.greaterThan(copied);
    expect(first).to.contain('select add_retention_policy(…)').and.to.contain('Not before the backfill');
  });
});

describe('the package', () => {
  it('contains what help, messages and comments send a reader to', () => {
    const texts = ['oclif.manifest.json', 'package.json', '.env.dual-write', ...filesBelow('src')];
    const named = texts.flatMap((file) => read(file).match(REFERENCE) ?? []);
    expect(named).to.include('docs/rights.md').and.to.include('.env.dual-write');
    const missing = new Set(
      named.filter((each) => !isPacked(each) || !(existsSync(path.join(ROOT, each)) || isBuilt(each))),
    );
    expect([...missing]).to.deep.equal([]);
  });

  it('contains each document that the packed documents link', () => {
    const linked = DOCUMENTS.filter((each) => isPacked(each)).flatMap((document) => linksIn(document));
    expect(linked.map(({ file }) => file).filter((file) => !isPacked(file))).to.deep.equal([]);
  });
});

interface Link {
  /** As it is written. */
  readonly link: string;
  /** From the root of the repository. */
  readonly file: string;
  readonly fragment: string;
}

function read(file: string): string {
  return readFileSync(path.join(ROOT, file), 'utf8');
}

function filesBelow(folder: string): string[] {
  const entries = readdirSync(path.join(ROOT, folder), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(ROOT, path.join(entry.parentPath, entry.name)));
}

/** The document without its blocks of code. */
function proseOf(document: string): string {
  return read(document).replaceAll(/^```[\s\S]*?^```$/gm, '');
}

/** The relative links of a document. */
function linksIn(document: string): Link[] {
  const targets = [...proseOf(document).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
  return targets
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((link) => {
      const [file = '', fragment = ''] = link.split('#');
      return { link, file: file === '' ? document : path.join(path.dirname(document), file), fragment };
    });
}

function leadsSomewhere(file: string, fragment: string): boolean {
  return existsSync(path.join(ROOT, file)) && (fragment === '' || anchorsOf(file).includes(fragment));
}

/** The anchors of a document's headings, as GitHub makes them. */
function anchorsOf(document: string): string[] {
  const headings = [...proseOf(document).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => heading);
  return headings.map((heading) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

function codeIn(document: string): string[] {
  return [...proseOf(document).matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);
}

/** Files of src and test that a document names; of tests also as docs/promises.md does, `unit/time`. */
function pathsIn(document: string): string[] {
  return codeIn(document).flatMap((code) => {
    if (/^(?:src|test|\.ci)\/[\w./-]+$/.test(code)) return [code];
    return /^(?:unit|integration|acceptance)\/[\w-]+$/.test(code) ? [`test/${code}.test.ts`] : [];
  });
}

function isPacked(file: string): boolean {
  const name = file === 'README' ? 'README.md' : file;
  return ALWAYS_PACKED.includes(name) || files.some((each) => name === each || name.startsWith(`${each}/`));
}

function isBuilt(file: string): boolean {
  return file.startsWith(BUILT) && existsSync(path.join(ROOT, 'src/assets', file.slice(BUILT.length)));
}
