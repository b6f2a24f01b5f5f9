/** xen:public/vcpu.h: bringing vCPUs up and down, their timers, and the areas in which ring -1 tells them of their time. */
import { vcpu_guest_context } from './arch_xen.ts';
import { hypercall, op } from './hypercall.ts';
import { out, pad, struct } from './struct.ts';
import { array, flags, i32, ptr, symbols, u32, u64, void_ } from './types.ts';
import { hex64 } from './xen.ts';

export const RUNSTATE_running = 0;
export const RUNSTATE_runnable = 1;
export const RUNSTATE_blocked = 2;
export const RUNSTATE_offline = 3;
const runstate_t = symbols('int', i32, { RUNSTATE_running, RUNSTATE_runnable, RUNSTATE_blocked, RUNSTATE_offline });

/** [xen], in the area that the guest registered. */
export const vcpu_runstate_info = struct('vcpu_runstate_info', {
  state: out(runstate_t),
  state_entry_time: out(u64),
  /** Nanoseconds spent in each state. */
  time: out(array(u64, 4)),
});
export const vcpu_register_runstate_memory_area = struct('vcpu_register_runstate_memory_area', { addr: hex64 });
export const vcpu_set_periodic_timer = struct('vcpu_set_periodic_timer', { period_ns: u64 });
export const vcpu_set_singleshot_timer = struct('vcpu_set_singleshot_timer', {
  timeout_abs_ns: u64,
  flags: flags('flags', u32, { VCPU_SSHOTTMR_future: 1 }),
});
export const vcpu_register_vcpu_info = struct('vcpu_register_vcpu_info', { mfn: hex64, offset: u32, rsvd: pad(4, 4) });
export const vcpu_get_physid = struct('vcpu_get_physid', { phys_id: out(hex64) });
export const vcpu_register_time_memory_area = struct('vcpu_register_time_memory_area', { addr: hex64 });

// biome-ignore format: one op a line
export const vcpu_op = hypercall('vcpu_op', 24, { pv64: true, pvh: true }, { cmd: i32, vcpuid: u32, extra_args: ptr(void_) }, {
  initialise:                    op(0, null, 'Give a vCPU its first registers.', ['EEXIST', 'EINVAL'], { follows: vcpu_guest_context }),
  up:                            op(1, null, 'Let an initialised vCPU run.', ['EINVAL']),
  down:                          op(2, null, 'Stop a vCPU; the last one ends the domain.'),
  is_up:                         op(3, null, 'Whether a vCPU is up.', [], { returns: 'value' }),
  get_runstate_info:             op(4, vcpu_runstate_info, 'How long a vCPU was in which state.'),
  register_runstate_memory_area: op(5, vcpu_register_runstate_memory_area, 'Where to keep the runstate up to date.'),
  set_periodic_timer:            op(6, vcpu_set_periodic_timer, 'A VIRQ_TIMER every so often while the vCPU runs.', ['EINVAL']),
  stop_periodic_timer:           op(7, null, 'No more of them.'),
  set_singleshot_timer:          op(8, null, 'One VIRQ_TIMER at a time.', ['EINVAL'], { follows: vcpu_set_singleshot_timer }),
  stop_singleshot_timer:         op(9, null, 'None.', ['EINVAL']),
  register_vcpu_info:            op(10, vcpu_register_vcpu_info, 'Move the vcpu_info to a page of the guest.', ['EINVAL', 'ENXIO', 'ENOMEM']),
  send_nmi:                      op(11, null, 'Raise an NMI on a vCPU.', ['EINVAL']),
  get_physid:                    op(12, null, 'The physical core of a pinned vCPU (hardware domain).', ['EINVAL'], { follows: vcpu_get_physid }),
  register_vcpu_time_memory_area: op(13, vcpu_register_time_memory_area, 'Where to keep a copy of the time info.'),
}, { before: ['ENOENT'] });
