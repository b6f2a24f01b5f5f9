/**
 * One emulated x86-64 logical processor over its RAM: its registers, and the reactions of the whole to a changed register.
 * It runs in run_loop.ts; instructions that need more than that are in system/; the interface that others see is
 * interface.ts.
 */
import { Breakpoints } from './breakpoints.ts';
import { Contexts } from './contexts.ts';
import { CR0_TRANSLATION, CR4_TRANSLATION, EFER_TRANSLATION } from './control_registers.ts';
import { toDecodedInstruction } from './decoded_instruction.ts';
import { Engine, type EngineKind } from './engine.ts';
import type { Exit } from './exit.ts';
import { Fault, hasErrorCode, NMI } from './fault.ts';
import { IF, RF } from './flags.ts';
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
import type { KnownPlaces } from './known_places.ts';
import * as L from './layout.ts';
import { Mmu } from './mmu.ts';
import { ModeTracker } from './mode.ts';
import type { AccessListener, NestedPaging } from './nested.ts';
import { exitOf, RunLoop } from './run_loop.ts';
import { type CpuSnapshot, loadMemory, saveMemory } from './snapshot.ts';
import { ACTIVITY_MOV_SS, ACTIVITY_NMI_BLOCKED, ACTIVITY_NMI_PENDING, CS_INDEX, SHADOWS, SS_INDEX, State, segmentIndex } from './state.ts';
import { EngineClock, type EngineStatistics } from './statistics.ts';
import { deliverException, deliverInterrupt } from './system/interrupts.ts';
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

export function createCpu(options: CpuOptions): CpuCore {
  return new CpuCore(options);
}

export class CpuCore implements Cpu {
  readonly memory: PhysicalMemory;
  readonly host: CpuHost;
  readonly intercepts: Intercepts;
  readonly state: State;
  readonly mmu: Mmu;
  readonly known: KnownPlaces;
  readonly knownInside: KnownPlaces;
  readonly #breakpoints = new Breakpoints();
  readonly gpr: BigUint64Array;
  readonly gprWords: Int32Array;
  readonly #engine: Engine;
  readonly #loop: RunLoop;
  readonly #clock: EngineClock | undefined;
  readonly #modes: ModeTracker;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #contexts: Contexts;
  #hostBreakpoints = new Map<string, readonly [bigint, bigint]>();

  constructor(options: CpuOptions) {
    const { memorySize } = options;
    if (memorySize % L.WASM_PAGE !== 0) throw new RangeError(`memorySize ${memorySize} is no multiple of 64 KiB`);
    this.host = options.host;
    this.intercepts = options.intercepts;
    const calls = {
      miss: (low: number, high: number, descriptor: number, record: number) => this.#loop.miss(low, high, descriptor, record),
      split: () => this.mmu.split(),
      helper: (helper: number, record: number) => this.#loop.helper(helper, record),
      syscall: (length: number) => this.#loop.syscall(length),
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
    this.mmu = new Mmu(buffer, memorySize, code, this.#breakpoints, this.#engine.home, nested);
    this.known = this.mmu.known;
    this.knownInside = this.mmu.knownInside;
    this.#contexts = new Contexts(this.#engine, this.mmu, this.#modes, this.#breakpoints, {
      configureBreakpoints: () => this.#configureBreakpoints(),
      configureMmu: () => this.#configureMmu(),
      reconfigure: () => this.#reconfigure(),
      forget: () => this.flushTlb({ global: true }),
    });
    this.#loop = new RunLoop(this, this.#engine, this.#modes, this.#breakpoints, this.#clock);
    this.memory = {
      size: memorySize,
      bytes: ram,
      view: new DataView(buffer, L.RAM, memorySize),
      isCode: code.isCode,
      copy: (to, from, size) => this.#engine.copy(L.RAM + to, L.RAM + from, size),
      // A maddr has 32 bits.
      written: (maddr, size) => {
        if (code.isCodePage(maddr >>> 12) || (maddr & 0xfff) + size > L.PAGE_SIZE) code.invalidate(maddr, size);
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
  get hasDataSegments(): boolean {
    return this.state.hasDataSegments;
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
    return this.#loop.instructionCount;
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
  get flushes(): number {
    return this.known.flushes;
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
    const isCode = this.#engine.code.isCodePage(frame);
    if (!isCode && !this.mmu.mayLeadTo(frame)) return;
    this.#contexts.forgetFrame(frame);
    if (!this.mmu.flushFrame(frame)) this.flushTlb({ global: true });
    else if (isCode) this.#engine.code.jumps.forget();
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
      wantsInterruptWindow: this.#loop.wantsInterruptWindow,
      memory: saveMemory(this.memory),
    };
  }

  restore(snapshot: CpuSnapshot): void {
    loadMemory(this.memory, snapshot.memory);
    this.#contexts.forgetParked();
    this.loadContext(snapshot.context);
    this.#loop.instructionCount = snapshot.instructions;
    this.#loop.wantsInterruptWindow = snapshot.wantsInterruptWindow;
  }

  // Running

  requestStop(): void {
    this.#loop.requestStop();
  }

  proceed(budget: number): void {
    this.#loop.proceed(budget);
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
    this.state.systemFlags &= ~RF;
    this.state.activity &= ~SHADOWS;
    this.#loop.retireOne();
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
    this.#loop.wantsInterruptWindow = isWanted;
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
    return this.canTakeNmi() ? this.takeNmi() : undefined;
  }

  /** One is pending, and neither another nor MOV SS holds it back; STI's shadow does not. */
  canTakeNmi(): boolean {
    return (this.state.activity & (ACTIVITY_NMI_PENDING | ACTIVITY_NMI_BLOCKED | ACTIVITY_MOV_SS)) === ACTIVITY_NMI_PENDING;
  }

  /** Delivers the NMI that is pending. */
  takeNmi(): Exit | undefined {
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
    return this.#loop.run(budget);
  }
}
