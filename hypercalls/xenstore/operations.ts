/**
 * What each request of the wire protocol does, a row each: arguments cut out of the message, the work handed to nodes.ts and
 * the connection, the answer's bytes or the name of an error. Checks are made in the order of C xenstored, which shows in
 * the error when several are due. xen:docs/misc/xenstore.txt, xen:tools/xenstore/xenstored_core.c wire_funcs.
 */
import { bytesText, textBytes } from './bytes.ts';
import type { Connection } from './connection.ts';
import { getNode, MAX_PERMISSIONS, MAX_TRANSACTIONS, MAX_WATCHES, makeNode, removeNode, setPermissions, writeNode } from './nodes.ts';
import { absolutePath, domainPath, isValidPath } from './path.ts';
import { formatPermission, type Permission, parsePermission } from './permissions.ts';
import { Transaction } from './transaction.ts';
import type { Node, View } from './tree.ts';
import type { XsError } from './wire.ts';
import * as wire from './wire.ts';

interface Request {
  readonly connection: Connection;
  readonly view: View;
  readonly transactionId: number;
  readonly body: Uint8Array;
}

type Answer = Uint8Array | XsError;

interface Operation {
  readonly perform: (request: Request) => Answer;
  /** After the answer to a success. */
  readonly afterwards?: (connection: Connection) => void;
  /** Never part of a transaction: its number is not even looked at. */
  readonly ignoresTransaction?: boolean;
}

const OK = textBytes('OK\0');

const acknowledge = (error: XsError | undefined): Answer => error ?? OK;

/** The strings up to each NUL; bytes after the last NUL are dropped. */
const strings = (body: Uint8Array): string[] => bytesText(body).split('\0').slice(0, -1);

/** The body as one string with its NUL at the end and nowhere else. */
function onlyString(body: Uint8Array): string | undefined {
  return body.length > 0 && body.indexOf(0) === body.length - 1 ? bytesText(body.subarray(0, -1)) : undefined;
}

/** The digits at the start of the text, as C's atoi put into an unsigned int. */
function leadingNumber(text: string): number {
  const digits = /^[ \t\n\v\f\r]*([-+]?\d+)/.exec(text)?.[1] ?? '0';
  return Number(BigInt.asUintN(32, BigInt(digits.replace('+', ''))));
}

function pathArgument({ connection, body }: Request): string | undefined {
  const path = onlyString(body);
  return path === undefined ? undefined : absolutePath(path, connection.domid);
}

function readable(request: Request, answer: (node: Node) => Uint8Array): Answer {
  const path = pathArgument(request);
  const node = path === undefined ? 'EINVAL' : getNode(request.view, request.connection, path, 'read');
  return typeof node === 'string' ? node : answer(node);
}

const childList = (node: Node): string => node.children.map((name) => `${name}\0`).join('');

function directoryPart({ connection, view, body }: Request): Answer {
  const words = strings(body);
  if (words.length !== 2) return 'EINVAL';
  const node = getNode(view, connection, absolutePath(words[0]!, connection.domid), 'read');
  if (typeof node === 'string') return node;
  const offset = leadingNumber(words[1]!);
  const generation = `${node.generation}\0`;
  const list = childList(node);
  if (offset >= list.length) return textBytes(`${generation}\0`);
  const room = wire.XENSTORE_PAYLOAD_MAX - generation.length - 1;
  const rest = list.slice(offset);
  const part = rest.length <= room ? `${rest}\0` : rest.slice(0, rest.lastIndexOf('\0', room - 1) + 1);
  return textBytes(generation + part);
}

function write({ connection, view, body }: Request): Answer {
  const end = body.indexOf(0);
  if (end < 0) return 'EINVAL';
  const path = absolutePath(bytesText(body.subarray(0, end)), connection.domid);
  return acknowledge(writeNode(view, connection, path, body.slice(end + 1)));
}

function remove(request: Request): Answer {
  const path = pathArgument(request);
  return path === undefined ? 'EINVAL' : acknowledge(removeNode(request.view, request.connection, path));
}

function makeDirectory(request: Request): Answer {
  const path = pathArgument(request);
  return path === undefined ? 'EINVAL' : acknowledge(makeNode(request.view, request.connection, path));
}

function changePermissions({ connection, view, body }: Request): Answer {
  const [path = '', ...words] = strings(body);
  if (words.length === 0) return 'EINVAL';
  if (words.length > MAX_PERMISSIONS) return 'ENOSPC';
  const permissions: Permission[] = [];
  for (const word of words) {
    const permission = parsePermission(word);
    if (permission === undefined) return 'EINVAL';
    permissions.push(connection.store.asOfNow(permission));
  }
  if (permissions[0]!.isIgnored) return 'ENOENT';
  if (path.startsWith('@')) return 'ENOENT';
  return acknowledge(setPermissions(view, connection, absolutePath(path, connection.domid), permissions));
}

