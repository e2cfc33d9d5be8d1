import { setTimeout as sleep } from 'node:timers/promises';

import { createRandom } from '../../src/lib/domain/random.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import type { ChaosStage } from './stage.js';

/** More than the minute below which the ledger joins readings to one range: an entry covers its own readings alone. */
export const SPACING_MS = 150_000;

const TICK_MS = 100;
const SENT_AGAIN = 0.1;
const POISONED = 0.005;

/** Sends generated telemetry at a rate, some of it twice and some that no database takes. */
export class Load {
  readonly #sent: string[] = [];
  readonly #random: () => number;
  readonly #bodies: Iterator<string>;
  #poisons = 0;
  #deliveries = 0;

  constructor(
    private readonly stage: Pick<ChaosStage, 'send'>,
    private readonly options: { readonly seed: number; readonly rate: number; readonly bodies?: Iterator<string> },
  ) {
    const { seed, bodies } = options;
    this.#random = createRandom(seed);
    this.#bodies = bodies ?? generateTelemetry({ seed, count: Infinity, spacingMs: SPACING_MS });
  }

  /** Every body sent so far, each once. */
  get bodies(): readonly string[] {
    return this.#sent;
  }

  /** Messages on the queue so far, those sent again included. */
  get deliveries(): number {
    return this.#deliveries;
  }

  async run(signal: AbortSignal): Promise<void> {
    const startedAt = performance.now();
    while (!signal.aborted) {
      const due = ((performance.now() - startedAt) / 1000) * this.options.rate;
      const bodies = Array.from({ length: Math.ceil(due - this.#deliveries) }, () => this.#next());
      await this.stage.send(bodies);
      this.#deliveries += bodies.length;
      await sleep(TICK_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  #next(): string {
    const draw = this.#random();
    const known = this.#sent[Math.floor(this.#random() * this.#sent.length)];
    if (draw < SENT_AGAIN && known !== undefined) return known;
    const body = draw < SENT_AGAIN + POISONED ? poison((this.#poisons += 1)) : (this.#bodies.next().value as string);
    this.#sent.push(body);
    return body;
  }
}

const RECEIVED = '2025-06-01T00:00:00Z';

/** What a device or an attacker may send, and no column holds; now and then something odd that is fine. */
export function poison(index: number): string {
  const weather = { timestamp: RECEIVED, sensorType: 'weather', sensorId: `POISON-${index}`, data: {} };
  const water = { ...weather, sensorType: 'water-level', data: { level: 10, timestamp: 1_748_736_000 + index } };
  const kinds = [
    { ...weather, sensorId: `NUL-${index}-\0` },
    { ...weather, sensorId: `${'long'.repeat(70)}-${index}` },
    { ...weather, data: { text: `NUL ${index} \0` } },
    { ...weather, data: { text: `half a pair ${index} \ud800` } },
    { ...weather, timestamp: '1970-01-01T00:00:00Z' },
    { ...water, data: { ...water.data, level: 1e300 } },
    { ...water, data: { ...water.data, RSSI: 2 ** 40 } },
    { ...water, data: { ...water.data, voltage: 'Infinity' } },
    [index],
  ];
  return JSON.stringify(kinds[index % kinds.length]);
}
