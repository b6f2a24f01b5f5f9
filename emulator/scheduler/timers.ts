/** One-shot timers on virtual time, earliest first; equal deadlines fire in the order they were set. */
import type { Turn } from './turn.ts';

export interface Timer {
  /** Nanoseconds of virtual time. */
  readonly deadline: number;
}

interface Entry extends Timer {
  readonly sequence: number;
  readonly fire: () => void;
  isCancelled: boolean;
}

export class TimerQueue {
  /** The first one is not cancelled. */
  #heap: Entry[] = [];
  #sequence = 0;
  #cancelled = 0;
  #next = Number.POSITIVE_INFINITY;
  readonly #turn: Turn;

  /** `turn`: who acts has to look when the next timer is another one. */
  constructor(turn: Turn = { isValid: false }) {
    this.#turn = turn;
  }

  /** At `deadline`, of which a guest may name more nanoseconds than anything lasts. */
  set(deadline: bigint | number, fire: () => void): Timer {
    const entry: Entry = { deadline: Number(deadline), fire, sequence: this.#sequence++, isCancelled: false };
    this.#heap.push(entry);
    this.#siftUp(this.#heap.length - 1);
    this.#firstChanged();
    return entry;
  }

  /** Harmless on one that has fired. */
  cancel(timer: Timer): void {
    const entry = timer as Entry;
    if (entry.isCancelled) return;
    entry.isCancelled = true;
    if (++this.#cancelled > 64 && this.#cancelled > this.#heap.length / 2) this.#dropCancelled();
    this.#firstChanged();
  }

  /** Deadline of the next timer that will fire; Infinity: none is set. */
  next(): number {
    return this.#next;
  }

  /** It may have. */
  #firstChanged(): void {
    while (this.#heap[0]?.isCancelled) {
      this.#pop();
      this.#cancelled--;
    }
    const next = this.#heap[0]?.deadline ?? Number.POSITIVE_INFINITY;
    if (next === this.#next) return;
    this.#next = next;
    this.#turn.isValid = false;
  }

  /** Fires all that are due at `now`, in order; a callback may set new ones. */
  fireDue(now: number): void {
    while (this.#next <= now) {
      const entry = this.#pop();
      entry.isCancelled = true;
      this.#firstChanged();
      entry.fire();
    }
  }

  /** A guest that sets and stops far-off timers for ever costs no more memory than it has timers. */
  #dropCancelled(): void {
    const live = this.#heap.filter((entry) => !entry.isCancelled);
    this.#heap = [];
    this.#cancelled = 0;
    for (const entry of live) {
      this.#heap.push(entry);
      this.#siftUp(this.#heap.length - 1);
    }
  }

  #isBefore(a: Entry, b: Entry): boolean {
    return a.deadline !== b.deadline ? a.deadline < b.deadline : a.sequence < b.sequence;
  }

  #pop(): Entry {
    const heap = this.#heap;
    const top = heap[0]!;
    const last = heap.pop()!;
    if (heap.length > 0) {
      heap[0] = last;
      this.#siftDown(0);
    }
    return top;
  }

  #siftUp(index: number): void {
    const heap = this.#heap;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#isBefore(heap[index]!, heap[parent]!)) return;
      [heap[index], heap[parent]] = [heap[parent]!, heap[index]!];
      index = parent;
    }
  }

  #siftDown(index: number): void {
    const heap = this.#heap;
    for (;;) {
      let least = index;
      for (const child of [2 * index + 1, 2 * index + 2]) {
        if (child < heap.length && this.#isBefore(heap[child]!, heap[least]!)) least = child;
      }
      if (least === index) return;
      [heap[index], heap[least]] = [heap[least]!, heap[index]!];
      index = least;
    }
  }
}
