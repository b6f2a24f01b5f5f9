/**
 * A vCPU's two timers, both of which raise VIRQ_TIMER: one-shot, and periodic. The periodic one only ticks while the vCPU
 * is on a core, once at most for all the time that it was off (xen:common/sched/core.c vcpu_periodic_timer_work).
 */
import { cancelGuestTimer, type GuestTimer, guestNs, setGuestTimer } from '../../emulator/guest_time.ts';
import type { Host } from '../../emulator/host.ts';
import { defineSlot } from '../../emulator/slot.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { VIRQ_TIMER } from '../abi/xen.ts';
import { raiseVirq } from '../event_channel/ports.ts';

interface VcpuTimers {
  singleshot: GuestTimer | undefined;
  /** Nanoseconds; 0: no periodic timer. */
  period: number;
  lastTick: number;
  periodic: GuestTimer | undefined;
  isOnCore: boolean;
}

/** A vCPU comes up with a tick of 100 Hz. */
const DEFAULT_PERIOD = 10_000_000;

const timersOf = defineSlot<Vcpu, VcpuTimers, Host>(
  () => ({ singleshot: undefined, period: DEFAULT_PERIOD, lastTick: 0, periodic: undefined, isOnCore: false }),
  {
    name: 'vcpu.timers',
    /** The periodic one goes on with the vCPU. */
    save: ({ singleshot, period, lastTick }) => ({ deadline: singleshot?.deadline, period: BigInt(period), lastTick: BigInt(lastTick) }),
    load(saved, vcpu, host) {
      const { deadline, period, lastTick } = saved as { deadline: number | undefined; period: bigint; lastTick: bigint };
      const singleshot = deadline === undefined ? undefined : tickAt(host, vcpu, BigInt(deadline));
      return { singleshot, period: Number(period), lastTick: Number(lastTick), periodic: undefined, isOnCore: false };
    },
  },
);

function tickAt(host: Host, vcpu: Vcpu, deadline: bigint): GuestTimer {
  return setGuestTimer(host, vcpu.domain, deadline, () => {
    timersOf.of(vcpu).singleshot = undefined;
    raiseVirq(host, vcpu, VIRQ_TIMER);
  });
}

/** At `deadline` (ns of system time); one in the past fires as soon as timers are looked at. */
export function setSingleshotTimer(host: Host, vcpu: Vcpu, deadline: bigint): void {
  stopSingleshotTimer(host, vcpu);
  timersOf.of(vcpu).singleshot = tickAt(host, vcpu, deadline);
}

export function stopSingleshotTimer(host: Host, vcpu: Vcpu): void {
  const timers = timersOf.of(vcpu);
  if (timers.singleshot !== undefined) cancelGuestTimer(host, vcpu.domain, timers.singleshot);
  timers.singleshot = undefined;
}

/** `period` 0 stops it. The first tick is due at once, as Xen's is when a period has passed since the last. */
export function setPeriodicTimer(host: Host, vcpu: Vcpu, period: number): void {
  stopTicking(host, vcpu);
  const timers = timersOf.of(vcpu);
  timers.period = period;
  if (timers.isOnCore) startTicking(host, vcpu, guestNs(host, vcpu.domain));
}

/** Nanoseconds; 0: it has none. */
export const periodOf = (vcpu: Vcpu): number => timersOf.of(vcpu).period;

/** The vCPU goes on a core, or is there, `now` of its domain's time. */
export function startTicking(host: Host, vcpu: Vcpu, now: number): void {
  const timers = timersOf.of(vcpu);
  timers.isOnCore = true;
  if (timers.period === 0) return;
  let next = timers.lastTick + timers.period;
  if (now >= next) {
    stopTicking(host, vcpu);
    timers.lastTick = now;
    next = now + timers.period;
    raiseVirq(host, vcpu, VIRQ_TIMER);
  }
  timers.periodic ??= setGuestTimer(host, vcpu.domain, next, () => {
    timers.periodic = undefined;
    if (timers.isOnCore) startTicking(host, vcpu, guestNs(host, vcpu.domain));
  });
}

function stopTicking(host: Host, vcpu: Vcpu): void {
  const timers = timersOf.of(vcpu);
  if (timers.periodic !== undefined) cancelGuestTimer(host, vcpu.domain, timers.periodic);
  timers.periodic = undefined;
}

/** It goes off. The next tick stays where it is, as the vCPU is often back before. */
export function leaveCoreTimers(vcpu: Vcpu): void {
  timersOf.of(vcpu).isOnCore = false;
}

/** It runs no more. */
export function stopTimers(host: Host, vcpu: Vcpu): void {
  stopSingleshotTimer(host, vcpu);
  stopTicking(host, vcpu);
}
