/**
 * One frame as it stands in a guest's tx ring: a request, descriptors of extra information, and the requests of its further
 * parts. Every field is the guest's word; the checks and their order are those of Linux's netback (xenvif_get_extras,
 * xenvif_count_requests, xenvif_tx_build_gops). xen:public/io/netif.h.
 */
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import * as abi from '../abi/netif.ts';
import type { BackRing } from '../xenbus/back_ring.ts';
import { ETH_HLEN } from './network.ts';

/** Slots behind a frame's first: with more it is refused, with yet more its sender is hostile. */
const LEGACY_SLOTS_MAX = 18;
const FATAL_SLOTS = 20;

export type Slot = ReturnType<typeof abi.netif_tx_request.read>;

export interface Packet {
  /** The size of the first is its own, not as in the ring that of all. */
  readonly slots: readonly Slot[];
  /** How many descriptors stood behind the first. */
  readonly extras: number;
  /** 'refused': it cannot be a frame; 'control': it is none but asks something of the back end. */
  readonly kind: 'frame' | 'refused' | 'control';
}

type Fields = ReturnType<typeof abi.netif_extra_info.read>;

/** Takes the next packet of a ring in which there are `waiting` slots. A sentence: nothing of the ring can be believed. */
export function takePacket(ring: BackRing, waiting: number): Packet | string {
  const { view } = ring.memory;
  const first = abi.netif_tx_request.read(view, ring.take());
  let left = waiting - 1;
  const types = new Set<number>();
  let extras = 0;
  for (let hasMore = (first.flags & abi.NETTXF_extra_info) !== 0; hasMore; extras++) {
    if (left-- <= 0) return 'Missing extra info';
    const maddr = ring.take();
    const extra: Fields = abi.netif_extra_info.read(view, maddr);
    if (extra.type === 0 || extra.type >= abi.XEN_NETIF_EXTRA_TYPE_MAX) return `Invalid extra type: ${extra.type}`;
    if (extra.type === abi.XEN_NETIF_EXTRA_TYPE_GSO) {
      const refusal = refuseSegmentation(abi.netif_extra_info_gso.read(view, maddr));
      if (refusal !== undefined) return refusal;
    }
    types.add(extra.type);
    hasMore = (extra.flags & abi.XEN_NETIF_EXTRA_FLAG_MORE) !== 0;
  }
  if (types.has(abi.XEN_NETIF_EXTRA_TYPE_MCAST_ADD) || types.has(abi.XEN_NETIF_EXTRA_TYPE_MCAST_DEL))
    return { slots: [first], extras, kind: 'control' };

  const slots = [first];
  let isRefused = types.has(abi.XEN_NETIF_EXTRA_TYPE_GSO);
  let rest = first.size;
  for (let hasMore = (first.flags & abi.NETTXF_more_data) !== 0; hasMore; ) {
    const count = slots.length - 1;
    if (count >= left) return `Asked for ${count} slots but exceeds this limit`;
    if (count >= FATAL_SLOTS) return `Malicious frontend using ${count} slots, threshold ${FATAL_SLOTS}`;
    const slot = abi.netif_tx_request.read(view, ring.take());
    isRefused ||= count >= LEGACY_SLOTS_MAX || slot.size > rest;
    rest -= slot.size;
    slots.push(slot);
    if (slot.offset + slot.size > PAGE_SIZE) return crossing(slot);
    hasMore = (slot.flags & abi.NETTXF_more_data) !== 0;
  }
  slots[0] = { ...first, size: rest };
  if (isRefused || rest < ETH_HLEN) return { slots, extras, kind: 'refused' };
  return first.offset + rest > PAGE_SIZE ? crossing(slots[0]) : { slots, extras, kind: 'frame' };
}

const crossing = ({ offset, size }: Slot): string => `Cross page boundary, txreq.offset: ${offset}, size: ${size}`;

/** It is not offered here; but who asks for what is not even in the ABI is as hostile as to netback. */
function refuseSegmentation({ size, type }: ReturnType<typeof abi.netif_extra_info_gso.read>): string | undefined {
  if (size === 0) return 'GSO size must not be zero.';
  return type === abi.XEN_NETIF_GSO_TYPE_TCPV4 || type === abi.XEN_NETIF_GSO_TYPE_TCPV6 ? undefined : `Bad GSO type ${type}.`;
}
