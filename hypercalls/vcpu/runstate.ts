/** What a vCPU is doing and for how long it has done what (xen:public/vcpu.h runstate): kept here, told to the guest's area. */
import { guestNs } from '../../emulator/guest_time.ts';
import type { Host } from '../../emulator/host.ts';
import { defineSlot } from '../../emulator/slot.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { RUNSTATE_blocked, RUNSTATE_offline, RUNSTATE_runnable, RUNSTATE_running, vcpu_runstate_info } from '../abi/vcpu.ts';
import { copyToGuest } from '../guest_memory.ts';
import { writeArea } from './area.ts';
import { updateTimeInfo } from './time.ts';
import { leaveCoreTimers, startTicking } from './timers.ts';

interface Runstate {
  state: number;
  /** Nanoseconds of the domain's time, as are the times spent in each state. */
  entryTime: number;
  readonly time: number[];
  /** Vaddr of the guest's copy, 0n: none. */
  area: bigint;
}

const runstateOf = defineSlot<Vcpu, Runstate, Host>(() => ({ state: RUNSTATE_offline, entryTime: 0, time: [0, 0, 0, 0], area: 0n }), {
  name: 'vcpu.runstate',
  /** One that runs waits for a core then, as if it had been preempted. */
  save(runstate, vcpu, host) {
    const { state, entryTime, time } = runstate;
    if (state !== RUNSTATE_running) return runstate;
    const now = Math.max(guestNs(host, vcpu.domain), entryTime);
    return {
      ...runstate,
      state: RUNSTATE_runnable,
      entryTime: now,
      time: time.map((spent, i) => (i === state ? spent + now - entryTime : spent)),
    };
  },
});

/** `ns`: of the domain's time. */
function change(host: Host, vcpu: Vcpu, runstate: Runstate, state: number, ns: number): void {
  host.timeline?.runstateChanged(vcpu, state);
  const { state: old, entryTime } = runstate;
  runstate.state = state;
  // The core on which it ran last may be ahead of the one that acts.
  if (ns <= entryTime) return;
  runstate.time[old]! += ns - entryTime;
  runstate.entryTime = ns;
}

/** The vCPU has come into being: its times count from here. */
export function beginRunstate(host: Host, vcpu: Vcpu): void {
  runstateOf.of(vcpu).entryTime = guestNs(host, vcpu.domain);
}

/** RUNSTATE_*. */
export const currentRunstate = (vcpu: Vcpu): number => runstateOf.of(vcpu).state;

/** The run loop puts the vCPU on a core: its registers are loaded and it runs next. */
export function enterCore(host: Host, vcpu: Vcpu): void {
  const runstate = runstateOf.of(vcpu);
  const ns = guestNs(host, vcpu.domain);
  change(host, vcpu, runstate, RUNSTATE_running, ns);
  if (runstate.area !== 0n) updateRunstateArea(host, vcpu, runstate);
  updateTimeInfo(host, vcpu, ns);
  startTicking(host, vcpu, ns);
}

/** The run loop takes it off: preempted, blocked, paused or down. Its siblings see so in its area. */
export function leaveCore(host: Host, vcpu: Vcpu): void {
  leaveCoreTimers(vcpu);
  const runstate = runstateOf.of(vcpu);
  const state = vcpu.isRunnable ? RUNSTATE_runnable : vcpu.isUp && vcpu.isBlocked ? RUNSTATE_blocked : RUNSTATE_offline;
  change(host, vcpu, runstate, state, guestNs(host, vcpu.domain));
  if (runstate.area !== 0n) updateRunstateArea(host, vcpu, runstate);
}

/** It may have begun to wait for a core: it came up, was woken or unpaused. One that is down or paused is no longer blocked then, just offline. */
export function becomeRunnable(host: Host, vcpu: Vcpu): void {
  const runstate = runstateOf.of(vcpu);
  const { state } = runstate;
  if (state === RUNSTATE_running || state === RUNSTATE_runnable) return;
  if (vcpu.isRunnable) change(host, vcpu, runstate, RUNSTATE_runnable, guestNs(host, vcpu.domain));
  else if (!vcpu.isBlocked && state === RUNSTATE_blocked) change(host, vcpu, runstate, RUNSTATE_offline, guestNs(host, vcpu.domain));
}

/** It was taken down, or its domain was paused, while it waited for a core. */
export function goOffline(host: Host, vcpu: Vcpu): void {
  const runstate = runstateOf.of(vcpu);
  if (runstate.state === RUNSTATE_runnable) change(host, vcpu, runstate, RUNSTATE_offline, guestNs(host, vcpu.domain));
}

interface RunstateInfo {
  state: number;
  state_entry_time: bigint;
  time: readonly bigint[];
}

/** As of now, with the current state's share. */
export function readRunstate(host: Host, vcpu: Vcpu): RunstateInfo {
  const runstate = runstateOf.of(vcpu);
  const { state, time } = runstate;
  const sinceEntry = BigInt(Math.max(0, guestNs(host, vcpu.domain) - runstate.entryTime));
  const info = asOfEntry(runstate);
  return { ...info, time: time.map((value, i) => BigInt(value) + (i === state ? sinceEntry : 0n)) };
}

/** Nanoseconds of core that it has had. */
export function runningTime(host: Host, vcpu: Vcpu): number {
  const { state, entryTime, time } = runstateOf.of(vcpu);
  return time[RUNSTATE_running]! + (state === RUNSTATE_running ? Math.max(0, guestNs(host, vcpu.domain) - entryTime) : 0);
}

const asOfEntry = ({ state, entryTime, time }: Runstate): RunstateInfo => ({
  state,
  state_entry_time: BigInt(entryTime),
  time: time.map(BigInt),
});

const scratch = new Uint8Array(vcpu_runstate_info.size);
const scratchView = new DataView(scratch.buffer);

/** Where the guest wants it from now on; the first copy goes through the caller's page tables. */
export function setRunstateArea(host: Host, vcpu: Vcpu, vaddr: bigint): void {
  const runstate = runstateOf.of(vcpu);
  runstate.area = vaddr;
  vcpu_runstate_info.write(scratchView, 0, vcpu === host.current ? asOfEntry(runstate) : readRunstate(host, vcpu));
  copyToGuest(host, vaddr, scratch);
}

/**
 * As its vCPU goes on a core or off it. All vCPUs share one CPU engine with ring -1, so that none can see the record half
 * written, and XEN_RUNSTATE_UPDATE (the assist runstate_update_flag) never shows.
 */
function updateRunstateArea(host: Host, vcpu: Vcpu, runstate: Runstate): void {
  vcpu_runstate_info.write(scratchView, 0, asOfEntry(runstate));
  writeArea(host, vcpu, runstate.area, scratch);
}
