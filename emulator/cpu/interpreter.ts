/**
 * The interpreter's fixed WebAssembly: the loop over records, with the hot templates (hot.ts) as cases of one switch and
 * all others called through the table; the dispatcher that finds the record at RIP in the jump cache; and the pseudo
 * handlers (go on elsewhere; ask TypeScript for a lookup; stop at a host breakpoint).
 */
import { HANDLER_SIGNATURE, handlerImports } from './emitter.ts';
import { emitInline, type Lowered } from './handlers.ts';
import { hostSyscallFunction, regionSyscallFunction, syscallImport } from './host_syscall.ts';
import { pushIsKnown, pushRecord } from './jump_cache.ts';
import * as L from './layout.ts';
import { flagAuxFunction, saveFlagsFunction, saveLeftFlagsFunction } from './lazy_flags.ts';
import { buildModule, FunctionBody, type ImportedFunction, type Signature } from './wasm_writer.ts';

/** The record whose handler asks for a lookup of RIP. */
export const LOOKUP_RECORD = L.RECORDS;
export const FIRST_RECORD = L.RECORDS + L.RECORD_SIZE;

const HOT_SIGNATURE: Signature = { params: ['i32', 'i32'], results: ['i32', 'i32'] };

/** A template that runs inside the loop, or two that run as one; its index is L.FIRST_TEMPLATE plus its place in the list. */
const loopImports: readonly ImportedFunction[] = [...handlerImports, syscallImport];
/** Functions of the module. */
const HOT = loopImports.length,
  HOST_SYSCALL = HOT + 1,
  FLAG_AUX = HOT + 3,
  SAVE_FLAGS = HOT + 4,
  SAVE_LEFT_FLAGS = HOT + 5;

export type HotTemplate = readonly [first: Lowered, second?: Lowered];

interface Dispatcher {
  dispatch(from: number): number;
}

export interface Loop {
  /** Runs from a record for at most `count` instructions (> 0); leaves REMAINING, and STOP_* when it returns 0 instead of the next record. */
  run(record: number, count: number): number;
  /** Puts regions' flags into memory (lazy_flags.ts). */
  saveFlags: unknown;
  /** SYSCALL where a region meets one (host_syscall.ts). */
  regionSyscall: unknown;
}

export function makeDispatcher(memory: WebAssembly.Memory, memoryPages: number, table: WebAssembly.Table): Dispatcher {
  const bytes = buildModule({
    imports: [],
    indirect: [],
    memoryPages,
    functions: [
      { body: dispatchFunction(), export: 'dispatch' },
      { body: lookupFunction(), export: 'lookup' },
      { body: breakpointFunction(), export: 'breakpoint' },
    ],
  });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { e: { memory, table } });
  table.set(L.HANDLER_LOOKUP, exports.lookup);
  table.set(L.HANDLER_BREAKPOINT, exports.breakpoint);
  return exports as unknown as Dispatcher;
}

/** By the list of hot templates, then by the size of memory: a process makes many CPUs of the same kind. */
const loops = new WeakMap<readonly HotTemplate[], Map<number, WebAssembly.Module>>();

/** `imports`: as of handlers, with memory and table. */
export function makeLoop(memoryPages: number, imports: Record<string, unknown>, hot: readonly HotTemplate[]): Loop {
  const modules = loops.get(hot) ?? new Map<number, WebAssembly.Module>();
  loops.set(hot, modules);
  const module = modules.get(memoryPages) ?? compileLoop(memoryPages, hot);
  modules.set(memoryPages, module);
  return new WebAssembly.Instance(module, { e: imports }).exports as unknown as Loop;
}

function compileLoop(memoryPages: number, hot: readonly HotTemplate[]): WebAssembly.Module {
  const callees = { syscall: handlerImports.length, saveLeftFlags: SAVE_LEFT_FLAGS };
  const bytes = buildModule({
    imports: loopImports,
    indirect: [HANDLER_SIGNATURE],
    memoryPages,
    functions: [
      { body: hotFunction(hot), export: 'hot' },
      { body: hostSyscallFunction(callees), export: 'hostSyscall' },
      { body: runFunction(), export: 'run' },
      { body: flagAuxFunction(), export: 'flagAux' },
      { body: saveFlagsFunction(FLAG_AUX), export: 'saveFlags' },
      { body: saveLeftFlagsFunction(SAVE_FLAGS), export: 'saveLeftFlags' },
      { body: regionSyscallFunction(callees), export: 'regionSyscall' },
    ],
  });
  return new WebAssembly.Module(bytes);
}

