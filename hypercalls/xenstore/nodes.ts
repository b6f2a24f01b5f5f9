/**
 * What a domain may do with the nodes of a view: rights, quotas, and which watches hear of it. The view is the tree or a
 * transaction; the operations on the wire (operations.ts) and the host's own (store.ts) come through here.
 * xen:tools/xenstore/xenstored_core.c.
 */
import { isValidPath, lastName, parentPath } from './path.ts';
import { ownerOf, type Permission, type Rights, rightsOf } from './permissions.ts';
import type { Content, Node, View } from './tree.ts';
import type { XsError } from './wire.ts';

/** Quotas of a domain, xenstored's defaults. */
export const MAX_WATCHES = 128;
export const MAX_TRANSACTIONS = 10;
export const MAX_TRANSACTION_NODES = 1024;
export const MAX_PERMISSIONS = 5;
const MAX_NODE_SIZE = 2048;

/** A domain, or the host, which is 0 and may do everything without quota. */
export interface Actor {
  readonly domid: number;
}

const isPrivileged = (actor: Actor): boolean => actor.domid === 0;

const rights = (actor: Actor, node: Node): Rights => rightsOf(actor.domid, node.permissions);

/** The size that the quota looks at: xenstored's record of the node in its data base. */
function recordSize({ value, permissions, children }: Content): number {
  return 24 + 8 * permissions.length + value.length + children.reduce((sum, name) => sum + name.length + 1, 0);
}

const isTooBig = (actor: Actor, content: Content): boolean => !isPrivileged(actor) && recordSize(content) >= MAX_NODE_SIZE;

/** The node if the actor has the right. Who may not see the nearest node there is learns nothing but EACCES. */
export function getNode(view: View, actor: Actor, path: string, right: keyof Rights): Node | XsError {
  if (!isValidPath(path)) return 'EINVAL';
  const node = view.get(path);
  if (typeof node !== 'string') return rights(actor, node)[right] ? node : 'EACCES';
  if (node !== 'ENOENT') return node;
  const ancestor = nearest(view, path);
  return typeof ancestor === 'string' || rights(actor, ancestor)[right] ? node : 'EACCES';
}

function nearest(view: View, path: string): Node | XsError {
  const parent = parentPath(path);
  const node = view.get(parent);
  return node === 'ENOENT' && parent !== '/' ? nearest(view, parent) : node;
}

export function writeNode(view: View, actor: Actor, path: string, value: Uint8Array): XsError | undefined {
  const node = getNode(view, actor, path, 'write');
  if (node === 'ENOENT') return createNode(view, actor, path, value);
  if (typeof node === 'string') return node;
  const content = { ...node, value };
  if (isTooBig(actor, content)) return 'ENOSPC';
  view.put(path, content);
  view.changed({ path, isExact: false });
  return undefined;
}

export function makeNode(view: View, actor: Actor, path: string): XsError | undefined {
  const node = getNode(view, actor, path, 'write');
  if (node === 'ENOENT') return createNode(view, actor, path, new Uint8Array(0));
  return typeof node === 'string' ? node : undefined;
}

/** Makes the node and what is missing above it, all or nothing. They inherit permissions; an unprivileged creator owns them. */
function createNode(view: View, actor: Actor, path: string, value: Uint8Array): XsError | undefined {
  const missing: string[] = [];
  let parent: Node | XsError = 'ENOENT';
  let at = path;
  for (; parent === 'ENOENT'; at = parentPath(at)) {
    missing.unshift(at);
    parent = view.get(parentPath(at));
  }
  if (typeof parent === 'string') return parent;
  if (!isPrivileged(actor) && !view.hasRoomFor(actor.domid, missing.length)) return 'ENOSPC';

  const [owner, ...others] = parent.permissions;
  const permissions = isPrivileged(actor) ? parent.permissions : [{ ...owner!, domid: actor.domid }, ...others];
  const contents: [string, Content][] = [[at, { ...parent, children: [...parent.children, lastName(missing[0]!)] }]];
  missing.forEach((name, i) => {
    const child = missing[i + 1];
    const content = child === undefined ? { value, children: [] } : { value: new Uint8Array(0), children: [lastName(child)] };
    contents.push([name, { ...content, permissions }]);
  });
  if (contents.some(([, content]) => isTooBig(actor, content))) return 'ENOSPC';
  for (const [name, content] of contents) view.put(name, content);
  view.changed({ path, isExact: false });
  return undefined;
}

/** Takes the node and all below it away. */
export function removeNode(view: View, actor: Actor, path: string): XsError | undefined {
  const node = getNode(view, actor, path, 'write');
  if (node === 'ENOENT') return typeof view.get(parentPath(path)) === 'string' ? 'ENOENT' : undefined;
  if (typeof node === 'string') return node;
  if (path === '/') return 'EINVAL';
  const parentName = parentPath(path);
  const parent = view.get(parentName);
  if (typeof parent === 'string') return parent;
  view.put(parentName, { ...parent, children: parent.children.filter((name) => name !== lastName(path)) });
  removeTree(view, path, node, false);
  return undefined;
}

function removeTree(view: View, path: string, node: Node, isExact: boolean): void {
  for (const name of node.children) {
    const child = view.get(`${path}/${name}`);
    if (typeof child !== 'string') removeTree(view, `${path}/${name}`, child, true);
  }
  view.remove(path);
  view.changed({ path, isExact, oldPermissions: node.permissions });
}

export function setPermissions(view: View, actor: Actor, path: string, permissions: readonly Permission[]): XsError | undefined {
  const node = getNode(view, actor, path, 'own');
  if (typeof node === 'string') return node;
  if (!isPrivileged(actor) && ownerOf(permissions) !== ownerOf(node.permissions)) return 'EPERM';
  const content = { ...node, permissions };
  if (isTooBig(actor, content)) return 'ENOSPC';
  view.put(path, content);
  view.changed({ path, isExact: false, oldPermissions: node.permissions });
  return undefined;
}
