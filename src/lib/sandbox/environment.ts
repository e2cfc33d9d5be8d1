/**
 * All that a helper program of the sandbox learns of this process's environment, which holds passwords: nothing. Others of
 * the machine may read what a process of theirs was given.
 */
export const HELPER_ENVIRONMENT: Readonly<Record<string, string>> = { LC_ALL: 'C', TZ: 'UTC', PATH: '/usr/bin:/bin' };
