/**
 * The interpreter's fixed WebAssembly: the loop over records, with the hot templates (hot.ts) as cases of one switch and
 * all others called through the table; the dispatcher that finds the record at RIP in the jump cache; and the pseudo
 * handlers (go on elsewhere; ask TypeScript for a lookup; stop at a host breakpoint).
 */
import { HANDLER_SIGNATURE, handlerImports, IMPORT_DISPATCH } from './emitter.ts';
import { emitInline } from './handlers.ts';
import type { Op } from './ir.ts';
import * as L from './layout.ts';
import { flagAuxFunction, saveFlagsFunction } from './lazy_flags.ts';
import type { Shape } from './shape.ts';
import { buildModule, FunctionBody } from './wasm_writer.ts';

/** The record whose handler asks for a lookup of RIP. */
export const LOOKUP_RECORD = L.RECORDS;
export const FIRST_RECORD = L.RECORDS + L.RECORD_SIZE;

/** A template that runs inside the loop; its index is L.FIRST_TEMPLATE plus its place in the list. */
export interface HotTemplate {
  readonly shape: Shape;
  readonly ops: readonly Op[];
}

export interface Dispatcher {
  dispatch(from: number): number;
  /** Puts regions' flags into memory (lazy_flags.ts). */
  saveFlags: unknown;
}

export interface Loop {
  /** Runs from a record for at most `count` instructions (> 0); leaves REMAINING, and STOP_* when it returns 0 instead of the next record. */
  run(record: number, count: number): number;
}

