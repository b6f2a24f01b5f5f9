/**
 * One emulated x86-64 logical processor over its RAM: the registers, the run loop around the generated code, and the
 * reactions of the whole to a changed register. Instructions that need more than the loop are in system/; the
 * interface that others see is interface.ts.
 */
import { Breakpoints } from './breakpoints.ts';
import { Contexts } from './contexts.ts';
import { CR0_TRANSLATION, CR4_TRANSLATION, EFER_TRANSLATION } from './control_registers.ts';
import { toDecodedInstruction } from './decoded_instruction.ts';
import { Engine, type EngineKind } from './engine.ts';
import type { Exit } from './exit.ts';
import { DB, Fault, GP, hasErrorCode, NMI, Unsupported } from './fault.ts';
import { IF, RF, TF } from './flags.ts';
import { helpers } from './helpers.ts';
import type {
  Access,
  Cpu,
  CpuContext,
  CpuHost,
  DecodedInstruction,
  DescriptorTable,
  Intercepts,
  PhysicalMemory,
  Segment,
  SegmentName,
  Translation,
  WalkStep,
} from './interface.ts';
import { R11, RCX } from './interface.ts';
import * as L from './layout.ts';
import { Mmu } from './mmu.ts';
import { ModeTracker } from './mode.ts';
import { type AccessListener, NestedFault, type NestedPaging, WATCHED } from './nested.ts';
import { type CpuSnapshot, loadMemory, saveMemory } from './snapshot.ts';
import {
  ACTIVITY_MOV_SS,
  ACTIVITY_NMI_BLOCKED,
  ACTIVITY_NMI_PENDING,
  ACTIVITY_STI,
  CS_INDEX,
  SS_INDEX,
  State,
  segmentIndex,
} from './state.ts';
import { EngineClock, type EngineStatistics } from './statistics.ts';
import { systemFunctions } from './system/index.ts';
import { deliverException, deliverInterrupt, interceptException } from './system/interrupts.ts';
import { readMsr, writeMsr } from './system/msr.ts';
import { loadFxImage } from './x87_helpers.ts';

export interface CpuOptions {
  /** Bytes of RAM, a multiple of 64 KiB. */
  memorySize: number;
  host: CpuHost;
  intercepts: Intercepts;
  /** Default 'translate'; 'interpret' does without the second tier. */
  engine?: EngineKind;
  /**
   * Compile translated code in the background, where a thread must not wait for it (a page's main thread in some
   * browsers). It arrives between two runs, when the thread has returned to its event loop.
   */
  asyncCompilation?: boolean;
  /** Where guest-physical pages lie. Without it a guest-physical address is one of RAM. */
  nested?: NestedPaging;
  /** Hears of each data access to a page that `nested` calls watched. */
  onAccess?: AccessListener;
  /**
   * Instructions between two looks at what runs, while that is interpreted (default 10,000). A small number translates
   * early, and at once instead of in the background: the same run is translated in the same way again.
   */
  hotness?: number;
  /** Milliseconds, only to measure for `statistics`. */
  clock?: () => number;
}

const CS_SELECTOR = L.SYSTEM + 8 * (L.SYS_SEGMENT + CS_INDEX);
const SS_SELECTOR = L.SYSTEM + 8 * (L.SYS_SEGMENT + SS_INDEX);
const SHADOWS = ACTIVITY_STI | ACTIVITY_MOV_SS;
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

function exitOf(deliver: () => Exit | undefined): Exit | undefined {
  try {
    return deliver();
  } catch (refusal) {
    return toExit(refusal);
  }
}

export function createCpu(options: CpuOptions): CpuCore {
  return new CpuCore(options);
}

