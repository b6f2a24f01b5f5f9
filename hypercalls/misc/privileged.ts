/**
 * What the calls of the toolstack and of tools answer a domain that may not make them: the version of its headers is judged
 * first, then what it names, then the caller (xen:common/domctl.c, xen:include/xsm/dummy.h).
 */
import {
  dm_op,
  domctl,
  hypfs_op,
  kexec_op,
  mca,
  paging_domctl_cont,
  platform_op,
  sysctl,
  XEN_DOMCTL_INTERFACE_VERSION,
  XEN_SYSCTL_INTERFACE_VERSION,
  XENPF_INTERFACE_VERSION,
  xenoprof_op,
  xenpmu_op,
} from '../abi/xen_calls.ts';
import type { Call } from '../call.ts';
import { copyFromGuest } from '../guest_memory.ts';
import { implement } from '../implement.ts';

const XEN_DOMCTL_createdomain = 1;
const XEN_DOMCTL_getdomaininfo = 5;
const XEN_DOMCTL_shadow_op = 10;
const XEN_DOMCTL_set_target = 46;
/** ioport_permission, bind_pt_irq, memory_mapping, ioport_mapping, unbind_pt_irq, get_device_group: their arguments come first. */
const JUDGED_BY_ARGUMENTS = new Map<number, 'EINVAL' | 'EOPNOTSUPP'>([
  [21, 'EINVAL'],
  [38, 'EINVAL'],
  [39, 'EINVAL'],
  [40, 'EOPNOTSUPP'],
  [48, 'EINVAL'],
  [50, 'EOPNOTSUPP'],
]);
const DOMID_FIRST_RESERVED = 0x7ff0;

interface DomainOp {
  readonly cmd: number;
  readonly interface_version: number;
  readonly domain: number;
}

function refuseDomctl(call: Call, { cmd, interface_version, domain }: DomainOp): 'EACCES' | 'EINVAL' | 'EOPNOTSUPP' | 'EPERM' | 'ESRCH' {
  if (interface_version !== XEN_DOMCTL_INTERFACE_VERSION) return 'EACCES';
  if (cmd === XEN_DOMCTL_createdomain) return 'EPERM';
  if (cmd === XEN_DOMCTL_getdomaininfo && domain >= DOMID_FIRST_RESERVED) return 'EINVAL';
  if (!call.host.domains.has(domain)) return 'ESRCH';
  if (cmd === XEN_DOMCTL_set_target) return domain === call.domain.id ? 'EOPNOTSUPP' : 'EINVAL';
  return JUDGED_BY_ARGUMENTS.get(cmd) ?? 'EPERM';
}

const privileged =
  (expected: number) =>
  (_call: unknown, { interface_version }: { readonly interface_version: number }) =>
    interface_version === expected ? ('EPERM' as const) : ('EACCES' as const);

/** sizeof(struct xen_dm_op_buf), and how many of them a call may have. */
const DM_OP_BUF_SIZE = 16;
const MAX_DM_OP_BUFS = 2;
const dmOpBufs = new Uint8Array(DM_OP_BUF_SIZE * MAX_DM_OP_BUFS);

const XENOPROF_init = 0;
const XENOPROF_last_op = 17;
const xenoprofInit = new Uint8Array(72);

export const privilegedFamily = [
  implement(platform_op, privileged(XENPF_INTERFACE_VERSION)),
  implement(sysctl, privileged(XEN_SYSCTL_INTERFACE_VERSION)),
  implement(domctl, refuseDomctl),
  implement(paging_domctl_cont, (call, { cmd, interface_version, domain }) => {
    if (interface_version !== XEN_DOMCTL_INTERFACE_VERSION || cmd !== XEN_DOMCTL_shadow_op) return 'EOPNOTSUPP';
    return call.host.domains.has(domain) ? 'EPERM' : 'ESRCH';
  }),
  implement(dm_op, (call, { domid, nr_bufs, bufs }) => {
    if (nr_bufs > MAX_DM_OP_BUFS) return 'E2BIG';
    if (nr_bufs > 0 && !copyFromGuest(call.host, bufs, dmOpBufs, 0, nr_bufs * DM_OP_BUF_SIZE)) return 'EFAULT';
    if (nr_bufs === 0) return 'ENODATA';
    if (!call.host.domains.has(domid)) return 'ESRCH';
    return domid === call.domain.id ? 'EPERM' : 'EINVAL';
  }),
  implement(xenoprof_op, (call, { op, arg }) => {
    if (op < 0 || op > XENOPROF_last_op) return 'EINVAL';
    if (op !== XENOPROF_init) return 'EPERM';
    return copyFromGuest(call.host, arg, xenoprofInit) ? 'ENODEV' : 'EFAULT';
  }),
  implement(xenpmu_op, undefined),
  implement(kexec_op, undefined),
  implement(hypfs_op, undefined),
  implement(mca, undefined),
];
