// Holds what commands print to the types in docs/json.md, by the TypeScript compiler: a literal may have no key that its type lacks.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

const FILE = path.resolve(import.meta.dirname, '../../docs/json.md');
const TYPES = /```ts\n([\s\S]*?)```/.exec(readFileSync(FILE, 'utf8'))?.[1] ?? '';

/** What the types need of the language, in place of its library, which takes seconds to read. */
const LANGUAGE = `
interface Array<T> { length: number; [index: number]: T }
interface Boolean {} interface Function {} interface IArguments {} interface Number {} interface Object {}
interface RegExp {} interface String {} interface CallableFunction {} interface NewableFunction {}
type Record<K extends keyof any, V> = { [key in K]: V };
`;

/** The names of the documented types. */
export const DOCUMENTED = [...TYPES.matchAll(/^interface (\w+)/gm)].map(([, name]) => name ?? '');

/** What of the document (JSON text) contradicts the type of this name in docs/json.md; empty where nothing does. */
export function findUndocumented(json: string, type: string): string[] {
  const source = `${LANGUAGE}${TYPES}\nconst document: ${type} = ${json};\n`;
  const file = ts.createSourceFile('document.ts', source, ts.ScriptTarget.ES2023, true);
  const host: ts.CompilerHost = {
    fileExists: (name) => name === file.fileName,
    getCanonicalFileName: (name) => name,
    getCurrentDirectory: () => '',
    getDefaultLibFileName: () => 'none.d.ts',
    getNewLine: () => '\n',
    getSourceFile: (name) => (name === file.fileName ? file : undefined),
    readFile: () => undefined,
    useCaseSensitiveFileNames: () => true,
    writeFile: () => undefined,
  };
  const options = { noLib: true, strict: true, target: ts.ScriptTarget.ES2023, types: [] };
  const program = ts.createProgram([file.fileName], options, host);
  return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(({ messageText }) =>
    ts.flattenDiagnosticMessageText(messageText, '\n'),
  );
}
