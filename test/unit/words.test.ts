import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';

const ROOT = path.resolve(import.meta.dirname, '../..');

/** Home-made names for common things; docs/glossary.md says what each is called now. */
const RETIRED = ['Turns', 'Patience', 'InHand', 'Intake', 'Consumption', 'PatientWriter', 'PrimaryGate', 'Lends'];

const FILES = readdirSync(path.join(ROOT, 'src'), { recursive: true, encoding: 'utf8' }).filter((file) =>
  /\.(?:ts|sql)$/.test(file),
);

/** Names as declared or used, not the words of a sentence or the fields of JSON. */
function isUsed(word: string, text: string): boolean {
  return new RegExp(`(?:class|new|type|interface|import|typeof) (?:\\{[^}]*)?\\b${word}\\b|: ${word}\\b`).test(text);
}

describe('the words', () => {
  it('that were retired are gone from the source, and the glossary names each with the one that took its place', () => {
    const texts = FILES.map((file) => ({ file, text: readFileSync(path.join(ROOT, 'src', file), 'utf8') }));
    expect(texts.length).to.be.greaterThan(200);
    const found = texts.flatMap(({ file, text }) =>
      RETIRED.filter((word) => isUsed(word, text)).map((word) => `${word} in ${file}`),
    );
    expect(found).to.deep.equal([]);
    expect(texts.filter(({ text }) => text.includes('/** Told ')).map(({ file }) => file)).to.deep.equal([]);
    const glossary = readFileSync(path.join(ROOT, 'docs/glossary.md'), 'utf8');
    expect(RETIRED.filter((word) => !new RegExp(`\\b${word}\\s\\(`).test(glossary))).to.deep.equal([]);
  });

  it('of retired names would be found', () => {
    expect(isUsed('Turns', 'export class Turns {')).to.equal(true);
    expect(isUsed('Intake', 'private readonly intake: Intake,')).to.equal(true);
    expect(isUsed('Intake', 'messagesInHand: status.intake')).to.equal(false);
  });
});
