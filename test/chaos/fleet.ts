import type { CliSettings, RunningCli } from '../support/cli.js';
import type { ChaosStage } from './stage.js';

/** Logged with the first batch that a consumer commits. */
const AT_WORK = 'Local write successful';
const STOPPED_CODES = [0, 3];
const UNREACHABLE = 3;

/** Several consumers as processes of their own; one that ends by itself, or not as it should, is a violation. */
export class Fleet {
  readonly violations: string[] = [];
  readonly #members: RunningCli[] = [];
  readonly #dismissed = new Set<RunningCli>();
  readonly #endings: Promise<void>[] = [];
  readonly #killedPids: number[] = [];
  #isOver = false;

  constructor(
    private readonly stage: ChaosStage,
    private readonly onViolation: () => void,
  ) {}

  get size(): number {
    return this.#members.length;
  }

  get killedPids(): readonly number[] {
    return this.#killedPids;
  }

  async add(): Promise<void> {
    const member = await this.stage.consume();
    this.#members.push(member);
    this.#endings.push(this.#follow(member));
  }

  /** A consumer beside the members with settings of its own, for as long as `work` takes; then it is asked to stop. */
  async withGuest(settings: CliSettings, work: () => Promise<void>): Promise<RunningCli> {
    const guest = await this.stage.consume(undefined, settings);
    this.#dismissed.add(guest);
    this.#endings.push(this.#follow(guest));
    await work();
    guest.kill('SIGTERM');
    return guest;
  }

  /** Kills a member with -9, and puts another in its place. */
  async kill(index: number): Promise<void> {
    const member = this.#take(index);
    if (member?.pid !== undefined) this.#killedPids.push(member.pid);
    member?.kill('SIGKILL');
    await this.add();
  }

  /** Asks a member to stop, and puts another in its place; how it ended is looked at when it has. */
  async replace(index: number): Promise<void> {
    this.#take(index)?.kill('SIGTERM');
    await this.add();
  }

  /** Asks all to stop; resolves when every consumer ever started has ended. */
  async dismiss(): Promise<void> {
    while (this.#members.length > 0) this.#take(0)?.kill('SIGTERM');
    while (this.#endings.length > 0) await Promise.all(this.#endings.splice(0));
  }

  /** Ends all at once, whatever they do. */
  async abandon(): Promise<void> {
    this.#isOver = true;
    for (const member of [...this.#members, ...this.#dismissed]) {
      this.#dismissed.add(member);
      member.kill('SIGKILL');
    }
    await Promise.all(this.#endings);
  }

  #take(index: number): RunningCli | undefined {
    const [member] = this.#members.splice(index, 1);
    if (member !== undefined) this.#dismissed.add(member);
    return member;
  }

  async #follow(member: RunningCli): Promise<void> {
    const { code, stderr } = await member.wait();
    const index = this.#members.indexOf(member);
    if (index !== -1) this.#members.splice(index, 1);
    if (this.#dismissed.has(member)) {
      if (code !== null && !STOPPED_CODES.includes(code)) this.#report(`ended with ${code} when asked to stop`, stderr);
      return;
    }
    // A start while local is away fails; whoever supervises consumers starts them again.
    if (code !== UNREACHABLE || stderr.includes(AT_WORK)) this.#report(`ended by itself with ${String(code)}`, stderr);
    if (!this.#isOver) await this.add();
  }

  #report(what: string, stderr: string): void {
    this.violations.push(`a consumer ${what}; the end of its log:\n${stderr.split('\n').slice(-25).join('\n')}`);
    this.onViolation();
  }
}
