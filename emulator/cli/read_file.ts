/** Reads a file that the user named, or says in one line why it cannot be read. */
import { readFileSync, statSync } from 'node:fs';
import { UserError } from './user_error.ts';

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'permission is denied',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of its path is no folder',
};

/** What an error of node:fs means, in words. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return (code !== undefined && REASONS[code]) || message;
}

export function readUserFile(path: string, what: string): Uint8Array {
  try {
    const kind = statSync(path);
    // A device may never end.
    if (kind.isCharacterDevice() || kind.isBlockDevice()) throw new Error('it is a device');
    return readFileSync(path);
  } catch (error) {
    throw new UserError(`${path}: the ${what} cannot be read: ${reasonOf(error)}; check the path`);
  }
}
