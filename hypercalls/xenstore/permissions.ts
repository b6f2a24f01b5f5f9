/**
 * Who may do what with a node. The first entry names its owner and what all others may; further entries name single domains.
 * Text form as on the wire: `n0`, `r1`, `w2`, `b3`. xen:tools/xenstore/xenstored_core.c perm_for_conn.
 */

export interface Permission {
  readonly domid: number;
  readonly read: boolean;
  readonly write: boolean;
  readonly isIgnored?: boolean;
}

/** What a domain may do with one node. */
export interface Rights {
  readonly read: boolean;
  readonly write: boolean;
  readonly own: boolean;
}

const ALL_RIGHTS: Rights = { read: true, write: true, own: true };

const LETTERS = { n: [false, false], r: [true, false], w: [false, true], b: [true, true] } as const;

/** As C's strtol with base 0 put into an int; undefined: the text is no number. */
function parseDomid(text: string): number | undefined {
  const [, sign, digits] = /^[ \t\n\v\f\r]*([-+]?)(0[xX][0-9a-fA-F]+|\d+)$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const isOctal = /^0\d/.test(digits);
  if (isOctal && !/^[0-7]+$/.test(digits)) return undefined;
  const value = BigInt(isOctal ? `0o${digits}` : digits);
  return Number(BigInt.asIntN(32, sign === '-' ? -value : value));
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

/** Domain 0, the toolstack's, may do everything. */
export function rightsOf(domid: number, permissions: readonly Permission[]): Rights {
  if (domid === 0 || domid === ownerOf(permissions)) return ALL_RIGHTS;
  const own = permissions.find((entry, i) => i > 0 && !entry.isIgnored && entry.domid === domid) ?? permissions[0]!;
  return { read: own.read, write: own.write, own: false };
}
