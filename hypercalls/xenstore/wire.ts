/**
 * The words of the xenstore protocol: message types, error names and limits, and where the fields of the shared ring lie.
 * Letter for letter as in xen:public/io/xs_wire.h; who uses them: operations.ts and ring.ts.
 */

// biome-ignore format: a table
export const XS_CONTROL = 0, XS_DIRECTORY = 1, XS_READ = 2, XS_GET_PERMS = 3, XS_WATCH = 4, XS_UNWATCH = 5, XS_TRANSACTION_START = 6,
  XS_TRANSACTION_END = 7, XS_INTRODUCE = 8, XS_RELEASE = 9, XS_GET_DOMAIN_PATH = 10, XS_WRITE = 11, XS_MKDIR = 12, XS_RM = 13,
  XS_SET_PERMS = 14, XS_WATCH_EVENT = 15, XS_ERROR = 16, XS_IS_DOMAIN_INTRODUCED = 17, XS_RESUME = 18, XS_SET_TARGET = 19,
  XS_RESET_WATCHES = 21, XS_DIRECTORY_PART = 22;

/** The names that an XS_ERROR answer may carry. */
export type XsError = 'EINVAL' | 'EACCES' | 'EEXIST' | 'ENOENT' | 'ENOMEM' | 'ENOSPC' | 'ENOSYS' | 'EBUSY' | 'EAGAIN' | 'E2BIG' | 'EPERM';

export const XENSTORE_PAYLOAD_MAX = 4096;
export const XENSTORE_ABS_PATH_MAX = 3072;
export const XENSTORE_REL_PATH_MAX = 2048;

/** struct xsd_sockmsg: type, req_id, tx_id, len, each u32; the payload follows. */
export const xsd_sockmsg_size = 16;

/** struct xenstore_domain_interface. */
export const XENSTORE_RING_SIZE = 1024;
// biome-ignore format: a table
export const xenstore_domain_interface = {
  req: 0,                 // [guest]
  rsp: 1024,              // [xenstored]
  req_cons: 2048,         // [xenstored]
  req_prod: 2052,         // [guest]
  rsp_cons: 2056,         // [guest]
  rsp_prod: 2060,         // [xenstored]
  server_features: 2064,  // [xenstored] none
  connection: 2068,       // [xenstored]
  error: 2072,            // [xenstored]
} as const;

export const XENSTORE_ERROR_NONE = 0,
  XENSTORE_ERROR_COMM = 1,
  XENSTORE_ERROR_RINGIDX = 2,
  XENSTORE_ERROR_PROTO = 3;

/** Whether the indices of a ring of `size` bytes can be: neither side has run past the other. */
export function isPossible(consumed: number, produced: number, size: number): boolean {
  return (produced - consumed) >>> 0 <= size;
}
