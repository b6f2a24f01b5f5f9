/**
 * The loop: pick a vCPU, deliver what is pending, let it run up to the next timer, act on why it stopped. It runs in slices,
 * so that whoever drives it (command line, worker) can look after keys and screen between them.
 */
import { enterCore, leaveCore } from '../hypercalls/vcpu/runstate.ts';
import type { Exit } from './cpu/exit.ts';
import type { Machine } from './machine.ts';
import { handlePvExit } from './trap/pv.ts';
import { reloadSegments, returnToGuest } from './trap/return.ts';
import { hex, vectorName } from './trap/trap_host.ts';
import type { Vcpu } from './vcpu.ts';

/** Why a slice ended. */
export type Slice =
  /** The instructions are spent, or enough has happened: go on soon. */
  | { readonly kind: 'running' }
  /** Nobody can run before `deadline` (undefined: before input comes). */
  | { readonly kind: 'idle'; readonly deadline: bigint | undefined }
  /** No domain is left that could run. */
  | { readonly kind: 'over' };

/** Exits after which a slice ends even if few instructions retired. */
const EXITS_PER_SLICE = 10_000;

/**
 * Runs at most `budget` instructions, exactly that many unless the slice ends for another reason. Without `mayJump` an idle
 * machine's time stands still, so that its driver may wait for input first.
 */
export function runSlice(machine: Machine, budget: number, mayJump = true): Slice {
  const { cpu, clock, timers, scheduler } = machine;
  const end = cpu.instructionCount + budget;
  // Who runs, until when, as long as timers and scheduler are what they were.
  let vcpu: Vcpu | undefined;
  let until = 0;
  let timersThen = -1;
  let schedulerThen = -1;
  for (machine.exitsLeft = EXITS_PER_SLICE; machine.exitsLeft > 0; machine.exitsLeft--) {
    if (cpu.instructionCount >= until || timers.revision !== timersThen || scheduler.revision !== schedulerThen) {
      const now = clock.now();
      timers.fireDue(now);
      vcpu = scheduler.pick(now);
      until = 0;
      timersThen = timers.revision;
      schedulerThen = scheduler.revision;
    }
    if (vcpu === undefined) {
      takeOffCore(machine);
      if (isOver(machine)) return { kind: 'over' };
      const deadline = timers.next();
      if (deadline === undefined || !mayJump || !clock.idleUntil(deadline)) return { kind: 'idle', deadline };
      timersThen = -1;
      continue;
    }
    putOnCore(machine, vcpu);
    returnToGuest(machine, vcpu);
    if (vcpu.domain.shutdownReason === undefined) {
      const left = end - cpu.instructionCount;
      if (left <= 0) return { kind: 'running' };
      if (until === 0 || timers.revision !== timersThen) until = cpu.instructionCount + instructionsOfTurn(machine);
      const watched = machine.observer?.resuming(machine, vcpu) ?? left;
      const exit = cpu.run(Math.min(left, watched, until - cpu.instructionCount));
      if (machine.traceExit) machine.traceExit(`${vcpu.name} ${describeExit(exit)} at ${hex(cpu.rip)}`);
      if (machine.countsExits) countExit(machine, exit);
      handlePvExit(machine, vcpu, exit);
    }
    if (!vcpu.isRunnable) takeOffCore(machine);
  }
  return { kind: 'running' };
}

/** Every domain that has ever run has ended. */
const isOver = ({ domains }: Machine): boolean =>
  [...domains.values()].every(({ vcpus, shutdownReason, isDying }) => vcpus.length === 0 || isDying || shutdownReason !== undefined);

function putOnCore(machine: Machine, vcpu: Vcpu): void {
  if (machine.onCore === vcpu) return;
  takeOffCore(machine);
  if (machine.switchTo(vcpu)) reloadSegments(machine, vcpu);
  machine.onCore = vcpu;
  enterCore(machine, vcpu);
}

function takeOffCore(machine: Machine): void {
  if (machine.onCore === undefined) return;
  leaveCore(machine, machine.onCore);
  machine.onCore = undefined;
}

/** Up to the next timer, or to the end of the turn if somebody else waits. */
function instructionsOfTurn({ clock, timers, scheduler }: Machine): number {
  const deadline = timers.next();
  const { turnEnd } = scheduler;
  const until = deadline === undefined || (turnEnd !== undefined && turnEnd < deadline) ? turnEnd : deadline;
  return until === undefined ? Number.MAX_SAFE_INTEGER : clock.instructionsUntil(until);
}

function countExit({ exitCounts }: Machine, exit: Exit): void {
  const reason = exit.kind === 'exception' ? vectorName(exit.vector) : exit.kind === 'budget' ? 'end of slice' : describeExit(exit);
  exitCounts.set(reason, (exitCounts.get(reason) ?? 0) + 1);
}

function describeExit(exit: Exit): string {
  switch (exit.kind) {
    case 'exception': {
      const errorCode = exit.errorCode === undefined ? '' : ` [${hex(exit.errorCode)}]`;
      return `${vectorName(exit.vector)}${errorCode}${exit.cr2 === undefined ? '' : ` ${hex(exit.cr2)}`}`;
    }
    case 'softwareInterrupt':
      return exit.opcode === 'int' ? `int ${hex(exit.vector)}` : exit.opcode;
    case 'syscall':
    case 'hypercall':
      return exit.opcode;
    case 'instruction':
      return exit.name;
    default:
      return exit.kind;
  }
}
