/** multicall, vm_assist and hvm_op as a PV guest sees it. */
import { guestNow } from '../../emulator/guest_time.ts';
import { DOMID_SELF } from '../abi/xen.ts';
import { hvm_op, multicall, VMASST_TYPE, vm_assist } from '../abi/xen_calls.ts';
import type { Call } from '../call.ts';
import { implement } from '../implement.ts';
import { performMulticall } from './multicall.ts';

const ASSISTS = Object.values(VMASST_TYPE).reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);

const vmAssist = implement(
  vm_assist,
  {
    enable(call, { type }) {
      call.domain.vmAssist |= 1n << BigInt(type);
    },
    disable(call, { type }) {
      call.domain.vmAssist &= ~(1n << BigInt(type));
    },
  },
  (_call, { type }) => (type < 64 && ((ASSISTS >> BigInt(type)) & 1n) !== 0n ? undefined : 'EINVAL'),
);

/** Below TRC_SUBCLS_SHIFT. */
const MAX_TRACE_EVENT = 0xfff;

/** What an operation on an HVM domain says of a domain that is none; of its caller itself by `own`, DOMID_SELF or by number. */
function notHvm<E extends string>(call: Call, domid: number, own: E, other: E): E | 'ESRCH' {
  if (domid === DOMID_SELF || domid === call.domain.id) return own;
  return call.host.domains.has(domid) ? other : 'ESRCH';
}

const hvm = implement(hvm_op, {
  set_param: (call, { domid }) => notHvm(call, domid, 'EINVAL', 'EINVAL'),
  get_param: (call, { domid }) => notHvm(call, domid, 'EINVAL', 'EINVAL'),
  pagetable_dying: (call, { domid }) => notHvm(call, domid, 'EINVAL', 'EOPNOTSUPP'),
  get_mem_type: (call, { domid }) => notHvm(call, domid, 'EINVAL', 'EPERM'),
  /** Nobody listens. */
  guest_request_vm_event: (call) => (call.args[1] === 0n ? undefined : 'EINVAL'),
  get_time: (call) => ({ now: guestNow(call.host, call.domain) }),
  xentrace: (_call, { event, extra_bytes }) => (extra_bytes > 28 || event > MAX_TRACE_EVENT ? 'EINVAL' : undefined),
});

export const miscFamily = [implement(multicall, performMulticall), vmAssist, hvm];
