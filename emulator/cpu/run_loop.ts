/**
 * The run loop around the generated code: enters the engine with so many instructions, acts on why it came back (lookups,
 * system instructions, faults, debug traps, news from the host) and counts what has retired. What generated code calls
 * while it runs is here, too. The registers are the CPU's (cpu.ts).
 */
import type { Breakpoints } from './breakpoints.ts';
import type { CpuCore } from './cpu.ts';
import type { Engine } from './engine.ts';
import type { Exit } from './exit.ts';
import { DB, Fault, GP, hasErrorCode, Unsupported } from './fault.ts';
import { RF, TF } from './flags.ts';
import { helpers } from './helpers.ts';
import * as L from './layout.ts';
import type { ModeTracker } from './mode.ts';
import { NestedFault, WATCHED } from './nested.ts';
import { ACTIVITY_MOV_SS, ACTIVITY_NMI_PENDING, ACTIVITY_STI, SHADOWS, SS_INDEX, type State } from './state.ts';
import type { EngineClock } from './statistics.ts';
import { systemFunctions } from './system/index.ts';
import { deliverException, interceptException } from './system/interrupts.ts';

const DR6_BS = 0x4000;
const STOPPED: Exit = { kind: 'stopped' };
const BUDGET_SPENT: Exit = { kind: 'budget' };
/** Exceptions delivered without an instruction retired between them after which `run` returns early. */
const MAX_IDLE_DELIVERIES = 1000;

/** What ends a run from deep inside it, as an Exit; anything else is a bug of ours. */
function toExit(refusal: unknown): Exit {
  if (refusal instanceof NestedFault) return refusal.exit;
  if (refusal instanceof Unsupported) return { kind: 'unsupported', what: refusal.what };
  throw refusal;
}

/** The Exit that `deliver` gives or ends in. */
export function exitOf(deliver: () => Exit | undefined): Exit | undefined {
  try {
    return deliver();
  } catch (refusal) {
    return toExit(refusal);
  }
}

/** Instructions are counted from the beginning of all; outside the engine REMAINING is 0. */
export class RunLoop {
  readonly #cpu: CpuCore;
  readonly #engine: Engine;
  readonly #modes: ModeTracker;
  readonly #breakpoints: Breakpoints;
  readonly #clock: EngineClock | undefined;
  readonly #state: State;
  readonly #view: DataView;
  /** An exception that generated code ran into through a helper or a TLB miss. */
  #pending: Fault | NestedFault | typeof WATCHED | undefined;
  #isStopRequested = false;
  /** How many will have retired when the engine has spent what it was given: so many less REMAINING have. */
  #due = 0;
  /** How many may have retired when the current `run` returns. */
  #end = 0;
  /** How many may have retired when the engine returns at the latest. */
  #sliceEnd = 0;
  /** The engine was given one instruction, and gets no more. */
  #isSingle = true;
  /** `run` shall return as soon as an interrupt can be taken. */
  wantsInterruptWindow = false;

  constructor(cpu: CpuCore, engine: Engine, modes: ModeTracker, breakpoints: Breakpoints, clock: EngineClock | undefined) {
    this.#cpu = cpu;
    this.#engine = engine;
    this.#modes = modes;
    this.#breakpoints = breakpoints;
    this.#clock = clock;
    this.#state = cpu.state;
    this.#view = engine.view;
  }

  get instructionCount(): number {
    return this.#due - this.#state.words[L.REMAINING >> 2]!;
  }
  /** Between runs. */
  set instructionCount(value: number) {
    this.#due = value;
  }

  /** One that the host has performed retires, which `run` does not count. */
  retireOne(): void {
    this.#due++;
    this.#end++;
    this.#sliceEnd++;
  }

  /** `run` returns behind the instruction that is running. */
  requestStop(): void {
    this.#isStopRequested = true;
  }

