/** The files of a host's domains, as this user may read and write them. */
import { closeSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import { deflate, inflateSync, type ZlibOptions } from 'node:zlib';
import type { HostFiles } from '../toolstack/toolstack.ts';
import { ToolstackError } from '../toolstack/toolstack_error.ts';
import { DiskFile } from './disk_file.ts';
import { readUserFile, reasonOf } from './read_file.ts';
import { UserError } from './user_error.ts';

class HostDisk extends DiskFile {
  override close(): void {
    orRefusal(() => super.close());
  }
}

const deflateSlowly: (bytes: Uint8Array, options: ZlibOptions) => Promise<Buffer> = promisify(deflate);

export const hostFiles: HostFiles = {
  read: (path, what) => orRefusal(() => readUserFile(path, what)),
  openDisk: (disk) => orRefusal(() => new HostDisk(disk)),
  write,
  async replace(path, parts) {
    const unfinished = `${path}.part`;
    try {
      const file = openSync(unfinished, 'w', 0o600);
      try {
        for await (const part of parts) writeAll(file, part);
      } finally {
        closeSync(file);
      }
      renameSync(unfinished, path);
    } catch (error) {
      rmSync(unfinished, { force: true });
      throw error instanceof ToolstackError ? error : new ToolstackError(`${path} cannot be written: ${reasonOf(error)}`);
    }
  },
  // In one go: each further chunk would wait for a slice of the domains.
  pack: (bytes) => deflateSlowly(bytes, { level: 1, chunkSize: bytes.length + 65536 }),
  unpack(bytes, most) {
    try {
      return inflateSync(bytes, { maxOutputLength: Math.max(1, most) });
    } catch {
      return undefined;
    }
  },
};

function write(path: string, parts: Iterable<Uint8Array>): void {
  let file: number;
  try {
    file = openSync(path, 'w', 0o600);
  } catch (error) {
    throw new ToolstackError(`${path} cannot be written: ${reasonOf(error)}`);
  }
  try {
    for (const part of parts) writeAll(file, part);
  } catch (error) {
    throw error instanceof ToolstackError ? error : new ToolstackError(`${path} cannot be written: ${reasonOf(error)}`);
  } finally {
    closeSync(file);
  }
}

function writeAll(file: number, part: Uint8Array): void {
  for (let done = 0; done < part.length; ) done += writeSync(file, part, done);
}

function orRefusal<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw error instanceof UserError ? new ToolstackError(error.message) : error;
  }
}
