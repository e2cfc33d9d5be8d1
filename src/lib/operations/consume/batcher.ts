/** How much of something there is: items, what they decode to, and the memory that they take. */
export interface Size {
  readonly items: number;
  readonly readings: number;
  readonly bytes: number;
}

interface Sized {
  readonly readings: number;
  readonly bytes: number;
}

/** Gathers items from many pollers into batches that are bounded by number, size and time. */
export class Batcher<Item extends Sized> {
  #items: Item[] = [];
  #size: Size = EMPTY;
  #timer: NodeJS.Timeout | undefined;

  /**
   * `deliver` gets each batch as soon as it is full, or `lingerMs` after its first item. An item that is larger than a
   * whole batch is one by itself.
   */
  constructor(
    private readonly atMost: Size,
    private readonly lingerMs: number,
    private readonly deliver: (batch: Item[]) => void,
  ) {}

  add(item: Item): void {
    if (this.#items.length > 0 && this.#isBeyond(item)) this.flush();
    this.#items.push(item);
    const { items, readings, bytes } = this.#size;
    this.#size = { items: items + 1, readings: readings + item.readings, bytes: bytes + item.bytes };
    if (this.#size.items >= this.atMost.items) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), this.lingerMs);
  }

  /** Delivers what has gathered so far. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#items;
    this.#items = [];
    this.#size = EMPTY;
    if (batch.length > 0) this.deliver(batch);
  }

  #isBeyond({ readings, bytes }: Item): boolean {
    return this.#size.readings + readings > this.atMost.readings || this.#size.bytes + bytes > this.atMost.bytes;
  }
}

const EMPTY: Size = { items: 0, readings: 0, bytes: 0 };
