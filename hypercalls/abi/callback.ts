/** xen:public/callback.h: where ring -1 enters a PV guest's kernel. */
import { hypercall, op } from './hypercall.ts';
import { pad, struct } from './struct.ts';
import { flags, i32, ptr, symbols, u16, void_ } from './types.ts';
import { xen_ulong_t } from './xen.ts';

export const CALLBACKTYPE_event = 0;
export const CALLBACKTYPE_failsafe = 1;
export const CALLBACKTYPE_syscall = 2;
export const CALLBACKTYPE_nmi = 4;
export const CALLBACKTYPE_sysenter = 5;
export const CALLBACKTYPE_syscall32 = 7;

/** Events are masked on entry to the callback. */
export const CALLBACKF_mask_events = 1;

const callback_type = symbols('uint16_t', u16, {
  CALLBACKTYPE_event,
  CALLBACKTYPE_failsafe,
  CALLBACKTYPE_syscall,
  CALLBACKTYPE_nmi,
  CALLBACKTYPE_sysenter,
  CALLBACKTYPE_syscall32,
});

export const callback_register = struct('callback_register', {
  type: callback_type,
  flags: flags('uint16_t', u16, { CALLBACKF_mask_events }),
  pad: pad(4),
  address: xen_ulong_t,
});

export const callback_unregister = struct('callback_unregister', { type: callback_type, _unused: pad(2) });

export const callback_op = hypercall(
  'callback_op',
  30,
  { pv64: true },
  { cmd: i32, arg: ptr(void_) },
  {
    register: op(0, callback_register, 'Set one callback of the calling vCPU.', ['EINVAL', 'ENOSYS']),
    unregister: op(1, callback_unregister, 'Take the NMI callback back; the others cannot be.', ['EINVAL', 'ENOSYS']),
  },
);
