/** VCPUOP_*. */
import type { Vcpu } from '../../emulator/vcpu.ts';
import { SHUTDOWN_poweroff } from '../abi/sched.ts';
import { vcpu_op, vcpu_runstate_info, vcpu_set_singleshot_timer } from '../abi/vcpu.ts';
import { vcpu_time_info } from '../abi/xen.ts';
import type { Call } from '../call.ts';
import { kick } from '../event_channel/poll.ts';
import { copyFromGuest, isGuestArray, writeU64 } from '../guest_memory.ts';
import { hvmContextBytes, initialiseHvm } from '../hvm/vcpu_context.ts';
import { implement } from '../implement.ts';
import { pvVcpu } from '../pv_cpu/state.ts';
import { isBoundToCore } from '../sched/pinning.ts';
import { shutDown } from '../sched/shutdown.ts';
import { guestContextBytes, initialise } from './guest_context.ts';
import { moveVcpuInfo } from './info.ts';
import { readRunstate, setRunstateArea } from './runstate.ts';
import { setTimeArea, writeTimeInfo } from './time.ts';
import { setPeriodicTimer, setSingleshotTimer, stopSingleshotTimer } from './timers.ts';

const MIN_PERIOD = 1_000_000n;
const STIME_DELTA_MAX = (1n << 61n) - 1n;

const timerBytes = new Uint8Array(vcpu_set_singleshot_timer.size);
const timerView = new DataView(timerBytes.buffer);

const targetOf = (call: Call, vcpuid: number): Vcpu => call.domain.vcpus[vcpuid]!;

const vcpu = implement(
  vcpu_op,
  {
    initialise(call, { vcpuid }) {
      const target = targetOf(call, vcpuid);
      if (!target.hasVcpuInfo) return 'EINVAL';
      if (call.domain.type === 'pvh') {
        if (!copyFromGuest(call.host, call.args[2]!, hvmContextBytes)) return 'EFAULT';
        return target.isInitialised ? 'EEXIST' : initialiseHvm(call.host, target);
      }
      if (!copyFromGuest(call.host, call.args[2]!, guestContextBytes)) return 'EFAULT';
      return target.isInitialised ? 'EEXIST' : initialise(call.host, target);
    },

    up(call, { vcpuid }) {
      const target = targetOf(call, vcpuid);
      if (!target.isInitialised) return 'EINVAL';
      call.host.setUp(target, true);
      return;
    },

    down(call, { vcpuid }) {
      const target = targetOf(call, vcpuid);
      if (!call.domain.vcpus.some((other) => other !== target && other.isUp)) {
        shutDown(call.host, call.domain, SHUTDOWN_poweroff);
        return;
      }
      call.host.setUp(target, false);
    },

    is_up: (call, { vcpuid }) => (targetOf(call, vcpuid).isUp ? 1 : 0),

    get_runstate_info: (call, { vcpuid }) => readRunstate(call.host, targetOf(call, vcpuid)),

    register_runstate_memory_area(call, { vcpuid, addr }) {
      if (!isGuestArray(call.host, addr, 1, vcpu_runstate_info.size)) return 'EFAULT';
      setRunstateArea(call.host, targetOf(call, vcpuid), addr);
    },

    set_periodic_timer(call, { vcpuid, period_ns }) {
      if (period_ns < MIN_PERIOD || period_ns > STIME_DELTA_MAX) return 'EINVAL';
      setPeriodicTimer(call.host, targetOf(call, vcpuid), Number(period_ns));
    },

    stop_periodic_timer(call, { vcpuid }) {
      setPeriodicTimer(call.host, targetOf(call, vcpuid), 0);
    },

    set_singleshot_timer(call, { vcpuid }) {
      if (targetOf(call, vcpuid) !== call.vcpu) return 'EINVAL';
      if (!copyFromGuest(call.host, call.args[2]!, timerBytes)) return 'EFAULT';
      const { timeout_abs_ns } = vcpu_set_singleshot_timer.read(timerView, 0);
      setSingleshotTimer(call.host, call.vcpu, BigInt.asIntN(64, timeout_abs_ns));
      return;
    },

    stop_singleshot_timer(call, { vcpuid }) {
      if (targetOf(call, vcpuid) !== call.vcpu) return 'EINVAL';
      stopSingleshotTimer(call.host, call.vcpu);
    },

    register_vcpu_info(call, { vcpuid, mfn, offset }) {
      const target = targetOf(call, vcpuid);
      const refusal = moveVcpuInfo(call.host, target, mfn, offset);
      writeTimeInfo(call.host, target);
      return refusal;
    },

    send_nmi(call, { vcpuid }) {
      if (call.args[2] !== 0n) return 'EINVAL';
      const target = targetOf(call, vcpuid);
      pvVcpu.of(target).nmiPending = true;
      kick(call.host, target);
    },

    get_physid(call, { vcpuid }) {
      const target = targetOf(call, vcpuid);
      if (!call.domain.isInitial || !isBoundToCore(target)) return 'EINVAL';
      // The APIC's id and ACPI's, of the core that has the vCPU's number, as in Xen.
      const id = BigInt(vcpuid);
      return writeU64(call.host, call.args[2]!, id | (id << 32n)) ? undefined : 'EFAULT';
    },

    register_vcpu_time_memory_area(call, { vcpuid, addr }) {
      if (!isGuestArray(call.host, addr, 1, vcpu_time_info.size)) return 'EFAULT';
      setTimeArea(call.host, targetOf(call, vcpuid), addr);
    },
  },
  (call, { vcpuid }) => (call.domain.vcpus[vcpuid] === undefined ? 'ENOENT' : undefined),
);

export const vcpuFamily = [vcpu];
