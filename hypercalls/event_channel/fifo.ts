/**
 * The FIFO event channel ABI: one word a port in pages of the guest's, and per vCPU a control block with the heads of 16
 * queues, by priority. A port with news is linked behind the tail of its queue, which ring -1 alone knows; the guest
 * unlinks at the head (xen:public/event_channel.h, xen:common/event_fifo.c). A port moves to another vCPU's or another
 * priority's queue only when it is next linked.
 */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { holdOwnFrame, letGo } from '../../emulator/memory/held_frames.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { frameOf, gfnOf } from '../../emulator/memory/p2m.ts';
import { defineSlot } from '../../emulator/slot.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import {
  EVTCHN_FIFO_LINK_MASK,
  EVTCHN_FIFO_LINKED,
  EVTCHN_FIFO_MASKED,
  EVTCHN_FIFO_MAX_QUEUES,
  EVTCHN_FIFO_NR_CHANNELS,
  EVTCHN_FIFO_PENDING,
  evtchn_fifo_control_block,
} from '../abi/event_channel.ts';
import { wakePollers } from './poll.ts';
import type { EventAbi, Port } from './port.ts';
import { markEventsPending } from './upcall.ts';

const WORDS_PER_PAGE = PAGE_SIZE / 4;
const MAX_ARRAY_PAGES = EVTCHN_FIFO_NR_CHANNELS / WORDS_PER_PAGE;
const { ready: READY, head: HEAD } = evtchn_fifo_control_block.offset;

/** Frames of the array, in order. */
const arrayOf = defineSlot<Domain, number[]>(() => [], { name: 'event_channel.fifo_array' });

interface ControlBlock {
  /** Of the struct, -1: the guest has given none. */
  maddr: number;
  /** Last port of each queue; 0 or no longer linked: the queue is empty. */
  readonly tails: number[];
}

const controlBlockOf = defineSlot<Vcpu, ControlBlock>(() => ({ maddr: -1, tails: new Array(EVTCHN_FIFO_MAX_QUEUES).fill(0) }), {
  name: 'event_channel.fifo_control_block',
});

/** Maddr of the port's word, -1: its page is not there yet. */
function wordOf(domain: Domain, port: number): number {
  const mfn = arrayOf.of(domain)[Math.floor(port / WORDS_PER_PAGE)];
  return mfn === undefined ? -1 : mfn * PAGE_SIZE + (port % WORDS_PER_PAGE) * 4;
}

const read = (host: Host, maddr: number): number => host.memory.view.getUint32(maddr, true);

function write(host: Host, maddr: number, value: number): void {
  host.memory.view.setUint32(maddr, value, true);
  host.memory.written(maddr, 4);
}

/** Links `port` behind the tail if that is still linked; false: the guest has emptied the queue. */
function linkBehind(host: Host, domain: Domain, tail: number, port: number): boolean {
  if (tail === 0) return false;
  const maddr = wordOf(domain, tail);
  const word = read(host, maddr);
  if (!(word & EVTCHN_FIFO_LINKED)) return false;
  write(host, maddr, (word & ~EVTCHN_FIFO_LINK_MASK) | port);
  return true;
}

/** Puts the port, whose word is just being linked, at its queue's end; true when the queue was empty. */
function enqueue(host: Host, vcpu: Vcpu, block: ControlBlock, port: Port): boolean {
  const { domain } = vcpu;
  const { number, priority } = port;
  // A port that was its old queue's tail leaves that queue empty: nothing may be linked behind it there any more.
  const old = controlBlockOf.of(domain.vcpus[port.lastVcpu]!).tails;
  if (old[port.lastPriority] === number) old[port.lastPriority] = 0;
  port.lastVcpu = vcpu.id;
  port.lastPriority = priority;
  const isFirst = !linkBehind(host, domain, block.tails[priority]!, number);
  if (isFirst) write(host, block.maddr + HEAD + priority * 4, number);
  block.tails[priority] = number;
  return isFirst;
}

