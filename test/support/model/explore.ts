/** One atomic step that a process may take: the state after it, or null where it cannot be taken. */
export interface Transition<State> {
  /** As it stands in a trace. */
  readonly name: string;
  /** Who takes it. */
  readonly by: string;
  readonly apply: (state: State) => State | null;
}

export interface Invariant<State> {
  readonly name: string;
  readonly holds: (state: State) => boolean;
}

export interface Model<State> {
  readonly initial: State;
  readonly transitions: readonly Transition<State>[];
  readonly invariants: readonly Invariant<State>[];
  /** Equal for two states exactly where they, and all that can follow, are the same but for names. */
  readonly keyOf: (state: State) => string;
}

export interface Violation {
  readonly invariant: string;
  /** The steps that lead from the initial state to the violation; no shorter way leads to one. */
  readonly trace: readonly string[];
}

/**
 * Every state that the model can reach, breadth first, until one violates an invariant. States are named by number, in
 * the order in which they were found; 0 is the initial one.
 */
export function explore<State>(model: Model<State>): Exploration<State> {
  const exploration = new Exploration(model);
  exploration.run();
  return exploration;
}

export class Exploration<State> {
  violation: Violation | null = null;
  readonly #numbers = new Map<string, number>();
  readonly #states: State[] = [];
  /** By state: the one that it was first reached from, and by which transition. */
  readonly #parents: number[] = [];
  readonly #steps: number[] = [];
  /** Of each edge: the two states and the transition. */
  readonly #edges = { from: [] as number[], to: [] as number[], step: [] as number[] };

  constructor(private readonly model: Model<State>) {}

  get size(): number {
    return this.#states.length;
  }

  run(): void {
    this.#visit(this.model.initial, -1, -1);
    const { transitions } = this.model;
    for (let number = 0; number < this.#states.length && this.violation === null; number += 1) {
      const state = this.#states[number]!;
      for (const [step, { apply }] of transitions.entries()) {
        const next = apply(state);
        if (next === null) continue;
        this.#edges.to.push(this.#visit(next, number, step));
        this.#edges.from.push(number);
        this.#edges.step.push(step);
      }
    }
  }

  /** What each state found is under a key of the caller's. */
  keysBy(keyOf: (state: State) => string): ReadonlySet<string> {
    return new Set(this.#states.map(keyOf));
  }

  /** The steps of a shortest way to a state of which `is` is true; null where none is reachable. */
  findTrace(is: (state: State) => boolean): readonly string[] | null {
    const number = this.#states.findIndex(is);
    return number === -1 ? null : this.#traceTo(number);
  }

  /**
   * The steps to a state from which no steps, taken only by those whom `may` names, lead to one of which `is` is true;
   * null where every state has such a way.
   */
  findTrap(is: (state: State) => boolean, may: (by: string) => boolean): readonly string[] | null {
    const sources = this.#sourcesBy(may);
    const escapes = this.#states.map(is);
    const open = [...escapes.keys()].filter((number) => escapes[number]);
    for (let target = open.pop(); target !== undefined; target = open.pop()) {
      for (const source of sources[target] ?? []) {
        if (escapes[source] === true) continue;
        escapes[source] = true;
        open.push(source);
      }
    }
    const trap = escapes.indexOf(false);
    return trap === -1 ? null : this.#traceTo(trap);
  }

  /** By state: those that one step of those whom `may` names leads to it from. */
  #sourcesBy(may: (by: string) => boolean): number[][] {
    const allowed = this.model.transitions.map(({ by }) => may(by));
    const sources: number[][] = this.#states.map(() => []);
    for (const [edge, target] of this.#edges.to.entries()) {
      if (allowed[this.#edges.step[edge]!] === true) sources[target]!.push(this.#edges.from[edge]!);
    }
    return sources;
  }

  #visit(state: State, parent: number, step: number): number {
    const key = this.model.keyOf(state);
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    const number = this.#states.push(state) - 1;
    this.#numbers.set(key, number);
    this.#parents.push(parent);
    this.#steps.push(step);
    const broken = this.model.invariants.find(({ holds }) => !holds(state));
    if (broken !== undefined) this.violation ??= { invariant: broken.name, trace: this.#traceTo(number) };
    return number;
  }

  #traceTo(number: number): string[] {
    const trace: string[] = [];
    for (let at = number; at > 0; at = this.#parents[at]!) {
      trace.unshift(this.model.transitions[this.#steps[at]!]!.name);
    }
    return trace;
  }
}
