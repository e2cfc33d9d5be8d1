import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Plugin } from '@oclif/core';
import { expect } from 'chai';

const ROOT = path.resolve(import.meta.dirname, '../..');

describe('oclif.manifest.json', () => {
  it('is what `npm run manifest` makes of the commands as they are built', async () => {
    const stored: unknown = JSON.parse(readFileSync(path.join(ROOT, 'oclif.manifest.json'), 'utf8'));
    expect(JSON.parse(await createManifest())).to.deep.equal(stored);
  });
});

/** As `oclif manifest` does it, but into memory. */
async function createManifest(): Promise<string> {
  const plugin = new Plugin({
    errorOnManifestCreate: true,
    ignoreManifest: true,
    respectNoCacheDefault: true,
    root: ROOT,
    type: 'core',
  });
  await plugin.load();
  return JSON.stringify(plugin.manifest);
}
