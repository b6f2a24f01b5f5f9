/** What a disk is to its back end. Whoever has files, blobs or memory implements it; nothing here knows which. */

export const SECTOR_SIZE = 512;

/** The back end asks only for sectors that are there. False: the disk could not do it, and the guest gets an error. */
export interface Disk {
  readonly sectors: number;
  readonly isReadonly: boolean;
  /** Whole sectors, as many as `into` has room for. */
  read(sector: number, into: Uint8Array): boolean;
  write(sector: number, from: Uint8Array): boolean;
  /** Everything written is safe when it returns. */
  flush(): boolean;
  /** Nobody needs these sectors' contents any more. */
  discard(sector: number, count: number): boolean;
}
