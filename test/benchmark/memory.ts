import { measureDrain, type Contestant } from './drain.js';
import type { Comparison } from './report.js';
import { SENSORCTL, type Stage } from './stage.js';

const FEW_MESSAGES = 20_000;

const CONSUMER: Contestant = {
  name: 'consume --dual-write',
  args: [SENSORCTL, 'consume', '--dual-write', '--drain', '--json'],
  end: 'by itself',
  fills: ['local', 'ec2'],
};

/** Peak memory of a consumer over very many messages, against the same over a few: it must not grow with them. */
export async function measureMemory({
  stage,
  messages,
  onStep,
}: {
  readonly stage: Stage;
  readonly messages: number;
  readonly onStep: (text: string) => void;
}): Promise<Comparison> {
  const few = await measureDrain(stage, CONSUMER, FEW_MESSAGES);
  const many = await measureDrain(stage, CONSUMER, messages);
  onStep(`${messages} messages: ${Math.round(many.messages / many.seconds)} a second, ${Math.round(many.peakMib)} MiB`);
  return {
    what: `peak memory over ${messages.toLocaleString('en-US')} messages`,
    unit: 'MiB',
    figures: [many.peakMib],
    against: `over ${FEW_MESSAGES.toLocaleString('en-US')}`,
    peers: [few.peakMib],
    target: { atMost: 1.5 },
  };
}
