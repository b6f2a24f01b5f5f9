/** SCHEDOP_*, the old sched_op and set_timer_op. */
import { guestNow } from '../../emulator/guest_time.ts';
import { sched_op, sched_op_compat, sched_poll, set_timer_op } from '../abi/sched.ts';
import { type Call, structWords } from '../call.ts';
import { ANY_PORT, startPolling, stopPolling } from '../event_channel/poll.ts';
import { isPortPending, isUsable, portsOf } from '../event_channel/ports.ts';
import { unmaskUpcalls } from '../event_channel/upcall.ts';
import { isGuestArrayAt, readStruct, readU32, UNREADABLE } from '../guest_memory.ts';
import { implement } from '../implement.ts';
import { isUpcallDue } from '../pv_cpu/vcpu_info.ts';
import { setSingleshotTimer, stopSingleshotTimer } from '../vcpu/timers.ts';
import { pin } from './pinning.ts';
import { fixShutdownCode, shutDown } from './shutdown.ts';
import { NR_DOMAIN_WATCHDOG_TIMERS, startWatchdog, stopWatchdog, watchdogs } from './watchdog.ts';

/** Xen's own "fairly arbitrary limit" on SCHEDOP_poll. */
const MAX_POLL_PORTS = 128;
/** In the words of struct sched_poll. */
const PORTS = sched_poll.offset.ports / 4;
const TIMEOUT = sched_poll.offset.timeout / 4;

function block(call: Call): undefined {
  stopPolling(call.host, call.vcpu);
  unmaskUpcalls(call.host, call.vcpu);
  if (!isUpcallDue(call.host, call.vcpu)) call.host.block(call.vcpu);
}

const sched = implement(sched_op, {
  yield(call) {
    call.host.yield(call.vcpu);
  },

  block,

  shutdown(call, { reason }) {
    shutDown(call.host, call.domain, reason & 0xff);
  },

  poll(call, args) {
    const { host, vcpu, domain } = call;
    const count = args.nr_ports;
    if (count > MAX_POLL_PORTS) return 'EINVAL';
    const portsLow = structWords[PORTS]!;
    const portsHigh = structWords[PORTS + 1]!;
    if (!isGuestArrayAt(host, portsHigh)) return 'EFAULT';
    if (isUpcallDue(host, vcpu)) return;
    const timeout = structWords[TIMEOUT] === 0 && structWords[TIMEOUT + 1] === 0 ? undefined : args.timeout;
    let number = 0;
    for (let i = 0; i < count; i++) {
      if (readStruct(call, portsLow, portsHigh, 4 * i, 4) === UNREADABLE) return 'EFAULT';
      number = structWords[0]!;
      const port = portsOf.of(domain).get(number);
      if (port === undefined || !isUsable(port)) return 'EINVAL';
      if (isPortPending(host, domain, port)) return;
    }
    startPolling(host, vcpu, count === 1 ? number : ANY_PORT, timeout);
  },

  remote_shutdown(call, { domain_id, reason }) {
    const domain = call.host.domains.get(domain_id);
    if (domain === undefined) return 'ESRCH';
    if (!call.domain.isInitial) return 'EPERM';
    shutDown(call.host, domain, reason & 0xff);
  },

  shutdown_code: (call, { reason }) => (fixShutdownCode(call.domain, reason & 0xff) ? undefined : 'EBUSY'),

  pin_override(call) {
    if (!call.domain.isInitial) return 'EPERM';
    const pcpu = readU32(call.host, call.args[1]!);
    return pcpu === undefined ? 'EFAULT' : pin(call.vcpu, pcpu | 0);
  },

  watchdog(call, { id, timeout }) {
    if (id > NR_DOMAIN_WATCHDOG_TIMERS) return 'EINVAL';
    const list = watchdogs.of(call.domain);
    if (id === 0) {
      const free = list.indexOf(undefined);
      // Xen's -ENOSPC comes out of an unsigned expression: the guest sees 0xffffffe4.
      if (free < 0) return 0xffff_ffe4;
      startWatchdog(call.host, call.domain, free, timeout);
      return free + 1;
    }
    if (list[id - 1] === undefined) return 'EINVAL';
    stopWatchdog(call.host, call.domain, id - 1);
    if (timeout !== 0) startWatchdog(call.host, call.domain, id - 1, timeout);
    return 0;
  },
});

const schedCompat = implement(sched_op_compat, {
  yield(call) {
    call.host.yield(call.vcpu);
  },
  block,
  shutdown(call, { arg }) {
    shutDown(call.host, call.domain, Number(arg & 0xffn));
  },
});

const setTimer = implement(set_timer_op, (call, { timeout }) => {
  const now = guestNow(call.host, call.domain);
  if (timeout === 0n) stopSingleshotTimer(call.host, call.vcpu);
  else setSingleshotTimer(call.host, call.vcpu, isWrapped(timeout - now, timeout) ? now + WRAPPED_DELAY : timeout);
  return undefined;
});

/**
 * Old Linux sets times that wrapped, with work pending, and times far off, without; 100 ms serve both. Xen looks at 32 bits
 * of the excess only.
 */
const isWrapped = (offset: bigint, timeout: bigint): boolean => timeout < 0n || (offset > 0n && ((offset >> 50n) & 0xffff_ffffn) !== 0n);
const WRAPPED_DELAY = 100_000_000n;

export const schedFamily = [sched, schedCompat, setTimer];
