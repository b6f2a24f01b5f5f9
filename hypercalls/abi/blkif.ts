/**
 * xen:public/io/blkif.h, ring.h and protocols.h: a virtual disk's ring. `*_x86_32` is what a 32-bit front end means by the
 * same structs: its u64s are aligned to 4 bytes.
 */
import { grant_ref_t } from './grant_table.ts';
import { sring } from './ring.ts';
import { struct } from './struct.ts';
import { array, i16, symbols, type Type, typedef, u8, u16, u64 } from './types.ts';

export const BLKIF_OP_READ = 0;
export const BLKIF_OP_WRITE = 1;
export const BLKIF_OP_WRITE_BARRIER = 2;
export const BLKIF_OP_FLUSH_DISKCACHE = 3;
export const BLKIF_OP_DISCARD = 5;

export const BLKIF_RSP_OKAY = 0;
export const BLKIF_RSP_ERROR = -1;
export const BLKIF_RSP_EOPNOTSUPP = -2;

export const BLKIF_MAX_SEGMENTS_PER_REQUEST = 11;

/** Bits of the back end's `info` node. */
export const VDISK_READONLY = 4;

const operation_t = symbols('uint8_t', u8, {
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_OP_WRITE_BARRIER,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_DISCARD,
});
const status_t = symbols('int16_t', i16, { BLKIF_RSP_OKAY, BLKIF_RSP_ERROR, BLKIF_RSP_EOPNOTSUPP });
const blkif_vdev_t = typedef('blkif_vdev_t', u16);

export const blkif_request_segment = struct('blkif_request_segment', { gref: grant_ref_t, first_sect: u8, last_sect: u8 });

const request = (name: string, qword: Type<bigint>) =>
  struct(name, {
    operation: operation_t,
    nr_segments: u8,
    handle: blkif_vdev_t,
    id: qword,
    sector_number: qword,
    seg: array(blkif_request_segment, BLKIF_MAX_SEGMENTS_PER_REQUEST),
  });

const discard = (name: string, qword: Type<bigint>) =>
  struct(name, { operation: operation_t, flag: u8, handle: blkif_vdev_t, id: qword, sector_number: qword, nr_sectors: qword });

const response = (name: string, qword: Type<bigint>) => struct(name, { id: qword, operation: operation_t, status: status_t });

const qword_x86_32: Type<bigint> = { ...u64, align: 4 };

export const blkif_request = request('blkif_request', u64);
export const blkif_request_discard = discard('blkif_request_discard', u64);
export const blkif_response = response('blkif_response', u64);
export const blkif_request_x86_32 = request('blkif_request.x86_32', qword_x86_32);
export const blkif_request_discard_x86_32 = discard('blkif_request_discard.x86_32', qword_x86_32);
export const blkif_response_x86_32 = response('blkif_response.x86_32', qword_x86_32);

export const blkif_sring = sring('blkif_sring', blkif_request);

export const XEN_IO_PROTO_ABI_X86_32 = 'x86_32-abi';
export const XEN_IO_PROTO_ABI_X86_64 = 'x86_64-abi';
export const XEN_IO_PROTO_ABI_NATIVE = XEN_IO_PROTO_ABI_X86_64;
