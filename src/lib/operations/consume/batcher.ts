/** Gathers items from many pollers into batches, by count and by time. */
export class Batcher<Item> {
  #items: Item[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** `deliver` gets each batch as soon as it holds `maxItems`, or `lingerMs` after its first item. */
  constructor(
    private readonly maxItems: number,
    private readonly lingerMs: number,
    private readonly deliver: (batch: Item[]) => void,
  ) {}

  add(item: Item): void {
    this.#items.push(item);
    if (this.#items.length >= this.maxItems) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), this.lingerMs);
  }

  /** Delivers what has gathered so far. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#items;
    this.#items = [];
    if (batch.length > 0) this.deliver(batch);
  }
}
