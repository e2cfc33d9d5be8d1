import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

/** A TypeScript file below `src`, by its path there. */
export interface SourceFile {
  readonly name: string;
  readonly text: string;
  /** The files of `src` that it imports. */
  readonly imports: readonly string[];
}

/** A loop that pauses, or goes on after an error: by its file and line. */
export interface RetryLoop {
  readonly file: string;
  readonly line: number;
}

export function readSources(root: string): SourceFile[] {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  return names.map((name) => {
    const text = readFileSync(path.join(root, name), 'utf8');
    const specifiers = ts.preProcessFile(text).importedFiles.map(({ fileName }) => fileName);
    const targets = specifiers
      .filter((specifier) => specifier.startsWith('.'))
      .map((specifier) => path.join(path.dirname(name), specifier).replace(/\.js$/, '.ts'));
    return { name, text, imports: [...new Set(targets)].filter((target) => names.includes(target)) };
  });
}

/** Pairs of folders of which each has a file that imports one of the other. A file at the root of lib is a folder of its own. */
export function findMutualFolders(files: readonly SourceFile[]): string[] {
  const folderOf = (name: string): string => (path.dirname(name) === 'lib' ? name : path.dirname(name));
  const arrows = new Set(
    files.flatMap(({ name, imports }) => imports.map((target) => `${folderOf(name)} ${folderOf(target)}`)),
  );
  return [...arrows].filter((arrow) => {
    const [from = '', to = ''] = arrow.split(' ');
    return from < to && arrows.has(`${to} ${from}`);
  });
}

const PAUSES = new Set(['pause', 'delay', 'sleep', 'wait', 'setTimeout']);

/** Loops without a list to go through whose body waits a while, or catches an error and goes on. */
export function findRetryLoops(files: readonly SourceFile[]): RetryLoop[] {
  return files.flatMap(({ name, text }) => {
    const source = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true);
    const found: RetryLoop[] = [];
    const visit = (node: ts.Node): void => {
      if (isOpenLoop(node) && holds(node.statement, triesAgain)) {
        found.push({ file: name, line: source.getLineAndCharacterOfPosition(node.getStart()).line + 1 });
      }
      node.forEachChild(visit);
    };
    visit(source);
    return found;
  });
}

function isOpenLoop(node: ts.Node): node is ts.IterationStatement {
  return ts.isWhileStatement(node) || ts.isDoStatement(node) || ts.isForStatement(node);
}

function triesAgain(node: ts.Node): boolean {
  if (ts.isTryStatement(node)) return node.catchClause !== undefined;
  if (!ts.isCallExpression(node)) return false;
  const { expression } = node;
  const called = ts.isPropertyAccessExpression(expression) ? expression.name.text : expression.getText();
  return PAUSES.has(called.replace('#', ''));
}

/** Whether a statement holds such a node outside of functions of its own. */
function holds(node: ts.Node, isWanted: (node: ts.Node) => boolean): boolean {
  if (isWanted(node)) return true;
  if (ts.isFunctionLike(node)) return false;
  return node.forEachChild((child) => holds(child, isWanted)) ?? false;
}
