/** xen:public/sched.h: giving up the CPU, waiting for events, ending the domain. */
import { evtchn_port_t } from './event_channel.ts';
import { call, hypercall, op } from './hypercall.ts';
import { struct } from './struct.ts';
import { i32, i64, ptr, symbols, u32, u64, void_ } from './types.ts';
import { domid_t } from './xen.ts';

export const SHUTDOWN_poweroff = 0;
export const SHUTDOWN_reboot = 1;
export const SHUTDOWN_suspend = 2;
export const SHUTDOWN_crash = 3;
export const SHUTDOWN_watchdog = 4;
export const SHUTDOWN_soft_reset = 5;

const reason_t = symbols('reason', u32, {
  SHUTDOWN_poweroff,
  SHUTDOWN_reboot,
  SHUTDOWN_suspend,
  SHUTDOWN_crash,
  SHUTDOWN_watchdog,
  SHUTDOWN_soft_reset,
});

export const sched_shutdown = struct('sched_shutdown', { reason: reason_t });
export const sched_poll = struct('sched_poll', { ports: ptr(evtchn_port_t), nr_ports: u32, timeout: u64 });
export const sched_remote_shutdown = struct('sched_remote_shutdown', { domain_id: domid_t, reason: reason_t });
export const sched_pin_override = struct('sched_pin_override', { pcpu: i32 });
export const sched_watchdog = struct('sched_watchdog', { id: u32, timeout: u32 });

const both = { pv64: true, pvh: true };

// biome-ignore format: one op a line
export const sched_op = hypercall('sched_op', 29, both, { cmd: i32, arg: ptr(void_) }, {
  yield:           op(0, null, 'Let other vCPUs run.'),
  block:           op(1, null, 'Unmask events and wait for one.'),
  shutdown:        op(2, sched_shutdown, 'End the domain.'),
  poll:            op(3, sched_poll, 'Wait for an event on one of some ports, or for a time.', ['EINVAL']),
  remote_shutdown: op(4, sched_remote_shutdown, 'End another domain.', ['ESRCH', 'EPERM']),
  shutdown_code:   op(5, sched_shutdown, 'Fix the reason that a later shutdown will give.', ['EBUSY']),
  watchdog:        op(6, sched_watchdog, 'Start, restart or stop a timer that ends the domain.', ['EINVAL'], { returns: 'value' }),
  pin_override:    op(7, null, 'Pin the vCPU to a physical core, or end that (hardware domain).', ['EPERM', 'EINVAL', 'EBUSY'], { follows: sched_pin_override }),
});

// biome-ignore format: one op a line
export const sched_op_compat = hypercall('sched_op_compat', 6, { pv64: true }, { cmd: i32, arg: u64 }, {
  yield:    op(0, null, 'Let other vCPUs run.'),
  block:    op(1, null, 'Unmask events and wait for one.'),
  shutdown: op(2, null, 'End the domain; the argument is the reason itself.'),
});

export const set_timer_op = hypercall('set_timer_op', 15, both, { timeout: i64 }, call(null, 'Set (0: stop) the one-shot timer.'));
