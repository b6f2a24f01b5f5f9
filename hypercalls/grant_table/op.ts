/** GNTTABOP_*. What an operation does is in the file of its name; most take an array, and each element has its own status. */
import type { Domain } from '../../emulator/domain.ts';
import { PAGE_SHIFT } from '../../emulator/memory/machine_memory.ts';
import { placeOf } from '../../emulator/memory/p2m.ts';
import { defineSlot } from '../../emulator/slot.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import {
  GNTST,
  GNTTABOP_CMD_MASK,
  gnttab_copy,
  gnttab_map_grant_ref,
  gnttab_set_version,
  gnttab_unmap_and_replace,
  gnttab_unmap_grant_ref,
  grant_table_op,
} from '../abi/grant_table.ts';
import { AGAIN } from '../abi/hypercall.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import { type Call, registerWords, structHalfwords, structWords } from '../call.ts';
import { isGuestArray, readU32, writeU32, writeU64 } from '../guest_memory.ts';
import { implement, WRITTEN } from '../implement.ts';
import { RESTART } from './acquire.ts';
import { flushCache } from './cache_flush.ts';
import { copy, endCopies } from './copy.ts';
import { mapGrantRef, mapped } from './map.ts';
import { swapGrantRefs } from './swap.ts';
import { grantTable } from './table.ts';
import { transfer } from './transfer.ts';
import { flushUnmapped, unmap } from './unmap.ts';
import { setVersion } from './version.ts';

/** The domain whose table a caller may see: its own, and the initial domain any. */
function tableOwner(call: Call, domid: number): Domain | 'bad_domain' | 'permission_denied' {
  const domain = domid === DOMID_SELF ? call.domain : call.host.domains.get(domid);
  if (domain === undefined) return 'bad_domain';
  return domain === call.domain || call.domain.isInitial ? domain : 'permission_denied';
}

const {
  map_grant_ref,
  unmap_grant_ref,
  setup_table,
  copy: copyRow,
  query_size,
  set_version,
  get_status_frames,
  get_version,
  swap_grant_ref,
} = grant_table_op.body;
/** The operations that know no array. */
const singleCmds = new Set([setup_table.cmd, query_size.cmd, get_status_frames.cmd]);
const pvhCmds = new Set(
  [query_size, setup_table, set_version, get_version, copyRow, map_grant_ref, unmap_grant_ref, swap_grant_ref].map(({ cmd }) => cmd),
);

/** Of the registers' words. */
const COUNT = 2 * Object.keys(grant_table_op.params).indexOf('count');
const commandOf = (): number => registerWords[0]! >>> 0;

/** What the domain calls a frame of its table; a translated one that has not placed it, all ones. */
function nameOf(call: Call, domain: Domain, mfn: number): bigint {
  return BigInt.asUintN(64, BigInt(domain.type === 'pvh' ? placeOf(call.host.memory, domain, mfn) : mfn));
}

function writeFrames(call: Call, list: bigint, frames: readonly number[], domain: Domain): number {
  let status: number = GNTST.okay;
  for (const [i, mfn] of frames.entries()) {
    if (!writeU64(call.host, BigInt.asUintN(64, list + BigInt(i * 8)), nameOf(call, domain, mfn))) status = GNTST.bad_virt_addr;
  }
  return status;
}

const MAP = gnttab_map_grant_ref.offset;
const UNMAP = gnttab_unmap_grant_ref.offset;
const REPLACE = gnttab_unmap_and_replace.offset;

/** A word of the struct, with its sign; a reference or handle that is negative is none. */
const word = (offset: number): number => structWords[offset >> 2]!;
const setWord = (offset: number, value: number): void => {
  structWords[offset >> 2] = value;
};
const setStatus = (offset: number, status: number): typeof WRITTEN => {
  structHalfwords[offset >> 1] = status;
  return WRITTEN;
};

/** What took a grant's place was taken from elsewhere. */
function flushAll(call: Call): void {
  flushUnmapped(call);
  call.host.memory.flushTlbs();
}

/** Where cache_flush's search of the next element begins. */
const flushSearch = defineSlot<Vcpu, { firstRef: number }>(() => ({ firstRef: 0 }), { name: 'grant_table.flush_search' });

