/** The files of a host's domains, as this user may read and write them. */
import { closeSync, openSync, writeSync } from 'node:fs';
import type { HostFiles } from '../toolstack/toolstack.ts';
import { ToolstackError } from '../toolstack/toolstack_error.ts';
import { DiskFile } from './disk_file.ts';
import { readUserFile, reasonOf } from './read_file.ts';
import { UserError } from './user_error.ts';

export const hostFiles: HostFiles = {
  read: (path, what) => orRefusal(() => readUserFile(path, what)),
  openDisk: (disk) => orRefusal(() => new DiskFile(disk)),
  write(path, parts) {
    let file: number;
    try {
      file = openSync(path, 'w', 0o600);
    } catch (error) {
      throw new ToolstackError(`${path} cannot be written: ${reasonOf(error)}`);
    }
    try {
      for (const part of parts) for (let done = 0; done < part.length; ) done += writeSync(file, part, done);
    } catch (error) {
      throw error instanceof ToolstackError ? error : new ToolstackError(`${path} cannot be written: ${reasonOf(error)}`);
    } finally {
      closeSync(file);
    }
  },
};

function orRefusal<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw error instanceof UserError ? new ToolstackError(error.message) : error;
  }
}
