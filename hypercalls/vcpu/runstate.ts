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

function change(host: Host, vcpu: Vcpu, state: number): void {
  host.timeline?.runstateChanged(vcpu, state);
  const runstate = runstateOf.of(vcpu);
  // The core on which it ran last may be ahead of the one that acts.
  const now = Math.max(guestNs(host, vcpu.domain), runstate.entryTime);
  runstate.time[runstate.state]! += now - runstate.entryTime;
  runstate.entryTime = now;
  runstate.state = state;
}

/** The vCPU has come into being: its times count from here. */
export function beginRunstate(host: Host, vcpu: Vcpu): void {
  runstateOf.of(vcpu).entryTime = guestNs(host, vcpu.domain);
}

/** RUNSTATE_*. */
export const currentRunstate = (vcpu: Vcpu): number => runstateOf.of(vcpu).state;

/** The run loop puts the vCPU on a core: its registers are loaded and it runs next. */
export function enterCore(host: Host, vcpu: Vcpu): void {
  change(host, vcpu, RUNSTATE_running);
  updateRunstateArea(host, vcpu);
  updateTimeInfo(host, vcpu);
  startTicking(host, vcpu);
}

/** The run loop takes it off: preempted, blocked, paused or down. Its siblings see so in its area. */
export function leaveCore(host: Host, vcpu: Vcpu): void {
  leaveCoreTimers(vcpu);
  change(host, vcpu, vcpu.isUp && vcpu.isBlocked ? RUNSTATE_blocked : vcpu.isRunnable ? RUNSTATE_runnable : RUNSTATE_offline);
  updateRunstateArea(host, vcpu);
}

/** It may have begun to wait for a core: it came up, was woken or unpaused. One that is down or paused is no longer blocked then, just offline. */
export function becomeRunnable(host: Host, vcpu: Vcpu): void {
  const { state } = runstateOf.of(vcpu);
  if (vcpu.isRunnable) {
    if (state === RUNSTATE_blocked || state === RUNSTATE_offline) change(host, vcpu, RUNSTATE_runnable);
  } else if (!vcpu.isBlocked && state === RUNSTATE_blocked) {
    change(host, vcpu, RUNSTATE_offline);
  }
}

/** It was taken down, or its domain was paused, while it waited for a core. */
export function goOffline(host: Host, vcpu: Vcpu): void {
  if (runstateOf.of(vcpu).state === RUNSTATE_runnable) change(host, vcpu, RUNSTATE_offline);
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
function updateRunstateArea(host: Host, vcpu: Vcpu): void {
  const runstate = runstateOf.of(vcpu);
  if (runstate.area === 0n) return;
  vcpu_runstate_info.write(scratchView, 0, asOfEntry(runstate));
  writeArea(host, vcpu, runstate.area, scratch);
}
