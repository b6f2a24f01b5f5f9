/** xen:public/nmi.h: NMIs of a PV guest, the hypercall that callback_op replaces. */
import { hypercall, op } from './hypercall.ts';
import { pad, struct } from './struct.ts';
import { ptr, u32, void_ } from './types.ts';
import { xen_ulong_t } from './xen.ts';

export const xennmi_callback = struct('xennmi_callback', { handler_address: xen_ulong_t, pad: pad(8) });

export const nmi_op = hypercall(
  'nmi_op',
  28,
  { pv64: true },
  { cmd: u32, arg: ptr(void_) },
  {
    register_callback: op(0, xennmi_callback, 'Set the NMI callback of the calling vCPU.', ['EINVAL']),
    unregister_callback: op(1, null, 'Take it back.'),
  },
);
