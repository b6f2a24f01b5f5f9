/** A domain's console as people come and go: what it prints while nobody looks is kept for the first who does, as a pty does. */

export interface ConsoleViewer {
  output(bytes: Uint8Array): void;
  /** The domain is gone. */
  end(): void;
}

/** As many bytes as xenconsoled keeps by default (the node console/limit). */
const LIMIT = 1_048_576;

export class ConsoleTap {
  readonly #viewers = new Set<ConsoleViewer>();
  #unseen: Uint8Array[] = [];
  #unseenSize = 0;

  output(bytes: Uint8Array): void {
    for (const viewer of this.#viewers) viewer.output(bytes);
    if (this.#viewers.size > 0) return;
    this.#unseen.push(bytes);
    this.#unseenSize += bytes.length;
    while (this.#unseenSize > LIMIT) this.#unseenSize -= this.#unseen.shift()!.length;
  }

  /** Until the function that it returns is called. */
  view(viewer: ConsoleViewer): () => void {
    this.#viewers.add(viewer);
    for (const bytes of this.#unseen) viewer.output(bytes);
    this.#unseen = [];
    this.#unseenSize = 0;
    return () => void this.#viewers.delete(viewer);
  }

  end(): void {
    for (const viewer of this.#viewers) viewer.end();
    this.#viewers.clear();
  }
}
