/**
 * One request of a virtual disk: the checks of Linux's blkback, then data between the disk and pages that the guest grants.
 * Everything in a request is the guest's word; the answer is a BLKIF_RSP_ status.
 */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import * as abi from '../abi/blkif.ts';
import { type HostMapping, mapToHost } from '../grant_table/toolstack.ts';
import { type Disk, SECTOR_SIZE } from './disk.ts';
import type { Request } from './ring.ts';

const { BLKIF_RSP_OKAY, BLKIF_RSP_ERROR, BLKIF_RSP_EOPNOTSUPP } = abi;
const SECTORS_PER_PAGE = PAGE_SIZE / SECTOR_SIZE;

export interface BlockDevice {
  readonly host: Host;
  readonly domain: Domain;
  readonly disk: Disk;
}

const statusOf = (isDone: boolean): number => (isDone ? BLKIF_RSP_OKAY : BLKIF_RSP_ERROR);

export function perform(device: BlockDevice, request: Request): number {
  const { disk } = device;
  switch (request.operation) {
    case abi.BLKIF_OP_READ:
      return transfer(device, request);
    case abi.BLKIF_OP_WRITE:
      return disk.isReadonly ? BLKIF_RSP_ERROR : transfer(device, request);
    case abi.BLKIF_OP_FLUSH_DISKCACHE:
      return disk.isReadonly || !disk.flush() ? BLKIF_RSP_ERROR : transfer(device, request);
    case abi.BLKIF_OP_WRITE_BARRIER: {
      if (disk.isReadonly || !disk.flush()) return BLKIF_RSP_ERROR;
      const status = transfer(device, request);
      return status === BLKIF_RSP_OKAY ? statusOf(disk.flush()) : status;
    }
    case abi.BLKIF_OP_DISCARD:
      return discard(device, request);
    default:
      return BLKIF_RSP_EOPNOTSUPP;
  }
}

function discard({ disk }: BlockDevice, { sector_number, nr_sectors }: Request): number {
  if (disk.isReadonly || sector_number + nr_sectors > BigInt(disk.sectors)) return BLKIF_RSP_ERROR;
  return statusOf(disk.discard(Number(sector_number), Number(nr_sectors)));
}

/** Reads into the segments, or writes them; all of them are mapped first, or nothing is done. */
function transfer(device: BlockDevice, { operation, nr_segments, sector_number, seg }: Request): number {
  const { host, domain, disk } = device;
  const isRead = operation === abi.BLKIF_OP_READ;
  const mayBeEmpty = operation === abi.BLKIF_OP_FLUSH_DISKCACHE || operation === abi.BLKIF_OP_WRITE_BARRIER;
  if (nr_segments > abi.BLKIF_MAX_SEGMENTS_PER_REQUEST || (nr_segments === 0 && !mayBeEmpty)) return BLKIF_RSP_ERROR;
  const segments = seg.slice(0, nr_segments);
  if (segments.some(({ first_sect, last_sect }) => last_sect >= SECTORS_PER_PAGE || last_sect < first_sect)) return BLKIF_RSP_ERROR;
  const count = segments.reduce((sum, { first_sect, last_sect }) => sum + last_sect - first_sect + 1, 0);
  if (count > 0 && sector_number + BigInt(count) > BigInt(disk.sectors)) return BLKIF_RSP_ERROR;

  const pages: HostMapping[] = [];
  try {
    for (const { gref } of segments) {
      const page = mapToHost(host, domain, gref, !isRead);
      if (page === undefined) return BLKIF_RSP_ERROR;
      pages.push(page);
    }
    let sector = Number(sector_number);
    for (const [i, { first_sect, last_sect }] of segments.entries()) {
      const maddr = pages[i]!.maddr + first_sect * SECTOR_SIZE;
      const sectors = last_sect - first_sect + 1;
      const bytes = host.memory.bytes.subarray(maddr, maddr + sectors * SECTOR_SIZE);
      if (!(isRead ? disk.read(sector, bytes) : disk.write(sector, bytes))) return BLKIF_RSP_ERROR;
      if (isRead) host.memory.written(maddr, bytes.length);
      sector += sectors;
    }
    return BLKIF_RSP_OKAY;
  } finally {
    for (const page of pages) page.unmap();
  }
}
