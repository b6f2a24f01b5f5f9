/** VCPUOP_*. */
import type { Vcpu } from '../../emulator/vcpu.ts';
import { SHUTDOWN_poweroff } from '../abi/sched.ts';
import { VCPU_GUEST_CONTEXT_SIZE, vcpu_op } from '../abi/vcpu.ts';
import type { Call } from '../call.ts';
import { kick } from '../event_channel/poll.ts';
import { copyFromGuest, isGuestAddress } from '../guest_memory.ts';
import { implement } from '../implement.ts';
import { pvVcpu } from '../pv_cpu/state.ts';
import { shutDown } from '../sched/shutdown.ts';
import { moveVcpuInfo } from './info.ts';
import { readRunstate, setRunstateArea } from './runstate.ts';
import { setTimeArea } from './time.ts';
import { setPeriodicTimer, setSingleshotTimer, stopSingleshotTimer } from './timers.ts';

const MIN_PERIOD = 1_000_000n;
const STIME_DELTA_MAX = (1n << 61n) - 1n;

const targetOf = (call: Call, vcpuid: number): Vcpu => call.domain.vcpus[vcpuid]!;
/** A vCPU that has registers: it runs, or ran before. */
const isInitialised = (vcpu: Vcpu): boolean => vcpu.isUp || vcpu.context !== undefined;

const vcpu = implement(
  vcpu_op,
  {
    initialise(call, { vcpuid }) {
      if (!copyFromGuest(call.host, call.args[2]!, new Uint8Array(VCPU_GUEST_CONTEXT_SIZE))) return 'EFAULT';
      // Only vCPU 0 can have registers until a domain may have more of them.
      return isInitialised(targetOf(call, vcpuid)) ? 'EEXIST' : 'ENOSYS';
    },

    up(call, { vcpuid }) {
      const target = targetOf(call, vcpuid);
      if (!isInitialised(target)) return 'EINVAL';
      if (target.isUp) return;
      target.isUp = true;
      call.host.wake(target);
    },

    down(call, { vcpuid }) {
      const target = targetOf(call, vcpuid);
      if (!call.domain.vcpus.some((other) => other !== target && other.isUp)) {
        shutDown(call.host, call.domain, SHUTDOWN_poweroff);
        return;
      }
      target.isUp = false;
      call.host.block(target);
    },

    is_up: (call, { vcpuid }) => (targetOf(call, vcpuid).isUp ? 1 : 0),

    get_runstate_info: (call, { vcpuid }) => readRunstate(call.host, targetOf(call, vcpuid)),

    register_runstate_memory_area(call, { vcpuid, addr }) {
      if (!isGuestAddress(addr)) return 'EFAULT';
      setRunstateArea(call.host, targetOf(call, vcpuid), addr);
    },

    set_periodic_timer(call, { vcpuid, period_ns }) {
      if (period_ns < MIN_PERIOD || period_ns > STIME_DELTA_MAX) return 'EINVAL';
      setPeriodicTimer(call.host, targetOf(call, vcpuid), period_ns);
    },

    stop_periodic_timer(call, { vcpuid }) {
      setPeriodicTimer(call.host, targetOf(call, vcpuid), 0n);
    },

    set_singleshot_timer(call, { vcpuid, timeout_abs_ns }) {
      if (targetOf(call, vcpuid) !== call.vcpu) return 'EINVAL';
      setSingleshotTimer(call.host, call.vcpu, BigInt.asIntN(64, timeout_abs_ns));
    },

    stop_singleshot_timer(call, { vcpuid }) {
      if (targetOf(call, vcpuid) !== call.vcpu) return 'EINVAL';
      stopSingleshotTimer(call.host, call.vcpu);
    },

    register_vcpu_info: (call, { vcpuid, mfn, offset }) => moveVcpuInfo(call.host, targetOf(call, vcpuid), mfn, offset),

    send_nmi(call, { vcpuid }) {
      if (call.args[2] !== 0n) return 'EINVAL';
      const target = targetOf(call, vcpuid);
      pvVcpu.of(target).nmiPending = true;
      kick(call.host, target);
    },

    register_vcpu_time_memory_area(call, { vcpuid, addr }) {
      if (!isGuestAddress(addr)) return 'EFAULT';
      setTimeArea(call.host, targetOf(call, vcpuid), addr);
    },
  },
  (call, { vcpuid }) => (call.domain.vcpus[vcpuid] === undefined ? 'ENOENT' : undefined),
);

export const vcpuFamily = [vcpu];
