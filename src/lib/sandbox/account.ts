import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';

import { UnreachableError } from '../errors.js';
import { HELPER_ENVIRONMENT } from './helper-process.js';

/** An entry of the passwd file: initdb refuses a uid that has none. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

export interface AccountOptions {
  /** Names to try first, in this order; then every other unprivileged account of the file. */
  candidates?: readonly string[];
  passwdFile?: string;
  /** The owner of data that exists already: only this account can serve it. */
  ownerUid?: number | undefined;
}

const CANDIDATES = ['postgres', 'nobody', 'daemon', 'www-data'];
const LARGEST_UID = 0xffff_fffe;

/**
 * Returns the account that PostgreSQL shall run under: undefined for an ordinary user (their own), an unprivileged one
 * for root, whom PostgreSQL refuses. Throws UnreachableError where root may not become any of them.
 */
export async function findAccount(options: AccountOptions = {}): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const passwdFile = options.passwdFile ?? '/etc/passwd';
  const accounts = parsePasswd(await readFile(passwdFile, 'utf8'));
  for (const account of orderAccounts(accounts, options)) {
    if (await canEnter('/', account)) return account;
  }
  throw new UnreachableError(
    `PostgreSQL refuses to run as root, and root could not become any unprivileged account of ${passwdFile}.`,
    { code: 'no-account' },
  );
}

/** Returns whether the account (undefined: the current user) exists for the kernel and may enter the directory. */
export async function canEnter(directory: string, account: Account | undefined): Promise<boolean> {
  const identity = account && { uid: account.uid, gid: account.gid };
  const options = { ...identity, cwd: '/', env: HELPER_ENVIRONMENT, stdio: 'ignore' } as const;
  const probe = spawn('/bin/sh', ['-c', 'test -x "$0"', directory], options);
  try {
    const [code] = (await once(probe, 'exit')) as [number | null];
    return code === 0;
  } catch {
    return false; // setuid failed: EPERM or EINVAL in containers without the capability or the mapping
  }
}

/** The unprivileged accounts of a passwd file, in its order. */
export function parsePasswd(text: string): Account[] {
  return text.split('\n').flatMap((line) => {
    const [name, , uid, gid] = line.split(':');
    const account = { name: name ?? '', uid: Number(uid), gid: Number(gid) };
    const usable = account.name !== '' && account.uid > 0 && account.uid < LARGEST_UID && account.gid >= 0;
    return usable ? [account] : [];
  });
}

function orderAccounts(accounts: Account[], { candidates = CANDIDATES, ownerUid }: AccountOptions): Account[] {
  if (ownerUid !== undefined && ownerUid !== 0) return accounts.filter(({ uid }) => uid === ownerUid);
  const named = candidates.flatMap((name) => accounts.find((account) => account.name === name) ?? []);
  return [...new Set([...named, ...accounts])];
}
