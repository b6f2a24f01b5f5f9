/**
 * Who may do what with a node. The first entry names its owner and what all others may; further entries name single domains.
 * Text form as on the wire: `n0`, `r1`, `w2`, `b3`. xen:tools/xenstore/xenstored_core.c perm_for_conn.
 */

export interface Permission {
  readonly domid: number;
  readonly read: boolean;
  readonly write: boolean;
  /** The domain did not exist when this was set, so it says nothing about a later one of that number. */
  readonly isIgnored?: boolean;
}

/** What a domain may do with one node. */
export interface Rights {
  readonly read: boolean;
  readonly write: boolean;
  readonly own: boolean;
}

export const ALL_RIGHTS: Rights = { read: true, write: true, own: true };

const LETTERS = { n: [false, false], r: [true, false], w: [false, true], b: [true, true] } as const;

/** Like C's strtol with base 0: the whole text must be a number; undefined: it is none. */
function parseDomid(text: string): number | undefined {
  const [, sign, digits] = /^[ \t\n\v\f\r]*([-+]?)(0[xX][0-9a-fA-F]+|\d+)$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const isOctal = /^0\d/.test(digits);
  if (isOctal && !/^[0-7]+$/.test(digits)) return undefined;
  const value = Number(isOctal ? `0o${digits}` : digits);
  return (sign === '-' ? -value : value) >>> 0;
}

export function parsePermission(text: string): Permission | undefined {
  const letter = LETTERS[text[0] as keyof typeof LETTERS];
  const domid = parseDomid(text.slice(1));
  return letter === undefined || domid === undefined ? undefined : { domid, read: letter[0], write: letter[1] };
}

export function formatPermission({ domid, read, write }: Permission): string {
  return `${read ? (write ? 'b' : 'r') : write ? 'w' : 'n'}${domid}`;
}

export const ownerOf = (permissions: readonly Permission[]): number => permissions[0]!.domid;

/** `domid` 0, the toolstack's domain, may do everything; `target` is the domain that `domid` serves (XS_SET_TARGET). */
export function rightsOf(domid: number, permissions: readonly Permission[], target?: number): Rights {
  const isMe = (id: number) => id === domid || id === target;
  if (domid === 0 || isMe(ownerOf(permissions))) return ALL_RIGHTS;
  const own = permissions.find((entry, i) => i > 0 && !entry.isIgnored && isMe(entry.domid)) ?? permissions[0]!;
  return { read: own.read, write: own.write, own: false };
}