/**
 * (record, count) -> (record, count): runs hot templates and GOTOs, which do not count as instructions, until no count is
 * left or a record needs more than that. V8 keeps what a function works with in registers only if it calls nothing.
 */
export function hotFunction(hot: readonly HotTemplate[]): FunctionBody {
  const f = new FunctionBody(HOT_SIGNATURE);
  const record = 0,
    count = 1;
  const target = f.local('i32');
  const rip = f.local('i64');
  const from = f.local('i32');
  const over = f.block().depth;
  const second = f.block().depth;
  const loop = f.loop().depth;
  const again = f.block().depth;
  const dispatch = f.block().depth;
  const jump = [f.block().depth, f.block().depth];
  const straight = [f.block().depth, f.block().depth];
  const frame = { f, count, target, rip, from, straight, jump, dispatch, again, cold: [over, second] };
  const step = (): void => {
    f.get(record).i32(L.RECORD_SIZE).op('i32.add').set(record);
    f.get(count).i32(1).op('i32.sub').set(count);
  };
  for (let i = 0; i < hot.length; i++) f.block();
  f.block(); // GOTO
  const outside = f.depth - over;
  f.get(record).mem('i32.load16_u', L.R_HANDLER);
  const labels = Array.from({ length: L.FIRST_TEMPLATE }, () => outside);
  labels[L.HANDLER_GOTO] = 0;
  f.brTable([...labels, ...hot.map((_, i) => i + 1)], outside);
  f.end();
  f.get(record).mem('i32.load', L.R_LINK).tee(from).if().get(from).set(record).brTo(loop).end();
  f.get(record)
    .mem('i64.load', L.R_RIP)
    .tee(rip)
    .op('i32.wrap_i64')
    .i32(L.PAGE_SIZE - 1)
    .op('i32.and')
    .set(from);
  // A record at the start of a page may end a block of the page before: no link, the mapping may change.
  f.get(record).i32(0).get(from).select().set(from).brTo(dispatch);
  for (const [first, second] of hot) {
    f.end();
    emitInline(second ? [first, second] : [first], frame);
  }
  // The ends that cases share: behind two instructions, or behind one;
  f.end();
  step();
  f.end();
  step();
  f.brTo(again);
  // behind a jump, which is the second instruction, or the first: to `target`, or else where its immediate says;
  f.end();
  step();
  f.end();
  f.get(count).i32(1).op('i32.sub').set(count);
  f.get(target).if().get(target).set(record).brTo(again).end();
  f.get(record).mem('i64.load', L.R_IMM).set(rip).get(record).set(from);
  // at `rip`;
  f.end();
  find(f, rip, from).set(record);
  // at `record`;
  f.end();
  f.get(count).brIf(f.depth - loop);
  f.brTo(over);
  // and out of the loop, at the second instruction or the first.
  f.end();
  f.end();
  step();
  f.end();
  return f.get(record).get(count);
}

/**
 * Around the hot loop: regions, and templates with functions of their own. Where a region gives a record back that is to be
 * interpreted, and enters a region, the handler that ENTER stands in for runs.
 */
