import { hasChanged } from '../../decoders/load-decoder.js';
import type { UsedDecoder } from '../../decoders/run-decoder.js';
import { repeatEvery, type Repeating } from '../../domain/retry.js';
import type { Logger } from '../../logger.js';
import { TIMES } from '../../timing.js';
import type { DecodedMessage } from './message-batcher.js';

/** Tells the log how often the decoder fails, and that its file is not the one that was loaded. */
export class DecoderWatch {
  #messages = 0;
  #failed = 0;
  #lastReason = '';
  #hasChanged = false;
  #repeating: Repeating | undefined;

  constructor(
    private readonly decoder: UsedDecoder,
    private readonly logger: Logger,
  ) {}

  start(): void {
    this.#repeating = repeatEvery(TIMES.heartbeatMs, () => this.#tell());
  }

  /** Tells what was not told yet. */
  async stop(): Promise<void> {
    await this.#repeating?.stop();
    this.#tellFailures();
  }

  count(decoded: readonly DecodedMessage[]): void {
    this.#messages += decoded.length;
    for (const { failed, faults } of decoded) {
      if (!failed) continue;
      this.#failed += 1;
      this.#lastReason = faults[0]?.reason ?? '';
    }
  }

  async #tell(): Promise<void> {
    this.#tellFailures();
    if (this.#hasChanged || !(await hasChanged(this.decoder))) return;
    this.#hasChanged = true;
    const { path } = this.decoder.file ?? {};
    this.logger.warn('the file of the decoder has changed; this consumer goes on with what it loaded at its start', {
      path,
      next: { code: 'decoder-changed' },
    });
  }

  #tellFailures(): void {
    const [messages, failed] = [this.#messages, this.#failed];
    [this.#messages, this.#failed] = [0, 0];
    if (failed === 0) return;
    const percent = Math.round((failed / messages) * 1000) / 10;
    this.logger.warn('the decoder fails; these messages are in the quarantine', {
      ...{ failed, messages, percent, seconds: TIMES.heartbeatMs / 1000, last: this.#lastReason },
    });
  }
}
