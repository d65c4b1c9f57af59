// The last snapshots. They count from when the proxy began; what a second brought is a difference.

const KEPT = 12;

export class History {
  #snapshots = [];

  /** Forget all: what comes next may be another process. */
  clear() {
    this.#snapshots = [];
  }

  add(snapshot) {
    this.#snapshots.push(snapshot);
    if (this.#snapshots.length > KEPT) this.#snapshots.shift();
  }

  /** How much `read(snapshot)` grew a second, over the last few. */
  rate(read, over = 3) {
    const first = this.#snapshots.at(-1 - over) ?? this.#snapshots[0];
    return growth(first, this.#snapshots.at(-1), read);
  }

  /** How much each of the numbers that `read(snapshot)` gives has grown in so many snapshots. */
  growth(read, over) {
    const first = read(this.#snapshots.at(-1 - over) ?? this.#snapshots[0]);
    return read(this.#snapshots.at(-1)).map((number, index) => number - first[index]);
  }

  /** Whether there is a snapshot before the last one, from which rates follow. */
  get hasRates() {
    return this.#snapshots.length > 1;
  }
}

function growth(first, last, read) {
  const passed = last.at_seconds - first.at_seconds;
  return passed > 0 ? Math.max(0, read(last) - read(first)) / passed : 0;
}
