/** GNTTABOP_* about the table itself. */
import type { Domain } from '../../emulator/domain.ts';
import { GNTST, grant_table_op } from '../abi/grant_table.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import type { Call } from '../call.ts';
import { writeU64 } from '../guest_memory.ts';
import { implement } from '../implement.ts';
import { grantFrames, growTo, MAX_GRANT_FRAMES } from './table.ts';

/** The domain whose table an unprivileged caller may see: its own. */
function tableOwner(call: Call, domid: number): Domain | 'bad_domain' | 'permission_denied' {
  const domain = domid === DOMID_SELF ? call.domain : call.host.domains.get(domid);
  if (domain === undefined) return 'bad_domain';
  return domain === call.domain || call.domain.isInitial ? domain : 'permission_denied';
}

const INT_MAX = 0x7fff_ffff;
/** Bits of the command above the op are a continuation's, which only cache_flush has. */
const GNTTABOP_CMD_MASK = 0xfffff;

const { setup_table, query_size } = grant_table_op.body;

const grantTable = implement(
  grant_table_op,
  {
    setup_table(call, { dom, nr_frames, frame_list }) {
      const domain = tableOwner(call, dom);
      if (typeof domain === 'string') return { status: GNTST[domain] };
      if (nr_frames > MAX_GRANT_FRAMES || !growTo(call.host, domain, nr_frames)) return { status: GNTST.general_error };
      const frames = grantFrames(call.host, domain);
      let status: number = GNTST.okay;
      for (let i = 0; i < nr_frames; i++) {
        const pointer = BigInt.asUintN(64, frame_list + BigInt(i * 8));
        if (!writeU64(call.host, pointer, BigInt(frames[i]!))) status = GNTST.bad_virt_addr;
      }
      return { status };
    },

    query_size(call, { dom }) {
      const domain = tableOwner(call, dom);
      if (typeof domain === 'string') return { nr_frames: 0, max_nr_frames: 0, status: GNTST[domain] };
      return { nr_frames: grantFrames(call.host, domain).length, max_nr_frames: MAX_GRANT_FRAMES, status: GNTST.okay };
    },

    /** As a Xen that was told gnttab=max-ver:1. */
    set_version(_call, { version }) {
      if (version !== 1 && version !== 2) return 'EINVAL';
      return version === 1 ? { version } : 'ENOSYS';
    },

    get_version(call, { dom }) {
      const domain = tableOwner(call, dom);
      if (typeof domain === 'string') return domain === 'bad_domain' ? 'ESRCH' : 'EPERM';
      return { version: 1 };
    },
  },
  (call, { count }) => {
    const cmd = Number(call.args[0]! & 0xffff_ffffn);
    const isSingle = cmd === setup_table.cmd || cmd === query_size.cmd;
    return count > INT_MAX || cmd > GNTTABOP_CMD_MASK || (isSingle && count !== 1) ? 'EINVAL' : undefined;
  },
);

export const grantTableFamily = [grantTable];
