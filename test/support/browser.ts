// A real browser, where this machine has one.
import { access } from 'node:fs/promises';
import { chromium, type Browser } from 'playwright-core';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const FLAGS = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
];

/** Starts the browser that SENSORCTL_TEST_CHROMIUM names, or the system's; or says why there is none. */
export async function startBrowser(): Promise<Browser | { readonly missing: string }> {
  const named = process.env.SENSORCTL_TEST_CHROMIUM;
  for (const executablePath of named === undefined ? PLACES : [named]) {
    const isThere = await access(executablePath).then(
      () => true,
      () => false,
    );
    if (isThere) return await chromium.launch({ executablePath, args: FLAGS });
  }
  return { missing: 'no Chromium found; SENSORCTL_TEST_CHROMIUM names its program' };
}