  /**
   * The host's SYSCALL has put another processor's registers in the CPU: the run goes on with those for so many
   * instructions, or stops if it would have to be another run.
   */
  proceed(budget: number): void {
    const { words, systemFlags, activity } = this.#state;
    const left = words[L.REMAINING >> 2]!;
    const count = this.#due - left;
    const slice = Math.min(budget, this.#sliceEnd - count);
    const isPlain = (systemFlags & TF) === 0 && (activity & SHADOWS) === 0 && !this.#breakpoints.isActive;
    if (this.#isSingle || slice <= 0 || !isPlain) return this.requestStop();
    this.#end = count + budget;
    this.#due = count + slice;
    this.#engine.granted += slice - left;
    words[L.REMAINING >> 2] = slice;
  }

  /** What the engine was given and has not spent. */
  #takeBack(): void {
    const { words } = this.#state;
    this.#due -= words[L.REMAINING >> 2]!;
    words[L.REMAINING >> 2] = 0;
  }

  run(budget: number): Exit {
    this.#end = this.#due + budget;
    try {
      return this.#clock ? this.#clock.run(() => this.#run()) : this.#run();
    } catch (refusal) {
      return toExit(refusal);
    } finally {
      this.#cpu.mmu.isBatched = false;
      this.#takeBack();
    }
  }

  #run(): Exit {
    const view = this.#view;
    const hasHostSyscall = this.#cpu.host.syscall !== undefined && this.#cpu.intercepts.syscall;
    let record = 0;
    // Whether RIP is where a branch goes, and no place in the middle of something.
    let isTarget = false;
    let deliveries = 0;
    const start = this.#due;
    let retiredBefore = start;
    const startLow = view.getInt32(L.RIP, true);
    const startHigh = view.getInt32(L.RIP + 4, true);
    // The instruction at RIP touches a watched page.
    let isWatched = false;
    this.#isStopRequested = false;
    for (;;) {
      if (this.#isStopRequested) return STOPPED;
      if (this.wantsInterruptWindow && this.#cpu.canTakeInterrupt) {
        this.wantsInterruptWindow = false;
        return { kind: 'interruptWindow' };
      }
      if (this.#cpu.canTakeNmi()) {
        const exit = this.#cpu.takeNmi();
        if (exit) return exit;
        record = 0;
      }
      if (this.#due >= this.#end) return BUDGET_SPENT;
      try {
        if (record === 0) {
          record = isTarget ? 0 : this.#engine.code.jumps.atRip();
          if (record === 0) record = this.#lookup(isTarget);
          if (this.#due === start && view.getUint16(record + L.R_HANDLER, true) === L.HANDLER_BREAKPOINT) {
            const isFirst = view.getInt32(L.RIP, true) === startLow && view.getInt32(L.RIP + 4, true) === startHigh;
            if (isFirst) record += L.RECORD_SIZE;
          }
        }
        isTarget = false;
        if (this.#engine.wantsSample) this.#engine.sample(this.#modes.current, () => this.#locateRip());
        const isStepping = (this.#state.systemFlags & TF) !== 0;
        const isWatching = this.#breakpoints.isActive;
        if (isWatching) this.#checkInstructionBreakpoint();
        const { activity } = this.#state;
        const isWaiting = (activity & SHADOWS) !== 0 && (this.wantsInterruptWindow || (activity & ACTIVITY_NMI_PENDING) !== 0);
        const most = isStepping || isWatching || isWatched || isWaiting ? 1 : this.#engine.slice;
        const count = this.#due;
        const slice = Math.min(this.#end - count, most);
        this.#sliceEnd = count + most;
        this.#isSingle = slice === 1;
        // A host's way out of a single-stepped SYSCALL has a trap of its own (SYSRET with TF).
        view.setInt32(L.HAS_HOST_SYSCALL, Number(hasHostSyscall && !isStepping), true);
        view.setInt32(L.REMAINING, slice, true);
        this.#due = count + slice;
        this.#cpu.mmu.isBatched = slice > 1;
        const next = this.#engine.run(record, slice);
        this.#cpu.mmu.isBatched = false;
        isWatched = false;
        this.#takeBack();
        if (slice === 1) this.#finishWatched(count);
        const reason = next === 0 ? view.getInt32(L.STOP_REASON, true) : 0;
        // RF and shadows are what the host's SYSCALL has left there, if that came last.
        if (this.#due > count && reason !== L.STOP_NEWS) this.#clearShadows();
        if (next !== 0) {
          record = next;
          this.#setRipTo(next);
          if (isStepping || isWatching) {
            const exit = this.#raiseDebugTrap(isStepping);
            if (exit) return exit;
            record = 0;
          }
          continue;
        }
        record = 0;
        if (reason === L.STOP_LOOKUP) {
          isTarget = true;
          continue;
        }
        if (reason === L.STOP_NEWS) continue;
        const stopped = view.getInt32(L.STOP_RECORD, true);
        this.#state.copy(L.RIP, stopped + L.R_RIP);
        if (reason === L.STOP_SYSTEM) {
          const generation = view.getInt32(L.JUMP_GENERATION, true);
          const exit = this.#system(stopped, isStepping);
          if (exit) return exit;
          record = this.#recordBehind(stopped, generation);
          continue;
        }
        if (reason === L.STOP_BREAKPOINT) return { kind: 'breakpoint' };
        let fault = this.#pending;
        this.#pending = undefined;
        if (fault === WATCHED) {
          isWatched = true;
          record = stopped;
          continue;
        }
        if (reason === L.STOP_EXCEPTION) {
          const vector = view.getInt32(L.STOP_DETAIL, true);
          fault = new Fault(vector, hasErrorCode(vector) ? view.getInt32(L.ARGS, true) : undefined);
        }
        throw fault ?? new Error('bug: the loop stopped for no reason');
      } catch (fault) {
        if (!(fault instanceof Fault)) throw fault;
        record = 0;
        const exit = this.#raise(fault);
        if (exit) return exit;
        // A handler that faults on its own first instruction for ever must not hold the host.
        if (this.#due !== retiredBefore) deliveries = 0;
        retiredBefore = this.#due;
        if (++deliveries > MAX_IDLE_DELIVERIES) return BUDGET_SPENT;
      }
    }
  }

  /** What an instruction accesses it does before it counts. */
  #finishWatched(before: number): void {
    const due = this.#due;
    this.#due = before;
    this.#cpu.mmu.finishWatched();
    this.#due = due;
  }

  /** The record behind a system instruction's; 0 when that changed the mode, a mapping (another jump generation) or RIP. */
  #recordBehind(record: number, generation: number): number {
    const { words } = this.#state;
    const next = (record + L.R_RIP_NEXT) >> 2;
    const isBehind = words[L.RIP >> 2] === words[next] && words[(L.RIP >> 2) + 1] === words[next + 1];
    return isBehind && words[L.JUMP_GENERATION >> 2] === generation ? record + L.RECORD_SIZE : 0;
  }

  #locateRip(): { rip: bigint; maddr: number } | undefined {
    const { rip } = this.#cpu;
    const translation = this.#cpu.translate(rip, 'execute');
    return translation.ok ? { rip, maddr: translation.maddr } : undefined;
  }

  #clearShadows(): void {
    if (this.#state.activity & SHADOWS) this.#state.activity &= ~SHADOWS;
    if (this.#state.systemFlags & RF) this.#state.systemFlags &= ~RF;
  }

  #setRipTo(record: number): void {
    // The lookup pseudo record stands for RIP itself.
    if (this.#view.getUint16(record + L.R_HANDLER, true) !== L.HANDLER_LOOKUP) this.#state.copy(L.RIP, record + L.R_RIP);
  }

  #lookup(isTarget: boolean): number {
    const rip = this.#cpu.rip;
    const isUser = this.#cpu.cpl === 3;
    const { current: mode, codeBase, codeLimit } = this.#modes;
    const linear = BigInt.asUintN(mode.code === 64 ? 64 : 32, rip + codeBase);
    if (mode.code !== 64 && rip > BigInt(codeLimit)) throw new Fault(GP, 0);
    const locate = (vaddr: bigint): number => {
      const found = this.#cpu.mmu.locate(vaddr, 'execute', isUser);
      if (!this.#cpu.mmu.isGlobal(vaddr, 'execute', isUser)) this.#engine.code.jumps.noteLocalCode();
      return found;
    };
    const maddr = locate(linear);
    if (maddr >= this.#cpu.memory.size) throw new Fault(GP, 0);
    return this.#engine.code.lookup(rip, maddr, mode, isTarget, () => {
      const next = (linear & ~0xfffn) + 4096n;
      return locate(BigInt.asUintN(mode.code === 64 ? 64 : 32, next));
    });
  }

  /** The host performs a SYSCALL within the loop (host_syscall.ts); not 0: that may go on. */
  syscall(length: number): number {
    this.#cpu.mmu.isBatched = false;
    this.#cpu.host.syscall!(length);
    this.#cpu.mmu.isBatched = !this.#isSingle;
    return this.#isStopRequested || this.wantsInterruptWindow || this.#cpu.canTakeNmi() ? 0 : 1;
  }

  #system(record: number, isStepping: boolean): Exit | undefined {
    const insn = this.#engine.code.blocks.insns.get(record);
    if (!insn) throw new Error('bug: a system instruction without its decoded form');
    const result = systemFunctions[this.#view.getInt32(L.STOP_DETAIL, true)]!(this.#cpu, insn);
    if (typeof result === 'object') return result;
    if (result === undefined || result === 'shadow' || result === 'stackShadow') {
      this.#state.advance(insn.length, this.#modes.current.code === 64);
    }
    this.#due++;
    this.#state.systemFlags &= ~(result === 'keepRf' ? 0 : RF);
    const shadow = result === 'shadow' ? ACTIVITY_STI : result === 'stackShadow' ? ACTIVITY_MOV_SS : 0;
    this.#state.activity = (this.#state.activity & ~SHADOWS) | shadow;
    const isTrapped = result === 'switched' ? (this.#state.systemFlags & TF) !== 0 : isStepping;
    return result === 'stackShadow' ? undefined : this.#raiseDebugTrap(isTrapped);
  }

  miss(low: number, high: number, descriptor: number, record: number): number {
    try {
      const base = this.#view.getUint8(record + L.R_BASE);
      const isStack = this.#view.getUint8(record + L.R_SEGMENT) === SS_INDEX && (base === 32 || base === 40);
      return this.#cpu.mmu.miss(low, high, descriptor, isStack);
    } catch (fault) {
      this.#stopWith(fault, record);
      return 0;
    }
  }

  helper(helper: number, record: number): number {
    try {
      helpers[helper]!(this.#cpu, record, this.#engine.code.blocks.insns.get(record));
      return 0;
    } catch (fault) {
      this.#stopWith(fault, record);
      return 1;
    }
  }

  /** A fault inside generated code stops the loop; anything else is a bug of ours and goes up through it. */
  #stopWith(fault: unknown, record: number): void {
    if (!(fault instanceof Fault || fault instanceof NestedFault || fault === WATCHED)) throw fault;
    this.#pending = fault as Fault | NestedFault | typeof WATCHED;
    this.#view.setInt32(L.STOP_RECORD, record, true);
    this.#view.setInt32(L.STOP_REASON, L.STOP_PENDING, true);
  }

  /** Raises an exception at RIP: an Exit when it is intercepted, else it is delivered through the IDT. */
  #raise(fault: Fault): Exit | undefined {
    return interceptException(this.#cpu, fault) ?? deliverException(this.#cpu, fault);
  }

  /** The trap after an instruction that began with TF set or met a data breakpoint: RIP is behind it. */
  #raiseDebugTrap(isStepping: boolean): Exit | undefined {
    const dr6 = (isStepping ? DR6_BS : 0) | this.#breakpoints.hits;
    this.#breakpoints.hits = 0;
    return dr6 === 0 ? undefined : this.#raise(new Fault(DB, undefined, undefined, dr6));
  }

  /** Instruction breakpoints are faults, unless RFLAGS.RF holds them off for one instruction. */
  #checkInstructionBreakpoint(): void {
    this.#breakpoints.hits = 0;
    if (this.#state.systemFlags & RF) return;
    const linear = BigInt.asUintN(this.#modes.current.code === 64 ? 64 : 32, this.#cpu.rip + this.#modes.codeBase);
    const dr6 = this.#breakpoints.atInstruction(linear);
    if (dr6 !== 0) throw new Fault(DB, undefined, undefined, dr6);
  }
}
