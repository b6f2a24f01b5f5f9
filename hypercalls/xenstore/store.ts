/**
 * The store as the host has it: the toolstack's end, with domain 0's rights and no wire in between. It owns the tree, knows
 * the domains, and tells everybody's watches what changed. Guests come through connection.ts.
 * A path that the host makes up wrongly is a bug of the host, so these calls throw where a guest would get an error.
 */

import { bytesText, textBytes } from './bytes.ts';
import type { Connection } from './connection.ts';
import { type Actor, getNode, makeNode, removeNode, setPermissions, writeNode } from './nodes.ts';
import { isAtOrBelow, parentPath } from './path.ts';
import { formatPermission, type Permission, parsePermission, rightsOf } from './permissions.ts';
import { type Change, type Node, Tree } from './tree.ts';
import type { XsError } from './wire.ts';

export interface Watch {
  readonly path: string;
  readonly token: string;
  readonly fire: (changed: string) => void;
}

export interface SavedNode {
  readonly path: string;
  readonly value: Uint8Array;
  readonly permissions: readonly Permission[];
}

const HOST: Actor = { domid: 0 };

export class XenStore {
  readonly tree = new Tree((change) => this.#changed(change));
  readonly connections = new Set<Connection>();
  readonly #hostWatches: Watch[] = [];
  readonly #introduced = new Set([0]);
  constructor() {
    for (const path of ['/tool/xenstored', '/local/domain/0']) this.mkdir(path);
  }

  /** A character a byte. */
  read(path: string): string | undefined {
    const node = this.#find(path);
    return node && bytesText(node.value);
  }

  /** Text becomes UTF-8. Makes what is missing above it, too. */
  write(path: string, value: string | Uint8Array): void {
    succeed(writeNode(this.tree, HOST, path, typeof value === 'string' ? encodeUtf8(value) : value.slice()), path);
  }

  mkdir(path: string): void {
    succeed(makeNode(this.tree, HOST, path), path);
  }

  rm(path: string): void {
    const error = removeNode(this.tree, HOST, path);
    if (error !== 'ENOENT') succeed(error, path);
  }

  directory(path: string): string[] | undefined {
    return this.#find(path)?.children.slice();
  }

  getPermissions(path: string): string[] | undefined {
    return this.#find(path)?.permissions.map(formatPermission);
  }

  setPermissions(path: string, permissions: readonly string[]): void {
    const parsed = permissions.map((text) => this.asOfNow(parsePermission(text) ?? fail('EINVAL', `${path} ${text}`)));
    succeed(setPermissions(this.tree, HOST, path, parsed), path);
  }

  /** The nodes at and below `path`, each behind the one that it is in, as plain data. */
  saveTree(path: string): SavedNode[] {
    const node = this.#find(path);
    if (node === undefined) return [];
    const { value, permissions, children } = node;
    return [{ path, value, permissions }, ...children.flatMap((name) => this.saveTree(`${path}/${name}`))];
  }

  loadTree(nodes: readonly SavedNode[]): void {
    for (const { path, value, permissions } of nodes) {
      this.write(path, value);
      succeed(setPermissions(this.tree, HOST, path, permissions), path);
    }
  }

  /** Calls `changed` now and at each change at or below `path`, until the function it returns is called. */
  watch(path: string, changed: (path: string) => void): () => void {
    const watch = { path, token: '', fire: changed };
    this.#hostWatches.push(watch);
    changed(path);
    return () => {
      const index = this.#hostWatches.indexOf(watch);
      if (index >= 0) this.#hostWatches.splice(index, 1);
    };
  }

  /** The domain exists from now on: tells the watches of `@introduceDomain`. */
  introduce(domid: number): void {
    this.#introduced.add(domid);
    this.#changed({ path: '@introduceDomain', isExact: true });
  }

  /** The domain is gone: tells the watches of `@releaseDomain`. Its nodes stay until somebody removes them. */
  release(domid: number): void {
    this.#introduced.delete(domid);
    this.#changed({ path: '@releaseDomain', isExact: true });
  }

  /** A permission as it counts when set now: one for a domain that does not exist says nothing to a later one of that number. */
  asOfNow(permission: Permission): Permission {
    return this.#introduced.has(permission.domid) ? permission : { ...permission, isIgnored: true };
  }

  #find(path: string): Node | undefined {
    const node = getNode(this.tree, HOST, path, 'read');
    return typeof node === 'string' ? undefined : node;
  }

  #changed(change: Change): void {
    this.#tell(HOST, this.#hostWatches, change);
    for (const connection of this.connections) this.#tell(connection, connection.watches, change);
  }

  #tell(actor: Actor, watches: readonly Watch[], change: Change): void {
    const heard = watches.filter(({ path }) => (change.isExact ? path === change.path : isAtOrBelow(change.path, path)));
    if (heard.length > 0 && this.#mayHear(actor, change)) for (const watch of heard) watch.fire(change.path);
  }

  /** Who could read the node before or can now, or can read the node above it; of domains, which are no nodes, only the host. */
  #mayHear(actor: Actor, { path, oldPermissions }: Change): boolean {
    if (path.startsWith('@')) return actor === HOST;
    const own = [oldPermissions, this.tree.find(path)?.permissions].filter((permissions) => permissions !== undefined);
    const above = this.tree.find(parentPath(path))?.permissions;
    return own.length > 0 && [...own, ...(above ? [above] : [])].some((permissions) => rightsOf(actor.domid, permissions).read);
  }
}

function fail(error: XsError, what: string): never {
  throw new Error(`bug: the host's own xenstore access failed with ${error}: ${what}`);
}

function succeed(error: XsError | undefined, what: string): void {
  if (error !== undefined) fail(error, what);
}

function encodeUtf8(text: string): Uint8Array {
  return textBytes(encodeURIComponent(text).replace(/%(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))));
}
