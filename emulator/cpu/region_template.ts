/**
 * A template as the second tier has it: an instruction's meaning for one shape as code with steps (region_steps.ts). It is
 * written once for a shape, and for what is known of the flags, if it asks for them; region_emitter.ts copies it for each
 * instruction.
 */
import { Emitter } from './emitter.ts';
import { RSP } from './interface.ts';
import { LOOKUP_RECORD } from './interpreter.ts';
import type { Op, RegRef, Value } from './ir.ts';
import { pushIsKnown, pushRecord } from './jump_cache.ts';
import * as L from './layout.ts';
import { KNOWN_FLAGS, type KnownFlags, type LazyFlags } from './lazy_flags.ts';
import { ALONE, FOLLOWS, LEADS, type Reach, reachOf } from './region_access.ts';
import { type Flow, flowOf } from './region_flow.ts';
import { IMPORT_HELPER, IMPORT_SYSCALL } from './region_imports.ts';
import * as S from './region_steps.ts';
import { type FrameLocals, IN_TLB_SET, makeFrameLocals, REF_SIZE, refCode, type Steps, TemplateBody } from './region_steps.ts';
import { type FlagUse, flagUseOf, RegionValues } from './region_values.ts';
import type { Shape, Size } from './shape.ts';
import { SYSTEM_SYSCALL } from './system/syscall.ts';
import type { FunctionBody } from './wasm_writer.ts';

interface TemplateCode extends Steps {
  readonly fallsThrough: boolean;
  /** What is known of the flags behind it; 'same' if it leaves them alone. */
  readonly flagsAfter: KnownFlags | 'same';
  /** Whether it may leave those of an INC or DEC, and how many of regionImports it needs. */
  readonly hasSteps: boolean;
  readonly imports: number;
}

export class RegionTemplate {
  readonly shape: Shape;
  readonly ops: readonly Op[];
  readonly flow: Flow;
  /** The general and vector registers that it touches, by their codes. */
  readonly gprs: readonly number[];
  readonly xmms: readonly number[];
  readonly usesAddress: boolean;
  /** It touches RSP whatever its operands are. */
  readonly usesStack: boolean;
  readonly accesses: number;
  readonly flagUse: FlagUse;
  readonly reach: Reach;
  /** By the role of its access: with the flags that it leaves, and where nobody will see them. */
  readonly #codes: readonly Codes[];
  readonly #codesWithoutFlags: readonly Codes[];

  constructor(shape: Shape, ops: readonly Op[]) {
    this.shape = shape;
    this.ops = ops;
    this.flow = flowOf(shape.row, ops);
    const gprs = new Set<number>();
    const xmms = new Set<number>();
    let usesAddress = false;
    let accesses = 0;
    const walk = (list: readonly Op[]): void => {
      for (const op of list) {
        if (op.k === 'getReg' || op.k === 'setReg') gprs.add(refCode(op.ref));
        else if (op.k === 'getXmm' || op.k === 'setXmm') xmms.add(refCode(op.ref));
        else if (op.k === 'ea' || op.k === 'offset') usesAddress = true;
        else if (op.k === 'ptr') accesses++;
        else if (op.k === 'if') {
          walk(op.ifTrue);
          walk(op.ifFalse);
        }
      }
    };
    walk(ops);
    this.gprs = [...gprs];
    this.xmms = [...xmms];
    this.usesStack = gprs.has(refCode(RSP));
    this.usesAddress = usesAddress;
    this.accesses = accesses;
    this.flagUse = flagUseOf(ops);
    this.reach = reachOf(shape, ops);
    const codes = (areFlagsDead: boolean): Codes[] =>
      [ALONE, LEADS, FOLLOWS].map((role) => new Codes((known) => this.#write(known, role, areFlagsDead)));
    this.#codes = codes(false);
    this.#codesWithoutFlags = this.flagUse === 'none' ? this.#codes : codes(true);
  }

  /** `role`: of its access (region_access.ts). */
  code(known: KnownFlags, role: number): TemplateCode {
    return this.#codes[role]!.of(known);
  }

  /** The same where nobody will see the flags that it leaves. */
  codeWithoutFlags(known: KnownFlags, role: number): TemplateCode {
    return this.#codesWithoutFlags[role]!.of(known);
  }

  #write(known: KnownFlags, role: number, areFlagsDead: boolean): { code: TemplateCode; wasAsked: boolean } {
    const body = new TemplateBody();
    const frame = makeFrameLocals(body);
    body.startTemps(frame.temps);
    frame.flags.known = known;
    frame.flags.hasChanged = false;
    const emitter = new TemplateEmitter(this.shape, body, frame, new RegionValues(this.ops, areFlagsDead), role);
    emitter.list(this.ops);
    const { wasAsked, hasChanged, hasSteps } = frame.flags;
    const flagsAfter = hasChanged ? frame.flags.known : 'same';
    const { bytes, steps } = body.finish();
    return { code: { bytes, steps, fallsThrough: emitter.fallsThrough, flagsAfter, hasSteps, imports: body.imports }, wasAsked };
  }
}

/** What has been written of a template. */
class Codes {
  readonly #write: (known: KnownFlags) => { code: TemplateCode; wasAsked: boolean };
  /** By what is known of the flags before it, from -1 on. */
  readonly #byKnown: (TemplateCode | undefined)[] = [];
  /** Where that does not matter. */
  #code: TemplateCode | undefined;

