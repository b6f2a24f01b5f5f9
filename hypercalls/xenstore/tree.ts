/**
 * The nodes of the store, a map from path to node. A node is never changed, only replaced, so whoever holds one holds a
 * snapshot. Neighbours: transaction.ts is the same view with changes held back, nodes.ts is what a domain may do with either.
 */
import { ownerOf, type Permission } from './permissions.ts';
import type { XsError } from './wire.ts';

export interface Node {
  readonly value: Uint8Array;
  readonly permissions: readonly Permission[];
  /** Names of the children in the order in which they came. */
  readonly children: readonly string[];
  /** Unlike that of any other state of any node. */
  readonly generation: number;
}

export type Content = Omit<Node, 'generation'>;

export interface Change {
  readonly path: string;
  /** Heard only by watches on the path itself, not by those above: a child that went with its parent. */
  readonly isExact: boolean;
  /** The permissions before the change, where it changed them or took the node away. */
  readonly oldPermissions?: readonly Permission[];
}

/** The store as one request sees it. */
export interface View {
  get(path: string): Node | XsError;
  put(path: string, content: Content): void;
  remove(path: string): void;
  /** Whether the domain may own `count` nodes more. */
  hasRoomFor(domid: number, count: number): boolean;
  /** Tells the watches: now, or when the transaction ends. */
  changed(change: Change): void;
}

/** Nodes that one domain may own. */
const MAX_ENTRIES = 1000;

/** Counts nodes by owner. */
export class Entries {
  readonly counts = new Map<number, number>();

  replace(before: Content | undefined, after: Content | undefined): void {
    if (before !== undefined) this.add(ownerOf(before.permissions), -1);
    if (after !== undefined) this.add(ownerOf(after.permissions), 1);
  }

  add(domid: number, count: number): void {
    this.counts.set(domid, this.of(domid) + count);
  }

  of(domid: number): number {
    return this.counts.get(domid) ?? 0;
  }
}

export class Tree implements View {
  readonly #nodes = new Map<string, Node>();
  readonly #entries = new Entries();
  readonly #changed: (change: Change) => void;
  #generation = 0;

  constructor(changed: (change: Change) => void) {
    this.#changed = changed;
    this.put('/', { value: new Uint8Array(0), permissions: [{ domid: 0, read: false, write: false }], children: [] });
  }

  find(path: string): Node | undefined {
    return this.#nodes.get(path);
  }

  get(path: string): Node | XsError {
    return this.#nodes.get(path) ?? 'ENOENT';
  }

  put(path: string, { value, permissions, children }: Content): void {
    const node = { value, permissions, children, generation: ++this.#generation };
    this.#entries.replace(this.#nodes.get(path), node);
    this.#nodes.set(path, node);
  }

  remove(path: string): void {
    this.#entries.replace(this.#nodes.get(path), undefined);
    this.#nodes.delete(path);
  }

  hasRoomFor(domid: number, count: number): boolean {
    return this.#entries.of(domid) + count <= MAX_ENTRIES;
  }

  changed(change: Change): void {
    this.#changed(change);
  }
}