export class CpuCore implements Cpu {
  readonly memory: PhysicalMemory;
  readonly host: CpuHost;
  readonly intercepts: Intercepts;
  readonly state: State;
  readonly mmu: Mmu;
  readonly #breakpoints = new Breakpoints();
  readonly gpr: BigUint64Array;
  readonly gprWords: Int32Array;
  readonly #engine: Engine;
  readonly #clock: EngineClock | undefined;
  readonly #modes: ModeTracker;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #contexts: Contexts;
  /** An exception that generated code ran into through a helper or a TLB miss. */
  #pending: Fault | NestedFault | typeof WATCHED | undefined;
  #hostBreakpoints = new Map<string, readonly [bigint, bigint]>();
  #isStopRequested = false;
  #instructions = 0;
  /** Retired in the current `run` but not yet in `#instructions`. */
  #retired = 0;
  /** Instructions that the engine was given and of which `#retired` knows nothing yet: so many less REMAINING have run. */
  #slice = 0;
  #wantsInterruptWindow = false;

  constructor(options: CpuOptions) {
    const { memorySize } = options;
    if (memorySize % L.WASM_PAGE !== 0) throw new RangeError(`memorySize ${memorySize} is no multiple of 64 KiB`);
    this.host = options.host;
    this.intercepts = options.intercepts;
    const calls = {
      miss: (low: number, high: number, descriptor: number, record: number) => this.#miss(low, high, descriptor, record),
      split: () => this.mmu.split(),
      helper: (helper: number, record: number) => this.#helper(helper, record),
      syscall: (length: number) => this.#hostSyscall(length),
      protectFrame: (frame: number) => this.mmu.protectFrame(frame),
    };
    this.#clock = options.clock && new EngineClock(options.clock);
    this.#engine = new Engine(memorySize, options.engine ?? 'translate', calls, {
      hotness: options.hotness,
      clock: this.#clock,
      asyncCompilation: options.asyncCompilation,
    });
    const { buffer, view, ram, code } = this.#engine;
    this.#view = view;
    this.#bytes = new Uint8Array(buffer);
    this.state = new State(buffer);
    this.gpr = this.state.gpr;
    this.gprWords = this.state.words.subarray(L.GPR >> 2, (L.GPR >> 2) + 32);
    this.#modes = new ModeTracker(this.state);
    const nested = options.nested && { paging: options.nested, onAccess: options.onAccess };
    this.mmu = new Mmu(buffer, memorySize, code, this.#breakpoints, nested);
    this.#contexts = new Contexts(view, this.mmu, code, this.#breakpoints, {
      configureBreakpoints: () => this.#configureBreakpoints(),
      reconfigure: () => this.#reconfigure(),
      forget: () => this.flushTlb({ global: true }),
    });
    this.memory = {
      size: memorySize,
      bytes: ram,
      view: new DataView(buffer, L.RAM, memorySize),
      written: (maddr, size) => {
        for (let frame = Math.floor(maddr / 4096); frame * 4096 < maddr + size; frame++) {
          if (code.isCodePage(frame)) code.invalidate(maddr, size);
        }
      },
    };
    this.reset();
  }

  /** The state after power-on (SDM 3A 9.1.1): real mode. RIP and CS are 0; who wants the reset vector sets them. */
  reset(): void {
    const { sys, view } = this.state;
    // The jump cache outlives its generations: none may come back.
    const generation = view.getInt32(L.JUMP_GENERATION, true);
    this.#bytes.fill(0, L.CONTEXT_START, L.CONTEXT_END);
    view.setInt32(L.JUMP_GENERATION, generation, true);
    sys[L.SYS_CR0] = 0x10n;
    sys[L.SYS_DR6] = 0xffff0ff0n;
    sys[L.SYS_DR7] = 0x400n;
    sys[L.SYS_PAT] = 0x0007040600070406n;
    sys[L.SYS_GDT_LIMIT] = sys[L.SYS_IDT_LIMIT] = 0xffffn;
    sys[L.SYS_TSC_SCALE] = 1n << 32n;
    view.setInt32(L.MXCSR, 0x1f80, true);
    view.setUint16(L.FCW, 0x37f, true);
    view.setUint16(L.FTW, 0xffff, true);
    this.state.flags = 2;
    for (let i = 0; i < 8; i++)
      this.state.setSegment(i, {
        selector: 0,
        base: 0n,
        limit: 0xffff,
        attributes: i === CS_INDEX ? 0x9b : i < 6 ? 0x93 : i === 6 ? 0x82 : 0x8b,
      });
    this.state.setSegment(SS_INDEX, { selector: 0, base: 0n, limit: 0xffff, attributes: 0x93 });
    this.#reconfigure();
    this.mmu.flush(true);
    this.#engine.reset();
  }

  // Registers

  get rip(): bigint {
    return this.state.rip;
  }
  set rip(value: bigint) {
    this.state.rip = BigInt.asUintN(64, value);
  }
  get rflags(): bigint {
    return BigInt(this.state.flags >>> 0);
  }
  set rflags(value: bigint) {
    this.state.flags = Number(BigInt.asIntN(32, value));
    this.modeChanged();
  }
  get hasCanonicalRip(): boolean {
    const top = this.#view.getInt32(L.RIP + 4, true) >> 15;
    return top === 0 || top === -1;
  }
  saveReturn(): void {
    const { words } = this.state;
    this.state.copy(L.GPR + 8 * RCX, L.RIP);
    words[(L.GPR >> 2) + 2 * R11] = this.state.flags;
    words[(L.GPR >> 2) + 2 * R11 + 1] = 0;
  }
  get cpl(): number {
    return this.state.cpl;
  }
  get cr0(): bigint {
    return this.state.sys[L.SYS_CR0]!;
  }
  set cr0(value: bigint) {
    this.#setControl(L.SYS_CR0, value, CR0_TRANSLATION);
  }
  get cr2(): bigint {
    return this.state.sys[L.SYS_CR2]!;
  }
  set cr2(value: bigint) {
    this.state.sys[L.SYS_CR2] = value;
  }
  get cr3(): bigint {
    return this.state.sys[L.SYS_CR3]!;
  }
  set cr3(value: bigint) {
    if (this.mmu.isPae) this.mmu.loadPdptes(value);
    this.loadCr3(value, false);
  }
  get cr4(): bigint {
    return this.state.sys[L.SYS_CR4]!;
  }
  set cr4(value: bigint) {
    this.#setControl(L.SYS_CR4, value, CR4_TRANSLATION);
  }
  get cr8(): bigint {
    return this.state.sys[L.SYS_CR8]!;
  }
  set cr8(value: bigint) {
    this.state.sys[L.SYS_CR8] = value;
  }
  get efer(): bigint {
    return this.state.sys[L.SYS_EFER]!;
  }
  set efer(value: bigint) {
    this.#setControl(L.SYS_EFER, value, EFER_TRANSLATION);
  }
  get gdtr(): DescriptorTable {
    return this.#table(L.SYS_GDT_BASE);
  }
  set gdtr(value: DescriptorTable) {
    this.#setTable(L.SYS_GDT_BASE, value);
  }
  get idtr(): DescriptorTable {
    return this.#table(L.SYS_IDT_BASE);
  }
  set idtr(value: DescriptorTable) {
    this.#setTable(L.SYS_IDT_BASE, value);
  }

  #table(index: number): DescriptorTable {
    return { base: this.state.sys[index]!, limit: Number(this.state.sys[index + 1]) };
  }
  #setTable(index: number, { base, limit }: DescriptorTable): void {
    this.state.sys[index] = base;
    this.state.sys[index + 1] = BigInt(limit);
  }

  /** `translation`: the bits whose change drops all translations. */
  #setControl(index: number, value: bigint, translation: number): void {
    const changed = this.state.sys[index]! ^ value;
    if (changed === 0n) return;
    const wasPae = this.mmu.isPae;
    this.state.sys[index] = value;
    this.#reconfigure();
    if (this.mmu.isPae && !wasPae) this.mmu.loadPdptes(this.cr3);
    if (changed & BigInt(translation)) this.flushTlb({ global: true });
  }

  getSelector(name: SegmentName): number {
    return this.#view.getUint16(L.SYSTEM + 8 * (L.SYS_SEGMENT + segmentIndex(name)), true);
  }
  get cs(): number {
    return this.#view.getUint16(CS_SELECTOR, true);
  }
  get ss(): number {
    return this.#view.getUint16(SS_SELECTOR, true);
  }
  get codeSize(): 16 | 32 | 64 {
    return this.#modes.current.code;
  }
  getSegment(name: SegmentName): Segment {
    return this.state.getSegment(segmentIndex(name));
  }
  setSegment(name: SegmentName, segment: Segment): void {
    this.state.setSegment(segmentIndex(name), segment);
    this.modeChanged();
  }
  getDr(index: number): bigint {
    return this.state.sys[L.SYS_DR0 + index]!;
  }
  setDr(index: number, value: bigint): void {
    this.state.sys[L.SYS_DR0 + index] = value;
    if (index !== 6) this.#configureBreakpoints();
  }

  #configureBreakpoints(): void {
    const wasActive = this.#breakpoints.isActive;
    const { sys } = this.state;
    this.#breakpoints.configure([...sys.subarray(L.SYS_DR0, L.SYS_DR0 + 4)], Number(sys[L.SYS_DR7]! & 0xffff_ffffn));
    if (wasActive || this.#breakpoints.isActive) this.flushTlb({ global: true });
  }

  readMsr(index: number): bigint | undefined {
    return readMsr(this, index);
  }
  writeMsr(index: number, value: bigint): boolean {
    return writeMsr(this, index, value);
  }
  get instructions(): bigint {
    return BigInt(this.instructionCount);
  }
  get instructionCount(): number {
    return this.#instructions + this.#retired + this.#inSlice();
  }

  /** Retired since the engine was last entered. */
  #inSlice(): number {
    return this.#slice === 0 ? 0 : this.#slice - this.state.words[L.REMAINING >> 2]!;
  }

  #reconfigure(): void {
    this.#configureMmu();
    this.modeChanged();
  }

  #configureMmu(): void {
    const { words } = this.state;
    const at = L.SYSTEM / 4;
    const cr3 = at + 2 * L.SYS_CR3;
    this.mmu.configure(words[at + 2 * L.SYS_CR0]!, words[cr3]!, words[cr3 + 1]!, words[at + 2 * L.SYS_CR4]!, words[at + 2 * L.SYS_EFER]!);
  }

  /** A new CR3; `keeps`: its PCID may keep its translations, which it has as long as it is the present one. */
  loadCr3(value: bigint, keeps: boolean): void {
    const isSamePcid = ((this.state.sys[L.SYS_CR3]! ^ value) & 0xfffn) === 0n;
    this.state.sys[L.SYS_CR3] = value;
    this.#configureMmu();
    if (keeps && isSamePcid) return;
    this.mmu.flush(false);
    this.#engine.code.jumps.forget(true);
  }

  /** After changes of CS, SS, CPL, CR0, CR4, EFER or RFLAGS.AC. */
  modeChanged(): void {
    this.mmu.selectSet();
    if (this.#modes.update()) this.#engine.code.jumps.enterMode(this.#modes.current.key, this.#modes.current.code !== 64);
    this.mmu.isNarrow = this.#modes.current.code !== 64;
  }

  // Translation

  translate(vaddr: bigint, access: Access, user = this.cpl === 3): Translation {
    return this.mmu.translate(vaddr, access, user);
  }
  place(low: number, high: number, access: Access, user: boolean): number {
    return this.mmu.place(low, high, access, user);
  }
  walk(vaddr: bigint): WalkStep[] {
    return this.mmu.walk(vaddr);
  }
  flushTlb(options: { global?: boolean } = {}): void {
    this.mmu.flush(options.global ?? false);
    this.#engine.code.jumps.forget();
  }
  flushTlbPage(vaddr: bigint, everywhere = false): void {
    if (everywhere) this.#contexts.forgetParked();
    this.mmu.flushPage(vaddr);
    this.#engine.code.jumps.forget();
  }

  flushAllTlbs(): void {
    this.flushTlb({ global: true });
    this.#contexts.forgetParked();
  }
  flushTlbFrame(frame: number): void {
    this.#contexts.forgetFrame(frame);
    if (!this.mmu.flushFrame(frame)) this.flushTlb({ global: true });
    else if (this.#engine.code.isCodePage(frame)) this.#engine.code.jumps.forget();
  }

  decode(bytes: Uint8Array): DecodedInstruction | undefined {
    const insn = this.#engine.decoder.decode(bytes, 0, this.rip, this.#modes.current);
    return typeof insn === 'string' ? undefined : toDecodedInstruction(insn);
  }

  // Contexts

  loadFxImage(image: Uint8Array): void {
    loadFxImage(this.state.view, image);
  }

  saveContext(): CpuContext {
    return this.#contexts.save();
  }
  loadContext(context: CpuContext): void {
    this.#contexts.load(context);
  }
  switchContext(previous: CpuContext, next: CpuContext): void {
    this.#contexts.switch(previous, next);
  }

  snapshot(): CpuSnapshot {
    return {
      context: this.saveContext(),
      instructions: this.instructionCount,
      wantsInterruptWindow: this.#wantsInterruptWindow,
      memory: saveMemory(this.memory),
    };
  }

  restore(snapshot: CpuSnapshot): void {
    loadMemory(this.memory, snapshot.memory);
    this.#contexts.forgetParked();
    this.loadContext(snapshot.context);
    this.#instructions = snapshot.instructions;
    this.#wantsInterruptWindow = snapshot.wantsInterruptWindow;
  }

  // Running

  requestStop(): void {
    this.#isStopRequested = true;
  }

  setBreakpoints(ranges: Iterable<readonly [first: bigint, last: bigint]>): void {
    const { code } = this.#engine;
    const wanted = new Map([...ranges].map((range) => [`${range}`, range]));
    const present = this.#hostBreakpoints;
    const changed = [...wanted, ...present].filter(([key]) => !(wanted.has(key) && present.has(key)));
    if (changed.length === 0) return;
    this.#hostBreakpoints = wanted;
    const list = [...wanted.values()];
    code.blocks.isBreakpoint = (rip) => {
      if (list.length === 0) return false;
      const linear = this.#modes.current.code === 64 ? rip : BigInt.asUintN(32, rip + this.#modes.codeBase);
      return list.some(([first, last]) => linear >= first && linear <= last);
    };
    // Blocks know their RIP, not the base of the segment that they ran in.
    if (this.#modes.current.code === 64) for (const [, [first, last]] of changed) code.forgetBetween(first, last);
    else code.clear();
  }

  advance(size: number): void {
    this.state.advance(size, this.#modes.current.code === 64);
    this.state.systemFlags &= ~(1 << 16);
    this.state.activity &= ~SHADOWS;
    this.#instructions++;
  }

  /** Which tiers run; may change between runs. */
  get engine(): EngineKind {
    return this.#engine.kind;
  }
  set engine(kind: EngineKind) {
    this.#engine.kind = kind;
  }

  statistics(): EngineStatistics {
    const { code, regions, translated } = this.#engine;
    return {
      instructions: this.instructions,
      translatedInstructions: translated,
      decoded: code.blocks.decoded,
      translations: regions.translations,
      instructionsInTranslations: regions.instructions,
      liveRegions: regions.count,
      codeBytes: regions.codeBytes,
      tlbMisses: this.mmu.tlbMisses,
      times: this.#clock?.times,
    };
  }

  // Events

  /** STI or MOV SS has just executed: interrupts wait for one instruction. */
  get isShadowed(): boolean {
    return (this.state.activity & SHADOWS) !== 0;
  }

  get canTakeInterrupt(): boolean {
    return (this.state.systemFlags & IF) !== 0 && !this.isShadowed;
  }

  requestInterruptWindow(isWanted = true): void {
    this.#wantsInterruptWindow = isWanted;
  }

  injectInterrupt(vector: number): Exit | undefined {
    return exitOf(() => deliverInterrupt(this, vector));
  }

  injectException(vector: number, errorCode = hasErrorCode(vector) ? 0 : undefined): Exit | undefined {
    const dr6 = Number(this.getDr(6) & 0xe00fn);
    return exitOf(() => deliverException(this, new Fault(vector, errorCode, this.cr2, dr6)));
  }

  injectNmi(): Exit | undefined {
    this.state.activity |= ACTIVITY_NMI_PENDING;
    return this.#canTakeNmi() ? this.#takeNmi() : undefined;
  }

  /** STI's shadow does not hold an NMI back. */
  #canTakeNmi(): boolean {
    return (this.state.activity & (ACTIVITY_NMI_PENDING | ACTIVITY_NMI_BLOCKED | ACTIVITY_MOV_SS)) === ACTIVITY_NMI_PENDING;
  }

  #takeNmi(): Exit | undefined {
    this.state.activity = (this.state.activity & ~ACTIVITY_NMI_PENDING) | ACTIVITY_NMI_BLOCKED;
    return exitOf(() => deliverInterrupt(this, NMI));
  }

  get tscOffset(): bigint {
    return this.state.sys[L.SYS_TSC_OFFSET]!;
  }
  set tscOffset(value: bigint) {
    this.state.sys[L.SYS_TSC_OFFSET] = value;
  }
  get tscScale(): bigint {
    return this.state.sys[L.SYS_TSC_SCALE]!;
  }
  set tscScale(value: bigint) {
    this.state.sys[L.SYS_TSC_SCALE] = value;
  }
  /** The time-stamp counter as the guest sees it. */
  get tsc(): bigint {
    return BigInt.asUintN(64, ((BigInt(this.host.readTsc(this.instructionCount)) * this.tscScale) >> 32n) + this.tscOffset);
  }
  set tsc(value: bigint) {
    this.tscOffset = BigInt.asUintN(64, this.tscOffset + value - this.tsc);
  }

  run(budget: number): Exit {
    try {
      return this.#clock ? this.#clock.run(() => this.#run(budget)) : this.#run(budget);
    } catch (refusal) {
      return toExit(refusal);
    } finally {
      this.mmu.isBatched = false;
      this.#instructions = this.instructionCount;
      this.#slice = this.#retired = 0;
    }
  }

  #run(budget: number): Exit {
    const view = this.#view;
    const hasHostSyscall = this.host.syscall !== undefined && this.intercepts.syscall;
    view.setInt32(L.HAS_HOST_SYSCALL, Number(hasHostSyscall), true);
    let record = 0;
    // Whether RIP is where a branch goes, and no place in the middle of something.
    let isTarget = false;
    let deliveries = 0;
    let retiredBefore = 0;
    const startLow = view.getInt32(L.RIP, true);
    const startHigh = view.getInt32(L.RIP + 4, true);
    // The instruction at RIP touches a watched page.
    let isWatched = false;
    this.#isStopRequested = false;
    for (;;) {
      if (this.#isStopRequested) return STOPPED;
      if (this.#wantsInterruptWindow && this.canTakeInterrupt) {
        this.#wantsInterruptWindow = false;
        return { kind: 'interruptWindow' };
      }
      if (this.#canTakeNmi()) {
        const exit = this.#takeNmi();
        if (exit) return exit;
        record = 0;
      }
      if (this.#retired >= budget) return BUDGET_SPENT;
      try {
        if (record === 0) {
          record = isTarget ? 0 : this.#engine.code.jumps.atRip();
          if (record === 0) record = this.#lookup(isTarget);
          if (this.#retired === 0 && view.getUint16(record + L.R_HANDLER, true) === L.HANDLER_BREAKPOINT) {
            const isFirst = view.getInt32(L.RIP, true) === startLow && view.getInt32(L.RIP + 4, true) === startHigh;
            if (isFirst) record += L.RECORD_SIZE;
          }
        }
        isTarget = false;
        if (this.#engine.wantsSample) this.#engine.sample(this.#modes.current, () => this.#locateRip());
        const isStepping = (this.state.systemFlags & TF) !== 0;
        const isWatching = this.#breakpoints.isActive;
        if (isWatching) this.#checkInstructionBreakpoint();
        const { activity } = this.state;
        const isWaiting = (activity & SHADOWS) !== 0 && (this.#wantsInterruptWindow || (activity & ACTIVITY_NMI_PENDING) !== 0);
        const slice = isStepping || isWatching || isWatched || isWaiting ? 1 : Math.min(budget - this.#retired, this.#engine.slice);
        view.setInt32(L.REMAINING, slice, true);
        this.#slice = slice;
        this.mmu.isBatched = slice > 1;
        const next = this.#engine.run(record, slice);
        if (slice === 1) this.mmu.finishWatched();
        this.mmu.isBatched = false;
        isWatched = false;
        const retired = this.#inSlice();
        this.#slice = 0;
        this.#retired += retired;
        const reason = next === 0 ? view.getInt32(L.STOP_REASON, true) : 0;
        // RF and shadows are what the host's SYSCALL has left there, if that came last.
        if (retired > 0 && reason !== L.STOP_NEWS) this.#clearShadows();
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
        this.state.copy(L.RIP, stopped + L.R_RIP);
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
        const exit = this.raise(fault);
        if (exit) return exit;
        // A handler that faults on its own first instruction for ever must not hold the host.
        if (this.#retired !== retiredBefore) deliveries = 0;
        retiredBefore = this.#retired;
        if (++deliveries > MAX_IDLE_DELIVERIES) return BUDGET_SPENT;
      }
    }
  }

  /** The record behind a system instruction's; 0 when that changed the mode, a mapping (another jump generation) or RIP. */
  #recordBehind(record: number, generation: number): number {
    const { words } = this.state;
    const next = (record + L.R_RIP_NEXT) >> 2;
    const isBehind = words[L.RIP >> 2] === words[next] && words[(L.RIP >> 2) + 1] === words[next + 1];
    return isBehind && words[L.JUMP_GENERATION >> 2] === generation ? record + L.RECORD_SIZE : 0;
  }

  #locateRip(): { rip: bigint; maddr: number } | undefined {
    const { rip } = this;
    const translation = this.translate(rip, 'execute');
    return translation.ok ? { rip, maddr: translation.maddr } : undefined;
  }

  #clearShadows(): void {
    if (this.state.activity & SHADOWS) this.state.activity &= ~SHADOWS;
    if (this.state.systemFlags & (1 << 16)) this.state.systemFlags &= ~(1 << 16);
  }

  #setRipTo(record: number): void {
    // The lookup pseudo record stands for RIP itself.
    if (this.#view.getUint16(record + L.R_HANDLER, true) !== L.HANDLER_LOOKUP) this.state.copy(L.RIP, record + L.R_RIP);
  }

  #lookup(isTarget: boolean): number {
    const rip = this.rip;
    const isUser = this.cpl === 3;
    const { current: mode, codeBase, codeLimit } = this.#modes;
    const linear = BigInt.asUintN(mode.code === 64 ? 64 : 32, rip + codeBase);
    if (mode.code !== 64 && rip > BigInt(codeLimit)) throw new Fault(GP, 0);
    const locate = (vaddr: bigint): number => {
      const found = this.mmu.locate(vaddr, 'execute', isUser);
      if (!this.mmu.isGlobal(vaddr, 'execute', isUser)) this.#engine.code.jumps.noteLocalCode();
      return found;
    };
    const maddr = locate(linear);
    if (maddr >= this.memory.size) throw new Fault(GP, 0);
    return this.#engine.code.lookup(rip, maddr, mode, isTarget, () => {
      const next = (linear & ~0xfffn) + 4096n;
      return locate(BigInt.asUintN(mode.code === 64 ? 64 : 32, next));
    });
  }

  /** The host performs a SYSCALL within the loop (host_syscall.ts); not 0: that may go on. */
  #hostSyscall(length: number): number {
    this.mmu.isBatched = false;
    this.host.syscall!(length);
    this.mmu.isBatched = this.#slice > 1;
    return this.#isStopRequested || this.#wantsInterruptWindow || this.#canTakeNmi() ? 0 : 1;
  }

  #system(record: number, isStepping: boolean): Exit | undefined {
    const insn = this.#engine.code.blocks.insns.get(record);
    if (!insn) throw new Error('bug: a system instruction without its decoded form');
    const result = systemFunctions[this.#view.getInt32(L.STOP_DETAIL, true)]!(this, insn);
    if (typeof result === 'object') return result;
    if (result === undefined || result === 'shadow' || result === 'stackShadow') {
      this.state.advance(insn.length, this.#modes.current.code === 64);
    }
    this.#retired++;
    this.state.systemFlags &= ~(result === 'keepRf' ? 0 : 1 << 16);
    const shadow = result === 'shadow' ? ACTIVITY_STI : result === 'stackShadow' ? ACTIVITY_MOV_SS : 0;
    this.state.activity = (this.state.activity & ~SHADOWS) | shadow;
    const isTrapped = result === 'switched' ? (this.state.systemFlags & TF) !== 0 : isStepping;
    return result === 'stackShadow' ? undefined : this.#raiseDebugTrap(isTrapped);
  }

  #miss(low: number, high: number, descriptor: number, record: number): number {
    try {
      const base = this.#view.getUint8(record + L.R_BASE);
      const isStack = this.#view.getUint8(record + L.R_SEGMENT) === SS_INDEX && (base === 32 || base === 40);
      return this.mmu.miss(low, high, descriptor, isStack);
    } catch (fault) {
      this.#stopWith(fault, record);
      return 0;
    }
  }

  #helper(helper: number, record: number): number {
    try {
      helpers[helper]!(this, record, this.#engine.code.blocks.insns.get(record));
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
  raise(fault: Fault): Exit | undefined {
    return interceptException(this, fault) ?? deliverException(this, fault);
  }

  /** The trap after an instruction that began with TF set or met a data breakpoint: RIP is behind it. */
  #raiseDebugTrap(isStepping: boolean): Exit | undefined {
    const dr6 = (isStepping ? DR6_BS : 0) | this.#breakpoints.hits;
    this.#breakpoints.hits = 0;
    return dr6 === 0 ? undefined : this.raise(new Fault(DB, undefined, undefined, dr6));
  }

  /** Instruction breakpoints are faults, unless RFLAGS.RF holds them off for one instruction. */
  #checkInstructionBreakpoint(): void {
    this.#breakpoints.hits = 0;
    if (this.state.systemFlags & RF) return;
    const linear = BigInt.asUintN(this.#modes.current.code === 64 ? 64 : 32, this.rip + this.#modes.codeBase);
    const dr6 = this.#breakpoints.atInstruction(linear);
    if (dr6 !== 0) throw new Fault(DB, undefined, undefined, dr6);
  }
}
