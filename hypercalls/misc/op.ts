/** multicall, vm_assist and what a domU hears about the calls that are not for it. */
import {
  domctl,
  hvm_op,
  hypfs_op,
  kexec_op,
  mca,
  multicall,
  platform_op,
  sysctl,
  VMASST_TYPE,
  vm_assist,
  XEN_DOMCTL_INTERFACE_VERSION,
  XEN_SYSCTL_INTERFACE_VERSION,
  XENPF_INTERFACE_VERSION,
  xenpmu_op,
} from '../abi/xen_calls.ts';
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

const hvm = implement(hvm_op, {
  get_time: (call) => ({ now: call.host.clock.now() }),
  xentrace: (_call, { event, extra_bytes }) => (extra_bytes > 28 || event > MAX_TRACE_EVENT ? 'EINVAL' : undefined),
});

/** Their headers' version is judged first, then the caller; the toolstack of this ring -1 is not a guest. */
const privileged =
  (expected: number) =>
  (_call: unknown, { interface_version }: { readonly interface_version: number }) =>
    interface_version === expected ? ('EPERM' as const) : ('EACCES' as const);

export const miscFamily = [
  implement(multicall, performMulticall),
  vmAssist,
  hvm,
  implement(xenpmu_op, undefined),
  implement(platform_op, privileged(XENPF_INTERFACE_VERSION)),
  implement(sysctl, privileged(XEN_SYSCTL_INTERFACE_VERSION)),
  implement(domctl, privileged(XEN_DOMCTL_INTERFACE_VERSION)),
  implement(kexec_op, undefined),
  implement(hypfs_op, undefined),
  implement(mca, undefined),
];
