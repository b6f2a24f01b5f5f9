/**
 * Paths of the store as strings of bytes: which are valid, and their relations. xen:tools/xenstore/xenstored_core.c.
 */
import { XENSTORE_REL_PATH_MAX } from './wire.ts';

export const domainPath = (domid: number): string => `/local/domain/${domid}`;

/** The part below a domain's own directory has the limit; elsewhere the whole path has. */
export function isValidPath(path: string): boolean {
  if (!/^\/[-\w/@]*$/.test(path) || path.includes('//') || (path.endsWith('/') && path !== '/')) return false;
  const prefix = /^\/local\/domain\/\d{1,5}\//.exec(path)?.[0].length ?? 0;
  return path.length <= prefix + XENSTORE_REL_PATH_MAX;
}

/** A relative path starts at the domain's own directory; the special nodes (`@releaseDomain`) stand for themselves. */
export function absolutePath(path: string, domid: number): string {
  return path.startsWith('/') || path.startsWith('@') ? path : `${domainPath(domid)}/${path}`;
}

export function parentPath(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

export function lastName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

export function isAtOrBelow(path: string, ancestor: string): boolean {
  return ancestor === '/' || path === ancestor || path.startsWith(`${ancestor}/`);
}