  constructor(write: (known: KnownFlags) => { code: TemplateCode; wasAsked: boolean }) {
    this.#write = write;
  }

  of(known: KnownFlags): TemplateCode {
    return this.#code ?? this.#byKnown[known + 1] ?? this.#make(known);
  }

  #make(known: KnownFlags): TemplateCode {
    const { code, wasAsked } = this.#write(known);
    while (this.#byKnown.length <= KNOWN_FLAGS) this.#byKnown.push(undefined);
    if (wasAsked) this.#byKnown[known + 1] = code;
    else this.#code = code;
    return code;
  }
}

/** What regions hold beside instructions. */
interface BlockTemplates {
  /** Leaves for a record if so many instructions are not left. */
  readonly ask: Steps;
  /** Counts a block's instructions. */
  readonly start: Steps;
  /** Leaves before the instruction from which on as many of the block are left as `out` says; the record is that behind the block. */
  readonly miss: Steps;
}

export function makeBlockTemplates(): BlockTemplates {
  const make = (write: (body: TemplateBody, frame: FrameLocals) => void): Steps => {
    const body = new TemplateBody();
    const frame = makeFrameLocals(body);
    write(body, frame);
    return body.finish();
  };
  const exit = (f: TemplateBody): TemplateBody => f.step(S.STEP_EXIT, f.depth);
  return {
    ask: make((f, { budget, out }) => {
      f.get(budget).step(S.STEP_LEFT).op('i32.lt_s').if().step(S.STEP_RECORD, L.INTERPRET).set(out);
      exit(f).end();
    }),
    start: make((f, { budget }) => {
      f.get(budget).step(S.STEP_LEFT).op('i32.sub').set(budget);
    }),
    miss: make((f, { budget, out }) => {
      f.get(out).get(budget).op('i32.add').set(budget);
      f.step(S.STEP_RECORD, L.INTERPRET).get(out).i32(Math.log2(L.RECORD_SIZE)).op('i32.shl').op('i32.sub').set(out);
      exit(f);
    }),
  };
}

class TemplateEmitter extends Emitter {
  declare protected readonly f: TemplateBody;
  protected readonly flags: LazyFlags;
  readonly #frame: FrameLocals;
  readonly #values: RegionValues;
  readonly #role: number;
  fallsThrough = true;

  constructor(shape: Shape, body: TemplateBody, frame: FrameLocals, values: RegionValues, role: number) {
    super(shape, body);
    this.#frame = frame;
    this.#values = values;
    this.#role = role;
    this.flags = frame.flags;
  }

