/**
 * Who may have the same disk: any number of readers, or one writer alone, as Xen's block script has it. Two file systems that
 * write to one medium destroy it.
 */
import type { Disk } from '../../hypercalls/block/disk.ts';

/** A disk that is safe on its medium once it is closed. */
export interface OpenDisk extends Disk {
  readonly path: string;
  /** The same for every path of the same medium. */
  readonly identity: string;
  close(): void;
}

/** Why `disk` may not be had beside one that `holder` has, if so. */
export function refusalToShare(disk: OpenDisk, other: OpenDisk, holder: string): string | undefined {
  if (disk.identity !== other.identity || (disk.isReadonly && other.isReadonly)) return undefined;
  const how = other.isReadonly ? 'read-only' : 'read-write';
  const what = disk.isReadonly ? 'mounted now' : 'mounted read-write now';
  return `${disk.path}: the disk is mounted ${how} in ${holder}, and so cannot be ${what}; give each its own copy, or let all only read it: ,ro`;
}