function watch({ connection, body }: Request): Answer {
  const words = strings(body);
  if (words.length !== 2) return 'EINVAL';
  const [given, token] = words as [string, string];
  const path = absolutePath(given, connection.domid);
  if (path.startsWith('@') ? path.length > wire.XENSTORE_REL_PATH_MAX : !isValidPath(path)) return 'EINVAL';
  if (connection.watches.some((other) => other.path === path && other.token === token)) return 'EEXIST';
  if (connection.watches.length > MAX_WATCHES) return 'E2BIG';
  const hiddenSize = path === given ? 0 : domainPath(connection.domid).length + 1;
  connection.watch({ path, token, hiddenSize });
  return OK;
}

/** A watch fires once as it begins. */
function fireNewest({ watches }: Connection): void {
  const newest = watches.at(-1)!;
  newest.fire(newest.path);
}

function unwatch({ connection, body }: Request): Answer {
  const words = strings(body);
  if (words.length !== 2) return 'EINVAL';
  const path = absolutePath(words[0]!, connection.domid);
  const index = connection.watches.findIndex((other) => other.path === path && other.token === words[1]);
  if (index < 0) return 'ENOENT';
  connection.watches.splice(index, 1);
  return OK;
}

function startTransaction({ connection, transactionId }: Request): Answer {
  if (transactionId !== 0) return 'EBUSY';
  if (connection.transactions.size > MAX_TRANSACTIONS) return 'ENOSPC';
  return textBytes(`${connection.startTransaction()}\0`);
}

function endTransaction({ connection, view, transactionId, body }: Request): Answer {
  const verdict = onlyString(body);
  if (verdict !== 'T' && verdict !== 'F') return 'EINVAL';
  if (!(view instanceof Transaction)) return 'ENOENT';
  connection.transactions.delete(transactionId);
  return verdict === 'T' ? acknowledge(view.commit()) : OK;
}

function resetWatches({ connection }: Request): Answer {
  connection.reset();
  return OK;
}

function withDomid({ body }: Request, answer: (domid: number) => Answer): Answer {
  const text = onlyString(body);
  return text === undefined ? 'EINVAL' : answer(leadingNumber(text));
}

/** The toolstack's requests. The host does these things by XenStore's methods; no domain has the right. */
const forbidden: Operation = { perform: () => 'EACCES', ignoresTransaction: true };

/** One row a request type. XS_WATCH_EVENT and XS_ERROR only go the other way. */
// biome-ignore format: a table
export const operations: Readonly<Record<number, Operation>> = {
  [wire.XS_DIRECTORY]:            { perform: (request) => readable(request, (node) => textBytes(childList(node))) },
  [wire.XS_READ]:                 { perform: (request) => readable(request, (node) => node.value) },
  [wire.XS_GET_PERMS]:            { perform: (request) => readable(request, (node) => textBytes(node.permissions.map((entry) => `${formatPermission(entry)}\0`).join(''))) },
  [wire.XS_WATCH]:                { perform: watch, ignoresTransaction: true, afterwards: fireNewest },
  [wire.XS_UNWATCH]:              { perform: unwatch, ignoresTransaction: true },
  [wire.XS_TRANSACTION_START]:    { perform: startTransaction },
  [wire.XS_TRANSACTION_END]:      { perform: endTransaction },
  [wire.XS_GET_DOMAIN_PATH]:      { perform: (request) => withDomid(request, (domid) => textBytes(`${domainPath(domid)}\0`)) },
  [wire.XS_WRITE]:                { perform: write },
  [wire.XS_MKDIR]:                { perform: makeDirectory },
  [wire.XS_RM]:                   { perform: remove },
  [wire.XS_SET_PERMS]:            { perform: changePermissions },
  [wire.XS_RESET_WATCHES]:        { perform: resetWatches },
  [wire.XS_DIRECTORY_PART]:       { perform: directoryPart },
  [wire.XS_CONTROL]:              forbidden,
  [wire.XS_INTRODUCE]:            forbidden,
  [wire.XS_RELEASE]:              forbidden,
  [wire.XS_IS_DOMAIN_INTRODUCED]: forbidden,
  [wire.XS_RESUME]:               forbidden,
  [wire.XS_SET_TARGET]:           forbidden,
};
