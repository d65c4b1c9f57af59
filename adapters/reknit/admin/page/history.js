// The last snapshots. They count from when the proxy began; what a second brought is a difference.

const KEPT = 121;

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

  /** The same from each snapshot to the next. */
  rates(read) {
    return this.#snapshots.slice(1).map((snapshot, before) =>
      growth(this.#snapshots[before], snapshot, read));
  }
}

function growth(first, last, read) {
  const passed = last.at_seconds - first.at_seconds;
  return passed > 0 ? Math.max(0, read(last) - read(first)) / passed : 0;
}