export const fifo: EventAbi = {
  maxPorts: EVTCHN_FIFO_NR_CHANNELS,

  setPending(host, vcpu, port) {
    const maddr = wordOf(vcpu.domain, port.number);
    if (maddr < 0) {
      port.isRaisedUnseen = true;
      return;
    }
    const block = controlBlockOf.of(vcpu);
    // Xen drops the event: a guest is not to bind ports to a vCPU before that has its control block.
    if (block.maddr < 0) return;
    const word = read(host, maddr);
    const isLinking = !(word & (EVTCHN_FIFO_MASKED | EVTCHN_FIFO_LINKED));
    write(host, maddr, word | EVTCHN_FIFO_PENDING | (isLinking ? EVTCHN_FIFO_LINKED : 0));
    if (isLinking && enqueue(host, vcpu, block, port)) {
      const ready = read(host, block.maddr + READY);
      const bit = 1 << port.priority;
      if (!(ready & bit)) {
        write(host, block.maddr + READY, ready | bit);
        markEventsPending(host, vcpu);
      }
    }
    if (!(word & EVTCHN_FIFO_PENDING)) wakePollers(host, vcpu.domain, port.number);
  },

  /** Still linked it may be: the guest passes over what is not pending. */
  clearPending(host, domain, port) {
    const maddr = wordOf(domain, port.number);
    if (maddr >= 0) write(host, maddr, read(host, maddr) & ~EVTCHN_FIFO_PENDING);
  },

  unmask(host, vcpu, port) {
    const maddr = wordOf(vcpu.domain, port.number);
    if (maddr < 0) return;
    const word = read(host, maddr) & ~EVTCHN_FIFO_MASKED;
    write(host, maddr, word);
    if (word & EVTCHN_FIFO_PENDING) fifo.setPending(host, vcpu, port);
  },

  isPending(host, domain, port) {
    const maddr = wordOf(domain, port.number);
    return maddr >= 0 && (read(host, maddr) & EVTCHN_FIFO_PENDING) !== 0;
  },

  isMasked(host, domain, port) {
    const maddr = wordOf(domain, port.number);
    return maddr >= 0 && (read(host, maddr) & EVTCHN_FIFO_MASKED) !== 0;
  },

  isBusy(host, domain, port) {
    const maddr = wordOf(domain, port.number);
    return maddr >= 0 && (read(host, maddr) & EVTCHN_FIFO_LINKED) !== 0;
  },

  describe(host, domain, port) {
    const maddr = wordOf(domain, port.number);
    if (maddr < 0) return '?     ';
    const word = read(host, maddr);
    return word & EVTCHN_FIFO_LINKED ? `  ${String(word & EVTCHN_FIFO_LINK_MASK).padEnd(4)}` : '  -   ';
  },
};

/** A frame that the guest gives, -1: it cannot. */
function takeFrame(host: Host, domain: Domain, gfn: bigint): number {
  const mfn = frameOf(host.memory, domain, gfnOf(gfn));
  return mfn >= 0 && holdOwnFrame(host.memory, domain, mfn) === undefined ? mfn : -1;
}

/** The vCPU's control block is at `offset` of frame `gfn` from now on. */
export function setControlBlock(host: Host, vcpu: Vcpu, gfn: bigint, offset: number): 'EINVAL' | undefined {
  const block = controlBlockOf.of(vcpu);
  if (block.maddr >= 0) return 'EINVAL';
  const mfn = takeFrame(host, vcpu.domain, gfn);
  if (mfn < 0) return 'EINVAL';
  block.maddr = mfn * PAGE_SIZE + offset;
  return undefined;
}

/** One more page of words at the array's end. */
export function addArrayPage(host: Host, domain: Domain, gfn: bigint): 'ENOSPC' | 'EINVAL' | undefined {
  const array = arrayOf.of(domain);
  if (array.length >= MAX_ARRAY_PAGES) return 'ENOSPC';
  const mfn = takeFrame(host, domain, gfn);
  if (mfn < 0) return 'EINVAL';
  array.push(mfn);
  return undefined;
}

/** The numbers of the ports whose words are in the last page. */
export function lastArrayPage(domain: Domain): { readonly first: number; readonly end: number } {
  const end = arrayOf.of(domain).length * WORDS_PER_PAGE;
  return { first: end - WORDS_PER_PAGE, end };
}

/** Gives the guest all its pages back. */
export function leaveFifo(host: Host, domain: Domain): void {
  for (const vcpu of domain.vcpus) {
    const block = controlBlockOf.of(vcpu);
    if (block.maddr >= 0) letGo(host.memory, domain, Math.floor(block.maddr / PAGE_SIZE), true);
    block.maddr = -1;
    block.tails.fill(0);
  }
  const array = arrayOf.of(domain);
  for (const mfn of array) letGo(host.memory, domain, mfn, true);
  array.length = 0;
}
