import { readFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect } from 'chai';
import type { Browser, Page } from 'playwright-core';
import type { MonitorReport } from '../../src/lib/operations/monitor/monitor-report.js';
import type { Snapshot } from '../../src/lib/operations/monitor/monitor-snapshot.js';
import { describeConnection } from '../../src/lib/db/connection.js';
import { findFreePort } from '../../src/lib/sandbox/ports.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { startBrowser } from '../support/browser.js';
import { eventually, REPOSITORY, skipSuite, Stage, type RunningCli } from '../support/cli.js';

const ASSETS = path.join(REPOSITORY, 'dist', 'assets', 'monitoring');

describe('acceptance: monitor', function () {
  this.timeout(90_000);
  let stage: Stage;
  let closedPort: string;
  let consumer: RunningCli;
  let consumerPort: number;
  let monitor: RunningCli;
  let monitorPort: number;
  let webPort: number;

  before(async () => {
    stage = await Stage.open('monitor command');
    await stage.runJson(['init']);
    closedPort = String(await findFreePort());
    [consumerPort, monitorPort, webPort] = [await findFreePort(), await findFreePort(), await findFreePort()];
    // EC2 is out of this consumer's reach, so that there is something to see.
    consumer = await stage.start(
      ['consume', '--dual-write', '--batch-messages', '20', '--metrics-port', String(consumerPort)],
      { EC2_DB_PORT: closedPort },
    );
    await stage.send(generateTelemetry({ seed: 31, count: 300, startMicros: (Date.now() - 20_000) * 1000 }));
    monitor = await stage.start([
      ...['monitor', '--interval', '200ms', '--metrics-port', String(monitorPort)],
      ...['--web', '--web-port', String(webPort)],
    ]);
    await eventually(
      'the consumer tells that it leaves EC2 out',
      async () => {
        const { rowCount } = await stage.local.query(
          "select from sensorctl.consumer where status -> 'breaker' ->> 'state' <> 'closed'",
        );
        return rowCount === 1 && monitor.stdout.includes('breakers=1');
        // A question that took the server 30 ms, on a machine with much else to do, is asked again after 30 s.
      },
      60_000,
    );
  });

  after(async () => {
    for (const running of [consumer, monitor]) running.kill('SIGTERM');
    await Promise.all([consumer.wait(), monitor.wait()]);
    await stage.close();
  });

  it('--once --json is one document: gaps, consumer, rates, queue', async () => {
    const { stdout, stderr, code } = await stage.run(['monitor', '--once', '--json']);
    expect(code, stderr).to.equal(0);
    expect(stdout.trim().split('\n').length).to.equal(1);
    const snapshot = JSON.parse(stdout) as Snapshot;
    expect(snapshot).to.include({ health: 'trouble', writeMode: 'dual-write', phase: null, epoch: 0 });
    expect(snapshot.troubles.map(({ kind }) => kind)).to.include.members(['breaker-open', 'gaps']);
    expect(snapshot.gaps?.readings).to.be.greaterThan(100);
    const [water] = snapshot.tables;
    expect(water?.local?.rows).to.be.greaterThan(100);
    expect(water?.ec2).to.deep.equal({ rows: 0, maxTime: null });
    expect(snapshot.consumers?.[0]).to.include({ pid: consumer.pid, state: 'running', breaker: 'open' });
    expect(snapshot.consumers?.[0]?.lastError?.text).to.match(/ECONNREFUSED/);
    expect(snapshot.queue).to.include({ answers: true, deadLetters: 0 });
    expect(snapshot.sides.local.writeP50Ms).to.be.greaterThan(0);
  });

  it('--once prints the picture; each side may be down, and it says so', async () => {
    for (const [down, says] of [
      [{ EC2_DB_PORT: closedPort }, /EC2 does not answer: what it misses goes to the ledger \(connect ECONNREFUSED/],
      [{ TIMESCALE_PORT: closedPort }, /Local does not answer: messages wait in the queue \(connect ECONNREFUSED/],
    ] as const) {
      const { stdout, code } = await stage.run(['monitor', '--once'], down);
      expect(code).to.equal(0);
      expect(stdout).to.match(says);
      for (const line of stdout.split('\n')) expect(line.length, line).to.be.at.most(80);
    }
  });

  it('--fail-on: 1 where a condition holds or is not known, 0 where none does, 2 where it cannot be', async () => {
    const codeOf = async (text: string, settings = {}): Promise<number | null> =>
      (await stage.run(['monitor', '--once', '--fail-on', text], settings)).code;
    const codes = await Promise.all([
      codeOf('lag>60m,gaps>0'),
      codeOf('lag>60m,dead-letters>0'),
      codeOf('lag>60m', { TIMESCALE_PORT: closedPort }),
      codeOf('lag>60'),
    ]);
    expect(codes).to.deep.equal([1, 0, 1, 2]);
  });

  it('elsewhere than on a terminal: a line a look, no escape sequences; --json a document a line', async () => {
    const lines = monitor.stdout.trim().split('\n');
    expect(lines.length).to.be.greaterThan(2);
    for (const line of lines) expect(line).to.match(/^\d{4}-\d\d-\d\dT\S+Z (healthy|recovering|trouble) +phase=/);
    expect(monitor.stdout).not.to.contain('\u001b');
    const json = await stage.start(['monitor', '--json', '--interval', '200ms', '--no-record']);
    await eventually('three documents', () => Promise.resolve(json.stdout.split('\n').length > 3));
    json.kill('SIGTERM');
    const { code, stdout } = await json.wait();
    expect(code).to.equal(0);
    for (const line of stdout.trim().split('\n')) expect(JSON.parse(line)).to.have.property('health');
  });

  it('the dashboard and the alert rules name no metric that is not served', async () => {
    const served = (await Promise.all([consumerPort, monitorPort].map((port) => readMetricNames(port)))).flat();
    expect(served).to.include.members(['sensorctl_writes_total', 'sensorctl_lag_seconds']);
    for (const file of ['grafana-dashboard.json', 'alert-rules.yml']) {
      const named = new Set((await readFile(path.join(ASSETS, file), 'utf8')).match(/sensorctl_[a-z0-9_]+/g));
      expect(named.size).to.be.greaterThan(10);
      expect(
        [...named].filter((name) => !served.includes(name)),
        file,
      ).to.deep.equal([]);
    }
  });

  it('a metrics port that is taken: 2', async () => {
    const { code, stderr } = await stage.run(['monitor', '--once', '--metrics-port', String(monitorPort)]);
    expect(code).to.equal(2);
    expect(stderr).to.match(/metrics port 127\.0\.0\.1:\d+ cannot be opened/);
  });

  it('the page answers nobody who came by another name', async () => {
    const { request } = await import('node:http');
    const status = await new Promise((resolve) => {
      const options = { host: '127.0.0.1', port: webPort, headers: { host: 'evil.example.org' } };
      request(options, (response) => resolve(response.resume().statusCode)).end();
    });
    expect(status).to.equal(403);
  });

  describe('in a browser', () => {
    let browser: Browser | undefined;
    let directory: string;
    const complaints: string[] = [];
    const requests: string[] = [];

    before(async function () {
      const started = await startBrowser();
      if ('missing' in started) skipSuite(this, started.missing);
      browser = started;
      directory = await mkdtemp(path.join(tmpdir(), 'sensorctl-report-'));
    });

    after(async () => {
      if (browser === undefined) return;
      await browser.close();
      await rm(directory, { recursive: true, force: true });
    });

    async function open(url: string, colorScheme: 'light' | 'dark' = 'light'): Promise<Page> {
      const page = await browser!.newPage({ colorScheme, viewport: { width: 1000, height: 900 } });
      page.on('console', (message) => complaints.push(message.text()));
      page.on('pageerror', (error) => complaints.push(String(error)));
      page.on('request', (each) => requests.push(each.url()));
      await page.goto(url);
      return page;
    }

    it('--web shows the same picture, its plots move, and nothing comes from elsewhere', async () => {
      const page = await open(`http://127.0.0.1:${webPort}/`);
      await page.waitForSelector('.badge.trouble');
      expect(await page.textContent('main'))
        .to.contain('1 of 1 consumer leaves EC2 out')
        .and.to.contain('ECONNREFUSED');
      const pathOf = (): Promise<string | null> => page.getAttribute('figure:nth-of-type(2) path', 'd');
      const before = await pathOf();
      await eventually('the plots move', async () => (await pathOf()) !== before);
      expect(complaints).to.deep.equal([]);
      expect(requests.filter((url) => !url.startsWith(`http://127.0.0.1:${webPort}/`))).to.deep.equal([]);
      await page.close();
    });

    it('--web is a page to read without JavaScript, which is loaded anew by itself', async () => {
      const page = await browser!.newPage({ javaScriptEnabled: false });
      await page.goto(`http://127.0.0.1:${webPort}/`);
      expect(await page.textContent('main'))
        .to.contain('TROUBLE')
        .and.to.contain(`local ${describeConnection(stage.connections.local)}`)
        .and.to.contain('Red band');
      expect(await page.locator('svg').count()).to.equal(4);
      expect(await page.textContent('noscript p')).to.contain('loaded anew every 5 s');
      await page.close();
    });

    it('the report is one file, readable in light and in dark, with plots, incidents and gaps', async () => {
      await eventually('a sample is recorded', async () => {
        return (await stage.local.query("select from sensorctl.sample where 'gaps' = any(troubles)")).rowCount !== 0;
      });
      const file = path.join(directory, 'report.html');
      const report = await stage.runJson<MonitorReport>(['monitor', 'report', '--since', '1h', '--output', file]);
      expect(report.incidents.map(({ kind }) => kind)).to.include.members(['breaker-open', 'gaps']);
      expect(report.gaps.at(-1)).to.include({ closed: null });
      const lacking = report.incidents.find(({ kind }) => kind === 'gaps')?.tables;
      expect(lacking?.[0]?.table).to.equal('water_level_readings');
      expect(lacking?.[0]?.rows).to.be.greaterThan(100);
      requests.length = 0;
      for (const scheme of ['light', 'dark'] as const) {
        const page = await open(pathToFileURL(file).href, scheme);
        expect(await page.locator('svg').count()).to.equal(4);
        expect(await page.locator('svg path[d^="M"]').count()).to.be.greaterThan(3);
        const colors = await page.evaluate<string[]>(
          '(({ color, backgroundColor }) => [color, backgroundColor])(getComputedStyle(document.body))',
        );
        const [text, ground] = colors.map((each) => Number(/\d+/.exec(each)?.[0]));
        expect(scheme === 'light' ? ground! - text! : text! - ground!, scheme).to.be.greaterThan(150);
        expect(await page.evaluate<boolean>('document.documentElement.scrollWidth <= innerWidth')).to.equal(true);
        await page.close();
      }
      expect(requests.filter((url) => !url.startsWith('file:'))).to.deep.equal([]);
      expect(complaints).to.deep.equal([]);
    });
  });
});

/** Of everything served, the samples of histograms too. */
async function readMetricNames(port: number): Promise<string[]> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`);
  expect(response.status).to.equal(200);
  const text = await response.text();
  const announced = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)];
  return announced.flatMap(([, name = '', type]) =>
    type === 'histogram' ? ['_bucket', '_sum', '_count'].map((part) => name + part) : [name],
  );
}