function runFunction(): FunctionBody {
  const f = new FunctionBody({ params: ['i32', 'i32'], results: ['i32'] });
  const record = 0,
    count = 1;
  const target = f.local('i32');
  const handler = f.local('i32');
  const interpreted = f.local('i32');
  const over = f.block().depth;
  const loop = f.loop().depth;
  const isEnter = (): FunctionBody => f.get(record).mem('i32.load16_u', L.R_HANDLER).tee(handler).i32(L.HANDLER_ENTER).op('i32.eq');
  const side = (): FunctionBody => f.get(record).i32(L.RECORDS).op('i32.sub').i32(2).op('i32.shr_u');
  const system = f.block().depth;
  isEnter().if();
  f.i32(0).get(count).mem('i32.store', L.REMAINING);
  // From region to region: nothing is put where others would look for it.
  const regions = f.loop().depth;
  side().mem('i32.load16_u', L.SIDE + 2);
  side()
    .mem('i32.load', L.SIDE + 4)
    .callIndirect(0)
    .tee(target);
  f.i32(L.INTERPRET | L.LEFT_STEP)
    .op('i32.and')
    .op('i32.eqz')
    .if();
  f.get(target).set(record);
  isEnter().brIf(f.depth - regions);
  f.end();
  f.end();
  f.call(SAVE_LEFT_FLAGS);
  f.i32(0).mem('i32.load', L.REMAINING).set(count);
  f.get(target)
    .i32(~(L.INTERPRET | L.LEFT_STEP))
    .op('i32.and')
    .tee(record)
    .op('i32.eqz')
    .brIf(f.depth - system);
  f.get(count)
    .op('i32.eqz')
    .brIf(f.depth - over);
  f.get(target)
    .i32(L.INTERPRET)
    .op('i32.and')
    .op('i32.eqz')
    .brIf(f.depth - loop);
  isEnter()
    .op('i32.eqz')
    .brIf(f.depth - loop);
  side().mem('i32.load16_u', L.SIDE).set(handler);
  f.else();
  f.get(interpreted).get(count).op('i32.add').set(interpreted);
  f.get(record).get(count).call(HOT).set(count).set(record);
  f.get(interpreted).get(count).op('i32.sub').set(interpreted);
  f.get(count)
    .op('i32.eqz')
    .brIf(f.depth - over);
  isEnter().brIf(f.depth - loop);
  f.end();
  f.get(record)
    .get(handler)
    .callIndirect(0)
    .tee(record)
    .op('i32.eqz')
    .brIf(f.depth - system);
  f.get(interpreted).i32(1).op('i32.add').set(interpreted);
  f.get(count)
    .i32(1)
    .op('i32.sub')
    .tee(count)
    .brIf(f.depth - loop);
  f.brTo(over);
  // Somebody asks for something that is not done here.
  f.end();
  f.i32(0)
    .mem('i32.load', L.STOP_REASON)
    .i32(L.STOP_SYSTEM)
    .op('i32.ne')
    .brIf(f.depth - over);
  f.i32(0).mem('i32.load', L.STOP_RECORD).get(count).call(HOST_SYSCALL).set(record);
  // One instruction, if the host has performed it, which may have changed the count.
  f.get(interpreted).i32(0).mem('i32.load', L.STOP_REASON).i32(L.STOP_NEWS).op('i32.eq').op('i32.add').set(interpreted);
  f.i32(0).mem('i32.load', L.REMAINING).set(count);
  f.get(record).brIf(f.depth - loop);
  f.end().end();
  f.i32(0).get(count).mem('i32.store', L.REMAINING);
  f.i32(0).get(interpreted).mem('i32.store', L.INTERPRETED);
  return f.get(record);
}

/** Pushes the record for `rip`, which is in the jump cache or must be looked up; `from`, if not 0, gets a link to it. */
function find(f: FunctionBody, rip: number, from: number): FunctionBody {
  const entry = f.local('i32');
  const record = f.local('i32');
  pushIsKnown(f, rip, entry).if();
  pushRecord(f, entry).set(record);
  f.get(from).if();
  f.get(from).mem('i64.load', L.R_RIP).get(rip).op('i64.xor').i64(12n).op('i64.shr_u').op('i64.eqz');
  f.get(record).mem('i32.load8_u', L.R_FLAGS).op('i32.eqz').op('i32.and').if();
  f.get(from).get(record).mem('i32.store', L.R_LINK);
  f.end().end();
  f.else();
  f.i32(0).get(rip).mem('i64.store', L.RIP);
  f.i32(0).get(from).mem('i32.store', L.LINK_FROM);
  f.i32(LOOKUP_RECORD).set(record);
  f.end();
  return f.get(record);
}

function dispatchFunction(): FunctionBody {
  const f = new FunctionBody(HANDLER_SIGNATURE);
  const rip = f.local('i64');
  f.i32(0).mem('i64.load', L.RIP).set(rip);
  return find(f, rip, 0);
}

function lookupFunction(): FunctionBody {
  const f = new FunctionBody(HANDLER_SIGNATURE);
  f.i32(0).i32(L.STOP_LOOKUP).mem('i32.store', L.STOP_REASON);
  return f.i32(0);
}

function breakpointFunction(): FunctionBody {
  const f = new FunctionBody(HANDLER_SIGNATURE);
  f.i32(0).get(0).mem('i32.store', L.STOP_RECORD);
  f.i32(0).i32(L.STOP_BREAKPOINT).mem('i32.store', L.STOP_REASON);
  return f.i32(0);
}
