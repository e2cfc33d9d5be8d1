import type { Side } from '../../domain/side.js';
import type { QueueLook } from './queue-watch.js';
import type { LedgerState } from '../../repository/ledger/ledger.js';
import type { LeftOutTable } from '../../repository/compare/plan-tables.js';
import type { ComparisonFigures } from '../../repository/monitor/last-comparison.js';
import type { GapFigures, TableRows, WriterFigures } from '../../repository/monitor/ledger-figures.js';
import type { BackfillFigures } from '../../repository/monitor/running-backfill.js';
import type { DatabaseAddress } from './side-watch.js';
import { TIMES } from '../../timing.js';

/** The kinds of trouble, as samples record them. */
export const TROUBLE_KINDS = [
  'primary-silent',
  'secondary-silent',
  'not-readable',
  'queue-silent',
  'no-consumer',
  'not-receiving',
  'breaker-open',
  'gaps',
  'lag',
  'dead-letters',
  'different',
  'apart',
  'not-handled',
  'partly-tracked',
  'change-overdue',
] as const;

export type TroubleKind = (typeof TROUBLE_KINDS)[number];

/** Something that is wrong, in words. */
export interface Trouble {
  readonly kind: TroubleKind;
  readonly text: string;
  /** Where it is about rows: those of each table. */
  readonly tables: readonly TableRows[];
}

/** How other writers of a table are covered. */
export const TRACKINGS = ['tracked', 'partly tracked', 'untracked'] as const;

/** Entries of other writers in all tables; null where they are not known. */
export function countWriters(writers: Snapshot['writers'], state: 'pending' | 'missed'): number | null {
  return writers?.reduce((sum, figures) => sum + figures[state], 0) ?? null;
}

/** `recovering`: all answer, and what EC2 lacks is being brought there. */
export type Health = 'healthy' | 'recovering' | 'trouble';

export interface SideSnapshot {
  /** Null where the side is not configured. */
  readonly database: DatabaseAddress | null;
  /** Null where the side is not configured. */
  readonly answers: boolean | null;
  readonly problem: string | null;
  /** Writes of the last minute, as the consumers timed them, in ms; null where the side does not answer. */
  readonly writeP50Ms: number | null;
  readonly writeP99Ms: number | null;
  /** Open records. */
  readonly quarantine: number | null;
}

/** How far the counts of both sides are apart, beyond what is on its way, and for how long. */
export interface Apart {
  /** The rows that local has more; negative: less. */
  readonly rows: number;
  readonly seconds: number;
}

/** From then on counts that are apart are trouble: what dual write touches is counted again within seconds. */
export const APART_OF_CONCERN_SECONDS = 10;

/** Rows of the window, and the newest time among them (UTC text); of a table that is not counted those of all times. */
export interface TableFigures {
  readonly rows: number;
  readonly maxTime: string | null;
}

/** A table of the migration. */
export interface TableSnapshot extends Readonly<Record<Side, TableFigures | null>> {
  readonly table: string;
  /** The rows of the window are counted, or those of all times estimated by the servers; null: it cannot be handled. */
  readonly counted: 'window' | 'estimate' | null;
  /** Null where they are not, or not known. */
  readonly apart: Apart | null;
  /** Whether what other programs write to it enters the ledger; null where it is not known. */
  readonly tracking: (typeof TRACKINGS)[number] | null;
  /** It came after the phase was recorded. */
  readonly isNew: boolean;
  /** Why it cannot be handled, why its rows are not counted, or why its triggers are not whole. */
  readonly note: string | null;
}

export interface ConsumerSnapshot {
  readonly consumerId: string;
  readonly host: string;
  readonly pid: number;
  /** `starting`: before its first heartbeat; `lost`: its lease ran out. */
  readonly state: 'running' | 'starting' | 'lost';
  readonly writeMode: string;
  /** Readings a second that it accepts. */
  readonly rate: number | null;
  readonly breaker: 'closed' | 'open' | 'probing' | null;
  readonly messagesInHand: number | null;
  /** Seconds since the queue answered one of its polls, and what it said of the last one that it refused. */
  readonly pollAgeSeconds: number | null;
  readonly pollFailure: string | null;
  /** Its last failed write, and how many seconds ago that was. */
  readonly lastError: { readonly text: string; readonly agoSeconds: number } | null;
}

/** Whether a consumer sends nothing to the secondary, or one batch to try it. */
export function leavesSecondaryOut({ breaker }: Pick<ConsumerSnapshot, 'breaker'>): boolean {
  return breaker === 'open' || breaker === 'probing';
}

/** Whether the queue has answered none of its polls for so long that it counts as not receiving. */
export function receivesNothing({ pollAgeSeconds }: Pick<ConsumerSnapshot, 'pollAgeSeconds'>): boolean {
  return pollAgeSeconds !== null && pollAgeSeconds * 1000 >= TIMES.pollSilenceMs;
}

/** The queue as SQS and the consumers see it. */
interface QueueFigures extends QueueLook {
  /** How long messages of the last minute had waited when consumers received them; SQS itself does not tell. */
  readonly longestWaitSeconds: number | null;
}

/** Everything that one look shows; what is not known is null. One line of `monitor --json`. */
export interface Snapshot {
  /** UTC text, by the clock of the primary where it answers. */
  readonly at: string;
  readonly health: Health;
  readonly troubles: readonly Trouble[];
  /** Null: no phase was ever recorded. */
  readonly phase: 1 | 2 | 3 | null;
  readonly writeMode: string | null;
  readonly epoch: number;
  readonly primary: Side;
  /** How long phase 2 has lasted, and is to last before phase 3; null in any other. */
  readonly soak: { readonly seconds: number; readonly wantedSeconds: number } | null;
  /** A change of the primary that is under way; after its deadline (UTC text) anyone may call it off. */
  readonly change: { readonly targetPhase: number; readonly deadline: string; readonly overdue: boolean } | null;
  readonly windowSeconds: number;
  readonly sides: Readonly<Record<Side, SideSnapshot>>;
  readonly tables: readonly TableSnapshot[];
  /** What does not belong to the migration, and why. */
  readonly leftOut: readonly LeftOutTable[];
  /** Seconds since the commit on the primary of the oldest batch that the secondary has not confirmed and shall have. */
  readonly lagSeconds: number | null;
  readonly ledger: Readonly<Record<LedgerState, number>> | null;
  readonly gaps: GapFigures | null;
  /** What other programs wrote and the secondary has yet to get, by table. */
  readonly writers: readonly WriterFigures[] | null;
  /** In phase 3 what local is left without on purpose, and a rollback would bring there; null where it is kept current. */
  readonly leftBehind: (GapFigures & { readonly seconds: number | null }) | null;
  /** Readings a second: accepted by the primary, and confirmed by the secondary, repairs included. */
  readonly rates: { readonly in: number | null; readonly toSecondary: number | null };
  readonly queue: QueueFigures | null;
  readonly consumers: readonly ConsumerSnapshot[] | null;
  readonly comparison: ComparisonFigures | null;
  /** The newest one that is not finished, and the side that it writes. */
  readonly backfill: (BackfillFigures & { readonly side: Side }) | null;
}