export function makeDispatcher(memory: WebAssembly.Memory, memoryPages: number, table: WebAssembly.Table): Dispatcher {
  const bytes = buildModule({
    imports: [],
    indirect: [],
    memoryPages,
    functions: [
      { body: flagAuxFunction(), export: 'flagAux' },
      { body: saveFlagsFunction(0), export: 'saveFlags' },
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

/** `imports`: as of handlers, with memory and table. */
export function makeLoop(memoryPages: number, imports: Record<string, unknown>, hot: readonly HotTemplate[]): Loop {
  const bytes = buildModule({
    imports: handlerImports,
    indirect: [HANDLER_SIGNATURE],
    memoryPages,
    functions: [{ body: runFunction(hot), export: 'run' }],
  });
  return new WebAssembly.Instance(new WebAssembly.Module(bytes), { e: imports }).exports as unknown as Loop;
}

/**
 * The switch's cases are GOTO and ENTER, which do not count as instructions, and the hot templates; LOOKUP and all others
 * are called. ENTER runs a region; when the region gives its own record back, too few instructions are left for the
 * block, and the handler that ENTER stands in for runs.
 */
function runFunction(hot: readonly HotTemplate[]): FunctionBody {
  const f = new FunctionBody({ params: ['i32', 'i32'], results: ['i32'] });
  const record = 0,
    count = 1;
  const target = f.local('i32');
  const handler = f.local('i32');
  const over = f.block().depth;
  const loop = f.loop().depth;
  f.get(record).mem('i32.load16_u', L.R_HANDLER).set(handler);
  const dispatch = f.loop().depth;
  const next = f.block().depth;
  f.block(); // a template of its own function
  for (let i = 0; i < hot.length; i++) f.block();
  f.block(); // ENTER
  f.block(); // GOTO
  f.get(handler).i32(L.HANDLER_GOTO).op('i32.sub');
  const called = hot.length + 2;
  f.brTable([0, called, 1, ...hot.map((_, i) => i + 2)], called);
  f.end();
  f.get(record).mem('i32.load', L.R_LINK).tee(target).op('i32.eqz').if();
  f.i32(0).get(record).mem('i64.load', L.R_RIP).mem('i64.store', L.RIP);
  // A record at the start of a page may end a block of the page before: no link, the mapping may change.
  f.get(record).i32(0).get(record).mem('i32.load', L.R_RIP).i32(0xfff).op('i32.and').select().call(IMPORT_DISPATCH).set(target);
  f.end();
  f.get(target).set(record).brTo(loop);
  f.end();
  const side = (): FunctionBody => f.get(record).i32(L.RECORDS).op('i32.sub').i32(2).op('i32.shr_u');
  f.i32(0).get(count).mem('i32.store', L.REMAINING);
  side().mem('i32.load16_u', L.SIDE + 2);
  side()
    .mem('i32.load', L.SIDE + 4)
    .callIndirect(0)
    .set(target);
  f.i32(0);
  f.i32(0).mem('i64.load', L.TRANSLATED).get(count).i32(0).mem('i32.load', L.REMAINING).tee(count);
  f.op('i32.sub').op('i64.extend_i32_u').op('i64.add').mem('i64.store', L.TRANSLATED);
  f.get(count).op('i32.eqz').if();
  f.get(target).set(record).brTo(over);
  f.end();
  f.get(target).get(record).op('i32.eq').if();
  side().mem('i32.load16_u', L.SIDE).set(handler).brTo(dispatch);
  f.end();
  f.get(target)
    .tee(record)
    .op('i32.eqz')
    .brIf(f.depth - over);
  f.brTo(loop);
  for (const { shape, ops } of hot) {
    f.end();
    const leave = (): void => {
      f.set(record).brTo(next);
    };
    emitInline(shape, ops, f, leave);
    leave();
  }
  f.end();
  f.get(record).get(handler).callIndirect(0).set(record);
  f.end();
  f.get(record)
    .op('i32.eqz')
    .brIf(f.depth - over);
  f.get(count)
    .i32(1)
    .op('i32.sub')
    .tee(count)
    .brIf(f.depth - loop);
  f.end().end().end();
  f.i32(0).get(count).mem('i32.store', L.REMAINING);
  return f.get(record);
}

function dispatchFunction(): FunctionBody {
  const f = new FunctionBody(HANDLER_SIGNATURE);
  const from = 0;
  const rip = f.local('i64');
  const entry = f.local('i32');
  const record = f.local('i32');
  f.i32(0).mem('i64.load', L.RIP).tee(rip).op('i32.wrap_i64');
  f.get(rip)
    .i64(12n)
    .op('i64.shr_u')
    .op('i32.wrap_i64')
    .op('i32.xor')
    .i32(L.JUMP_CACHE_ENTRIES - 1)
    .op('i32.and')
    .i32(4)
    .op('i32.shl')
    .tee(entry);
  f.mem('i64.load', L.JUMP_CACHE).get(rip).op('i64.eq');
  f.get(entry)
    .mem('i32.load', L.JUMP_CACHE + 12)
    .i32(0)
    .mem('i32.load', L.JUMP_GENERATION)
    .op('i32.eq')
    .op('i32.and')
    .if();
  f.get(entry)
    .mem('i32.load', L.JUMP_CACHE + 8)
    .set(record);
  f.get(from).if();
  f.get(from).mem('i64.load', L.R_RIP).get(rip).op('i64.xor').i64(12n).op('i64.shr_u').op('i64.eqz');
  f.get(record).mem('i32.load8_u', L.R_FLAGS).op('i32.eqz').op('i32.and').if();
  f.get(from).get(record).mem('i32.store', L.R_LINK);
  f.end().end();
  f.get(record).return();
  f.end();
  f.i32(0).get(from).mem('i32.store', L.LINK_FROM);
  return f.i32(LOOKUP_RECORD);
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

/** Offset in the jump cache of a RIP's entry, as the dispatcher computes it. */
export function jumpCacheEntry(rip: bigint): number {
  const low = Number(BigInt.asIntN(32, rip));
  const page = Number(BigInt.asIntN(32, rip >> 12n));
  return L.JUMP_CACHE + (((low ^ page) & (L.JUMP_CACHE_ENTRIES - 1)) << 4);
}
