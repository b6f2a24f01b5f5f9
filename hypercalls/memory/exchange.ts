/**
 * XENMEM_exchange: pages for as many others, chunk by chunk, a chunk being one extent of the larger order
 * (xen:common/memory.c memory_exchange). `nr_exchanged` tells the guest how far it came, also after an error.
 */
import { frameOf, gfnOf } from '../../emulator/memory/p2m.ts';
import * as reservation from '../../emulator/memory/reservation.ts';
import { AGAIN, type ArgsOf, type Result } from '../abi/hypercall.ts';
import { type memory_op, XENMEMF_ADDRESS_BITS, xen_memory_exchange } from '../abi/memory.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import type { Call } from '../call.ts';
import { isGuestArray, readU64, writeU64 } from '../guest_memory.ts';

type Exchange = typeof memory_op.body.exchange;
type Arguments = ArgsOf<typeof memory_op.params, Exchange>;

const CHUNKS_PER_SLICE = 64;
/** A longer list of 8-byte elements does not fit into the address space. */
const MAX_LIST = 0xffff_ffff_ffff_ffffn / 8n;

export function exchange(call: Call, args: Arguments): Result<Exchange> {
  const progress = { done: args.nr_exchanged };
  const error = performExchange(call, args, progress);
  if (error === undefined) return progress.done === args.nr_exchanged ? 0 : { nr_exchanged: progress.done };
  const pointer = BigInt.asUintN(64, call.args[1]! + BigInt(xen_memory_exchange.offset.nr_exchanged));
  return writeU64(call.host, pointer, progress.done) ? error : 'EFAULT';
}

function performExchange(call: Call, args: Arguments, progress: { done: bigint }): Exclude<Result<Exchange>, object> | undefined {
  const { host } = call;
  const { in: given, out: wanted } = args;
  if (!reservation.isOrderAllowed(call.domain, Math.max(given.extent_order, wanted.extent_order))) return 'EPERM';
  const inOrder = BigInt(given.extent_order);
  const outOrder = BigInt(wanted.extent_order);
  const size = given.nr_extents << inOrder;
  if (
    progress.done > given.nr_extents ||
    given.domid !== wanted.domid ||
    size > 0xffff_ffff_ffff_ffffn ||
    size !== wanted.nr_extents << outOrder
  ) {
    return 'EINVAL';
  }
  if (progress.done === given.nr_extents) return undefined;
  if (given.nr_extents >= MAX_LIST || wanted.nr_extents >= MAX_LIST) return 'EFAULT';
  // More frames than there are cannot all be the domain's; the lists stay countable.
  if (size > 2n ** 40n) return 'EINVAL';
  const inExtents = inOrder <= outOrder ? 2 ** (wanted.extent_order - given.extent_order) : 1;
  const outExtents = inOrder <= outOrder ? 1 : 2 ** (given.extent_order - wanted.extent_order);
  const isOkay = (list: bigint, first: number, end: bigint) =>
    isGuestArray(host, BigInt.asUintN(64, list + BigInt(first) * 8n), Number(end) - first, 8);
  const firstChunk = Math.floor(Number(progress.done) / inExtents);
  if (!isOkay(given.extent_start, Number(progress.done), given.nr_extents)) return 'EFAULT';
  if (!isOkay(wanted.extent_start, firstChunk * outExtents, wanted.nr_extents)) return 'EFAULT';
  const domain = given.domid === DOMID_SELF ? call.domain : host.domains.get(given.domid);
  if (domain === undefined) return 'ESRCH';
  if (domain !== call.domain && !call.domain.isInitial) return 'EPERM';

  const outEnd = reservation.endOfFrames(host.memory, wanted.mem_flags & XENMEMF_ADDRESS_BITS);
  const chunks = Math.floor(Number(given.nr_extents) / inExtents);
  for (let chunk = firstChunk; chunk < chunks; chunk++) {
    if (chunk - firstChunk === CHUNKS_PER_SLICE) return AGAIN;
    const inMfns: number[] = [];
    for (let i = 0; i < inExtents; i++) {
      const first = readU64(host, at(given.extent_start, chunk * inExtents + i));
      if (first === undefined) return 'EFAULT';
      if (domain.type === 'pvh') return frameOf(host.memory, domain, gfnOf(first)) < 0 ? 'EINVAL' : 'EOPNOTSUPP';
      if (first >= BigInt(host.memory.frameCount)) return 'EINVAL';
      for (let k = 0; k < 2 ** given.extent_order; k++) inMfns.push(Number(first) + k);
    }
    if (!reservation.canGive(host.memory, domain, inMfns)) return 'EINVAL';
    const outPfns: (bigint | undefined)[] = [];
    for (let i = 0; i < outExtents; i++) outPfns.push(readU64(host, at(wanted.extent_start, chunk * outExtents + i)));
    const mfns = reservation.exchange(host.memory, domain, { inMfns, outOrder: wanted.extent_order, outEnd, outPfns });
    if (typeof mfns === 'string') return mfns;
    // The frames have changed hands whether or not the guest can be told; then this chunk does not count.
    let isTold = !outPfns.includes(undefined);
    for (const [i, mfn] of mfns.entries())
      if (outPfns[i] !== undefined && !writeU64(host, at(wanted.extent_start, chunk * outExtents + i), BigInt(mfn))) isTold = false;
    if (!isTold) return 'EFAULT';
    progress.done = BigInt((chunk + 1) * inExtents);
  }
  progress.done = given.nr_extents;
  return undefined;
}

const at = (list: bigint, index: number): bigint => BigInt.asUintN(64, list + BigInt(index * 8));
