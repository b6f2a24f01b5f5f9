/** `--disk`: a raw image in a file as a disk, opened for the whole run and safe on its medium when closed. */
import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { SECTOR_SIZE } from '../../hypercalls/block/disk.ts';
import type { OpenDisk } from '../toolstack/disk_sharing.ts';
import type { DiskDescription } from '../toolstack/disk_spec.ts';
import { reasonOf } from './read_file.ts';
import { UserError } from './user_error.ts';

const CHUNK_SIZE = 1024 * 1024;

export class DiskFile implements OpenDisk {
  readonly sectors: number;
  readonly isReadonly: boolean;
  readonly path: string;
  readonly identity: string;
  readonly #file: number;

  constructor({ path, isReadonly }: DiskDescription) {
    this.path = path;
    this.isReadonly = isReadonly;
    let size = 0;
    try {
      this.#file = openSync(path, isReadonly ? 'r' : 'r+');
      const status = fstatSync(this.#file, { bigint: true });
      if (status.isDirectory()) throw new Error('it is a folder');
      if (!status.isFile()) throw new Error('it is a device');
      size = Number(status.size);
      this.identity = `${status.dev}:${status.ino}`;
    } catch (error) {
      const what = isReadonly ? 'read' : 'read and written';
      const isRefused = ['EACCES', 'EPERM', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '');
      const advice = isRefused && !isReadonly ? 'add ,ro if it shall only be read' : 'check the path';
      throw new UserError(`${path}: the disk cannot be ${what}: ${reasonOf(error)}; ${advice}`);
    }
    if (size === 0 || size % SECTOR_SIZE !== 0)
      throw new UserError(`${path}: the disk has ${size} bytes, which are no whole sectors of ${SECTOR_SIZE}; give a raw image`);
    this.sectors = size / SECTOR_SIZE;
  }

  read(sector: number, into: Uint8Array): boolean {
    return isDone(() => this.#readAll(sector * SECTOR_SIZE, into));
  }

  write(sector: number, from: Uint8Array): boolean {
    return isDone(() => this.#writeAll(sector * SECTOR_SIZE, from));
  }

  flush(): boolean {
    return this.isReadonly || isDone(() => fsyncSync(this.#file));
  }

  /** The sectors read as zeros. What is zero already is not written, so that a sparse file stays one. */
  discard(sector: number, count: number): boolean {
    const end = (sector + count) * SECTOR_SIZE;
    const chunk = Buffer.alloc(Math.min(CHUNK_SIZE, count * SECTOR_SIZE));
    return isDone(() => {
      for (let offset = sector * SECTOR_SIZE; offset < end; offset += CHUNK_SIZE) {
        const part = chunk.subarray(0, Math.min(CHUNK_SIZE, end - offset));
        this.#readAll(offset, part);
        if (part.every((byte) => byte === 0)) continue;
        this.#writeAll(offset, part.fill(0));
      }
    });
  }

  close(): void {
    try {
      if (!this.isReadonly) fsyncSync(this.#file);
    } catch (error) {
      throw new UserError(`${this.path}: the disk cannot be written back: ${reasonOf(error)}`);
    } finally {
      closeSync(this.#file);
    }
  }

  #readAll(offset: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const size = readSync(this.#file, into, done, into.length - done, offset + done);
      if (size === 0) throw new Error('the file has become shorter');
      done += size;
    }
  }

  #writeAll(offset: number, from: Uint8Array): void {
    for (let done = 0; done < from.length; ) done += writeSync(this.#file, from, done, from.length - done, offset + done);
  }
}

/** What the system refuses (a full medium, a file that shrank) the guest gets as an error of its disk. */
function isDone(access: () => void): boolean {
  try {
    access();
    return true;
  } catch {
    return false;
  }
}