  override list(ops: readonly Op[]): void {
    for (const op of ops) if (op.k === 'setFlags' && !this.#values.areFlagsDead) this.#placeOperands(op);
    super.list(ops);
  }

  /** Operands that are wanted beside the flags too are computed where the flags have them. */
  #placeOperands(op: Extract<Op, { k: 'setFlags' }>): void {
    if (op.kind !== 'add' && op.kind !== 'sub') return;
    const { a, b } = this.flags.operands;
    for (const [value, local] of [
      [op.a, a],
      [op.b, b],
    ] as const) {
      if (this.usesOf(value) > 1 && !this.locals.has(value.id) && this.#values.isFreeBefore(value, op)) this.locals.set(value.id, local);
    }
  }

  protected override usesOf(value: Value): number {
    return this.#values.uses(value);
  }

  protected override emit(op: Op): void {
    if (this.#values.isIdle(op)) return;
    if (this.#values.waits(op)) this.inline.set((op as Extract<Op, { out: Value }>).out.id, op);
    else super.emit(op);
  }

  protected record(): FunctionBody {
    return this.f.step(S.STEP_RECORD);
  }

  protected field(field: 'imm' | 'rip' | 'ripNext'): void {
    this.f.step(field === 'imm' ? S.STEP_IMM : field === 'rip' ? S.STEP_RIP : S.STEP_RIP_NEXT);
  }

  protected getReg(ref: RegRef, size: Size): void {
    this.f.step(S.STEP_GET_REG, refCode(ref) | (size << REF_SIZE));
  }

  protected setReg(ref: RegRef, size: Size, value: Value): void {
    const register = refCode(ref) | ((size === 4 && this.#values.isClean(value) ? 8 : size) << REF_SIZE);
    this.f.step(S.STEP_BEGIN_SET_REG, register);
    this.push(value);
    this.f.step(S.STEP_SET_REG, register);
  }

  protected getXmm(ref: RegRef): void {
    this.f.step(S.STEP_GET_XMM, refCode(ref));
  }

  protected setXmm(ref: RegRef, value: Value): void {
    this.f.step(S.STEP_BEGIN_SET_XMM, refCode(ref));
    this.push(value);
    this.f.step(S.STEP_SET_XMM, refCode(ref));
  }

  protected mmxAddress(ref: RegRef): FunctionBody {
    return this.f.step(S.STEP_MMX_ADDRESS, refCode(ref));
  }

  protected offset(): void {
    this.f.step(S.STEP_OFFSET);
  }

  #exit(): void {
    this.f.step(S.STEP_EXIT, this.f.depth);
  }

  protected leaveStopped(): void {
    this.f.step(S.STEP_REFUND).i32(L.INTERPRET).set(this.#frame.out);
    this.#exit();
  }

  /** The host's SYSCALL is called; what happens behind it is the region's business again. */
  protected override system(name: number): void {
    if (name !== SYSTEM_SYSCALL) return super.system(name);
    const { f } = this;
    const { budget, out, flags } = this.#frame;
    f.step(S.STEP_SAVE_REGISTERS, 1);
    flags.leave(true);
    f.step(S.STEP_RECORD).get(budget).step(S.STEP_LEFT).op('i32.add').call(IMPORT_SYSCALL).set(out);
    f.step(S.STEP_LOAD_REGISTERS, 1);
    flags.inMemory();
    f.i32(0).mem('i32.load', L.REMAINING).set(budget);
    f.get(out).step(S.STEP_RECORD).i32(L.RECORD_SIZE).op('i32.add').op('i32.ne').if();
    // 0: the run is to stop, or somebody else performs it.
    f.get(out).get(out).op('i32.eqz').op('i32.or').set(out);
    this.#exit();
    f.end();
  }

  protected override get helperImport(): number {
    return IMPORT_HELPER;
  }

  protected override tlbKind(kind: number): number {
    return IN_TLB_SET + kind;
  }

  protected override ptr(op: Extract<Op, { k: 'ptr' }>): void {
    const out = this.local(op.out);
    if (this.#role === FOLLOWS) {
      this.f.step(S.STEP_FOLLOW).set(out);
      return;
    }
    super.ptr(op);
    if (this.#role === LEADS) this.f.get(out).step(S.STEP_LEAD);
  }

  protected override toFirst(): void {
    if (this.#role === LEADS) this.f.step(S.STEP_BELOW);
  }

  protected override toLast(size: number): void {
    if (this.#role === LEADS) this.f.step(S.STEP_ABOVE);
    else super.toLast(size);
  }

  /**
   * A miss is the interpreter's business: it runs this instruction, whatever that does to the TLB or to code. So a region
   * holds no call that all its registers would have to be saved around, never sees SCRATCH, and never changes code.
   */
  protected override access(out: number, _address: number, _descriptor: number, translated: () => FunctionBody): void {
    this.f.step(S.STEP_MISS, this.f.depth);
    translated().set(out);
  }

  protected override compute(op: Op): void {
    const values = this.#values;
    if (op.k === 'getReg' && op.size === 4 && values.isLow(op.out)) return this.getReg(op.ref, 8);
    if (op.k !== 'wasm' || !values.isMask(op)) return super.compute(op);
    const [value, mask] = op.args as [Value, Value];
    this.inline.delete(mask.id);
    if (values.isImmediate(value) && this.inline.delete(value.id)) {
      this.f.step(S.STEP_IMM_LOW);
      return;
    }
    this.push(value);
    // V8's first compiler is quicker with two short instructions than with a long constant.
    if (!values.isLow(op.out) && !values.isClean(value)) this.f.op('i32.wrap_i64').op('i64.extend_i32_u');
  }

  protected override stored(): void {}

  /** Only x87 helpers look at or change registers beside their arguments. */
  protected override beforeHelper(): void {
    if (!this.shape.row.attributes.has('x87')) return;
    this.f.step(S.STEP_SAVE_REGISTERS, this.#helperXmm);
    this.flags.toMemory();
  }

  protected override afterHelper(): void {
    if (!this.shape.row.attributes.has('x87')) return;
    this.f.step(S.STEP_LOAD_REGISTERS, this.#helperXmm);
    this.flags.inMemory();
  }

  /** Whether a helper sees the XMM registers: FXSAVE and FXRSTOR have all of them. */
  get #helperXmm(): number {
    return Number(/^fx(save|rstor)$/.test(this.shape.row.mnemonic));
  }

  protected override branch(cond: Value): void {
    super.branch(cond);
    this.fallsThrough = true;
  }

  protected override conditional(op: Extract<Op, { k: 'if' }>): void {
    const wasOpen = this.fallsThrough;
    const { ifTrue, ifFalse } = op;
    const known = ifFalse.length > 0 ? this.flags.known : undefined;
    this.push(op.cond).if();
    this.list(ifTrue);
    if (known !== undefined) {
      this.f.else();
      this.flags.known = known;
      this.list(ifFalse);
    }
    this.f.end();
    this.fallsThrough = wasOpen;
    this.flags.forget();
  }

  protected jump(target: Value | 'imm' | 'next' | 'self'): void {
    const { f } = this;
    this.fallsThrough = false;
    if (typeof target === 'string') {
      f.step(target === 'imm' ? S.STEP_LEAVE_TO_IMM : target === 'next' ? S.STEP_LEAVE_TO_NEXT : S.STEP_LEAVE_TO_SELF, f.depth);
      return;
    }
    const rip = f.local('i64');
    const slot = f.local('i32');
    const { out, entry } = this.#frame;
    this.push(target).set(rip);
    f.get(rip).step(S.STEP_RETURN, f.depth);
    pushIsKnown(f, rip, slot).if();
    // A record that enters this very region is a branch; anything else leaves.
    pushRecord(f, slot).tee(out).mem('i32.load16_u', L.R_HANDLER).i32(L.HANDLER_ENTER).op('i32.eq').if();
    f.get(out).i32(L.RECORDS).op('i32.sub').i32(2).op('i32.shr_u').tee(slot);
    f.mem('i32.load', L.SIDE + 4)
      .step(S.STEP_FUNCTION)
      .op('i32.eq')
      .if();
    f.get(slot)
      .mem('i32.load16_u', L.SIDE + 2)
      .set(entry)
      .step(S.STEP_REENTER, f.depth);
    f.end().end();
    this.#exit();
    f.end();
    f.i32(0).get(rip).mem('i64.store', L.RIP);
    askLookup(f, out);
    this.#exit();
  }
}

/** Nobody knows the record at RIP: a lookup is what comes next. */
export function askLookup(f: FunctionBody, out: number): void {
  f.i32(0).i32(0).mem('i32.store', L.LINK_FROM);
  f.i32(LOOKUP_RECORD).set(out);
}