const grantTableOp = implement(
  grant_table_op,
  {
    map_grant_ref: {
      each(call) {
        const dom = structHalfwords[MAP.dom >> 1]!;
        const status = mapGrantRef(call, dom, word(MAP.ref), word(MAP.flags), word(MAP.host_addr), word(MAP.host_addr + 4));
        if (status !== GNTST.okay) return setStatus(MAP.status, status);
        const { handle, mfn } = mapped;
        setWord(MAP.handle, handle);
        setWord(MAP.dev_bus_addr, mfn << PAGE_SHIFT);
        setWord(MAP.dev_bus_addr + 4, mfn >>> (32 - PAGE_SHIFT));
        return setStatus(MAP.status, status);
      },
    },

    unmap_grant_ref: {
      each(call) {
        const { host_addr, dev_bus_addr } = UNMAP;
        const handle = word(UNMAP.handle);
        return setStatus(
          UNMAP.status,
          unmap(call, handle, word(host_addr), word(host_addr + 4), word(dev_bus_addr), word(dev_bus_addr + 4), 0, 0),
        );
      },
      end: flushUnmapped,
    },

    unmap_and_replace: {
      each: (call, { handle }) => ({
        status: unmap(
          call,
          handle,
          word(REPLACE.host_addr),
          word(REPLACE.host_addr + 4),
          0,
          0,
          word(REPLACE.new_addr),
          word(REPLACE.new_addr + 4),
        ),
      }),
      end: flushAll,
    },

    transfer: { each: (call, element) => ({ status: transfer(call, element) }) },

    copy: {
      each(call) {
        const status = copy(call);
        return status === RESTART ? AGAIN : setStatus(gnttab_copy.offset.status, status);
      },
      end: endCopies,
    },

    swap_grant_ref: { each: (call, { ref_a, ref_b }) => ({ status: swapGrantRefs(call, ref_a, ref_b) }) },

    cache_flush: {
      begin(call) {
        flushSearch.of(call.vcpu).firstRef = commandOf() & ~GNTTABOP_CMD_MASK;
        return undefined;
      },
      each(call, element) {
        const search = flushSearch.of(call.vcpu);
        const refusal = flushCache(call, element, search.firstRef);
        search.firstRef = 0;
        return refusal;
      },
      end(call) {
        call.args[0] = BigInt(grant_table_op.body.cache_flush.cmd);
      },
    },

    setup_table(call, { dom, nr_frames, frame_list }) {
      if (!isGuestArray(call.host, frame_list, nr_frames, 8)) return 'EFAULT';
      const domain = tableOwner(call, dom);
      if (typeof domain === 'string') return { status: GNTST[domain] };
      const table = grantTable(call.host, domain);
      if (nr_frames > table.maxFrames || !table.grow(call.host.memory, domain.id, nr_frames)) return { status: GNTST.general_error };
      return { status: writeFrames(call, frame_list, table.frames.slice(0, nr_frames), domain) };
    },

    get_status_frames(call, { dom, nr_frames, frame_list }) {
      if (!isGuestArray(call.host, frame_list, nr_frames, 8)) return 'EFAULT';
      const domain = tableOwner(call, dom);
      if (typeof domain === 'string') return { status: GNTST[domain] };
      const { statusFrames } = grantTable(call.host, domain);
      if (nr_frames > statusFrames.length) return { status: GNTST.general_error };
      return { status: writeFrames(call, frame_list, statusFrames.slice(0, nr_frames), domain) };
    },

    query_size(call, { dom, nr_frames, max_nr_frames }) {
      const domain = tableOwner(call, dom);
      if (typeof domain === 'string') return { nr_frames, max_nr_frames, status: GNTST[domain] };
      const table = grantTable(call.host, domain);
      return { nr_frames: table.frames.length, max_nr_frames: table.maxFrames, status: GNTST.okay };
    },

    set_version(call) {
      const pointer = call.args[1]! + BigInt(gnttab_set_version.offset.version);
      const version = readU32(call.host, pointer);
      if (version === undefined) return 'EFAULT';
      const refusal = setVersion(call.host, call.domain, version);
      return writeU32(call.host, pointer, grantTable(call.host, call.domain).version) ? refusal : 'EFAULT';
    },

    get_version(call, { dom }) {
      const domain = tableOwner(call, dom);
      if (typeof domain === 'string') return domain === 'bad_domain' ? 'ESRCH' : 'EPERM';
      return { version: grantTable(call.host, domain).version };
    },
  },
  (call) => {
    const command = commandOf();
    const count = registerWords[COUNT]!;
    if (call.domain.type === 'pvh' && !pvhCmds.has(command)) return 'ENOSYS';
    // Above INT_MAX.
    if (count < 0) return 'EINVAL';
    const cmd = command & GNTTABOP_CMD_MASK;
    const isContinuation = command !== cmd && cmd !== grant_table_op.body.cache_flush.cmd;
    return isContinuation || (count !== 1 && singleCmds.has(cmd)) ? 'EINVAL' : undefined;
  },
);

export const grantTableFamily = [grantTableOp];
