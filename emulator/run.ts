/**
 * The loop: take the core that is furthest behind, deliver what is pending for the vCPU on it, let that run up to the next
 * timer or decision, act on why it stopped. It runs in slices, so that whoever drives it (command line, worker) can look
 * after keys and screen between them.
 */
import { type PvVcpu, pvVcpu } from '../hypercalls/pv_cpu/state.ts';
import type { Exit } from './cpu/exit.ts';
import type { Machine } from './machine.ts';
import { handlePvExit } from './trap/pv.ts';
import { returnPlainly, returnToGuest } from './trap/return.ts';
import { hex, vectorName } from './trap/trap_host.ts';
import type { Vcpu } from './vcpu.ts';

/** Why a slice ended. */
export type Slice =
  /** The instructions are spent, or enough has happened: go on soon. */
  | { readonly kind: 'running' }
  /** Nobody can run before `deadline`, in nanoseconds of virtual time (Infinity: before input comes). */
  | { readonly kind: 'idle'; readonly deadline: number }
  /** No domain is left that could run. */
  | { readonly kind: 'over' };

/** Exits after which a slice ends even if few instructions retired. */
const EXITS_PER_SLICE = 10_000;

/**
 * Runs at most `budget` instructions, exactly that many unless the slice ends for another reason. Without `mayJump` an idle
 * machine's time stands still, so that its driver may wait for input first.
 */
export function runSlice(machine: Machine, budget: number, mayJump = true): Slice {
  const { cpu, cores } = machine;
  machine.sliceEnd = cpu.instructionCount + budget;
  for (machine.exitsLeft = EXITS_PER_SLICE; machine.exitsLeft > 0; machine.exitsLeft--) {
    if (!machine.turn.isValid || cpu.instructionCount >= machine.turnEnd) {
      if (!takeTurn(machine, cpu.instructionCount)) {
        if (fireDue(machine)) continue;
        if (isOver(machine)) return { kind: 'over' };
        if (!mayJump || !jump(machine)) return { kind: 'idle', deadline: machine.timers.next() };
        continue;
      }
      // A timer has ended a domain.
      if (machine.exitsLeft <= 0) break;
    }
    const vcpu = cores.active.running!.owner;
    returnToGuest(machine, vcpu);
    if (!vcpu.domain.isRunnable) continue;
    const left = machine.sliceEnd - cpu.instructionCount;
    if (left <= 0) return { kind: 'running' };
    const watched = machine.observer?.resuming(machine, vcpu) ?? left;
    const exit = cpu.run(Math.min(left, watched, machine.turnEnd - cpu.instructionCount));
    const leaving = machine.current;
    if (machine.traceExit) machine.traceExit(`${leaving.name} ${describeExit(exit)} at ${hex(cpu.rip)}`);
    if (machine.countsExits) countExit(machine, exit);
    handlePvExit(machine, leaving, exit);
  }
  return { kind: 'running' };
}

/** Every domain that has ever run has ended. */
const isOver = ({ domains }: Machine): boolean =>
  [...domains.values()].every(({ vcpus, shutdownReason, isDying }) => vcpus.length === 0 || isDying || shutdownReason !== undefined);

/** Every core idles: timers that are due by the machine's time fire. False: none is. */
function fireDue({ clock, timers }: Machine): boolean {
  if (timers.next() > clock.ns) return false;
  timers.fireDue(clock.ns);
  return true;
}

/** Nobody runs before the next timer: time jumps there. False: no timer is set, or the host must wait for it. */
function jump({ clock, timers }: Machine): boolean {
  const deadline = timers.next();
  return deadline !== Number.POSITIVE_INFINITY && clock.idleUntil(deadline);
}

/** `count` instructions have retired: the core that is furthest behind acts next, with the registers of its vCPU. False: every core idles. */
function takeTurn(machine: Machine, count: number): boolean {
  const { cores, clock } = machine;
  const until = cores.takeTurn(clock.nowAt(count));
  if (until < 0) return false;
  const { active } = cores;
  machine.switchTo(active.running!.owner);
  machine.turnEnd = count + clock.instructionsFor(until - active.ns);
  return true;
}

/**
 * Within a run whose turn is over: the vCPU of the next turn goes on in it, as `runSlice` would have it do in a run of its
 * own. Where it would do something else first, the run stops.
 */
export function turnWithinRun(machine: Machine): void {
  const { cpu } = machine;
  if (takeTurn(machine, cpu.instructionCount) && machine.exitsLeft > 0) {
    const { current } = machine;
    const pv = pvVcpu.of(current);
    if (returnPlainly(machine, current, pv) || isBackInGuest(machine, current, pv)) {
      const budget = Math.min(machine.sliceEnd, machine.turnEnd) - cpu.instructionCount;
      if (budget > 0) return cpu.proceed(budget);
    }
  }
  cpu.requestStop();
}

/** It goes on, and so does its turn. */
function isBackInGuest(machine: Machine, vcpu: Vcpu, pv: PvVcpu): boolean {
  returnToGuest(machine, vcpu, pv);
  return vcpu.domain.isRunnable && machine.turn.isValid;
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
