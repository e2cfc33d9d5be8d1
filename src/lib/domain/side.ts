/** The two databases of a migration. Which of them is the primary depends on the phase. */
export type Side = 'local' | 'ec2';

/** The role of a side in a phase: the primary is written first and decides, the secondary follows it. */
export type Role = 'primary' | 'secondary';

/** Where batches go: to local alone, to the primary and then the secondary, to EC2 alone, or nowhere during a cutover. */
export type WriteMode = 'local-only' | 'dual-write' | 'ec2-only' | 'draining';

const TITLES: Readonly<Record<Side, string>> = { local: 'local', ec2: 'EC2' };

/** How a text names a side: `local`, `EC2`. */
export function sideTitle(side: Side): string {
  return TITLES[side];
}

/** The same at the start of a sentence or a log line: `Local`, `EC2`. */
export function sideTitleCapitalized(side: Side): string {
  return side === 'local' ? 'Local' : 'EC2';
}

export function otherSide(side: Side): Side {
  return side === 'local' ? 'ec2' : 'local';
}
