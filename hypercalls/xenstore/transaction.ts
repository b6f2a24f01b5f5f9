/**
 * A transaction: a view of the tree that keeps what it has seen and what it changed to itself until it ends. A node is fixed
 * from the first look at it; the end fails with EAGAIN when any node that was looked at (writing one looks at it first) is no
 * longer the same. xen:tools/xenstore/xenstored_transaction.c.
 */
import { type Change, type Content, Entries, type Node, type Tree, type View } from './tree.ts';
import type { XsError } from './wire.ts';

interface Access {
  readonly original: Node | undefined;
  node: Node | undefined;
  isModified: boolean;
  change?: Change;
}

/** What it has seen and changed, as plain data. */
export type SavedTransaction = readonly {
  readonly path: string;
  readonly original: Content | undefined;
  /** The original is still the tree's. */
  readonly isFresh: boolean;
  /** What the transaction has made of it. */
  readonly node: Content | undefined;
  readonly isModified: boolean;
  readonly change: Change | undefined;
}[];

/** Of nodes that are not the tree's. */
const NO_GENERATION = -1;
const asNode = (content: Content | undefined): Node | undefined => content && { ...content, generation: NO_GENERATION };
const contentOf = (node: Node | undefined): Content | undefined =>
  node && { value: node.value, permissions: node.permissions, children: node.children };

export class Transaction implements View {
  readonly #tree: Tree;
  readonly #maxAccesses: number;
  /** In the order of the first look. */
  readonly #accesses = new Map<string, Access>();
  readonly #entries = new Entries();

  constructor(tree: Tree, maxAccesses: number) {
    this.#tree = tree;
    this.#maxAccesses = maxAccesses;
  }

  get(path: string): Node | XsError {
    if (!this.#accesses.has(path) && this.#accesses.size >= this.#maxAccesses) return 'ENOSPC';
    return this.#access(path).node ?? 'ENOENT';
  }

  put(path: string, content: Content): void {
    this.#replace(path, { ...content, generation: NO_GENERATION });
  }

  remove(path: string): void {
    this.#replace(path, undefined);
  }

  /** The transaction's own nodes are counted when it ends. */
  hasRoomFor(domid: number): boolean {
    return this.#tree.hasRoomFor(domid, 1);
  }

  changed(change: Change): void {
    this.#access(change.path).change = change;
  }

  /** Makes the changes real and tells the watches, unless there is no room or somebody else was faster. */
  commit(): XsError | undefined {
    for (const [domid, count] of this.#entries.counts) {
      if (domid !== 0 && count > 0 && !this.#tree.hasRoomFor(domid, count)) return 'ENOSPC';
    }
    for (const [path, { original }] of this.#accesses) {
      if (this.#tree.find(path)?.generation !== original?.generation) return 'EAGAIN';
    }
    for (const [path, { node, isModified }] of this.#accesses) {
      if (isModified && node !== undefined) this.#tree.put(path, node);
      else if (isModified) this.#tree.remove(path);
    }
    for (const { original, change } of this.#accesses.values()) {
      if (change === undefined) continue;
      const { path, isExact } = change;
      this.#tree.changed({ path, isExact, ...(original && { oldPermissions: original.permissions }) });
    }
    return undefined;
  }

  save(): SavedTransaction {
    return [...this.#accesses].map(([path, { original, node, isModified, change }]) => ({
      path,
      original: contentOf(original),
      isFresh: this.#tree.find(path)?.generation === original?.generation,
      node: contentOf(node),
      isModified,
      change,
    }));
  }

  /** Into a new one; its tree has the saved nodes again. */
  load(saved: SavedTransaction): void {
    for (const { path, original: seen, isFresh, node: made, isModified, change } of saved) {
      const original = isFresh ? this.#tree.find(path) : asNode(seen);
      const node = isModified ? asNode(made) : original;
      this.#accesses.set(path, { original, node, isModified, ...(change && { change }) });
      this.#entries.replace(original, node);
    }
  }

  #access(path: string): Access {
    let access = this.#accesses.get(path);
    if (access === undefined) {
      const original = this.#tree.find(path);
      access = { original, node: original, isModified: false };
      this.#accesses.set(path, access);
    }
    return access;
  }

  #replace(path: string, node: Node | undefined): void {
    const access = this.#access(path);
    this.#entries.replace(access.node, node);
    access.node = node;
    access.isModified = true;
  }
}
