/**
 * The processor that is on leaves the engine and another one comes, as WebAssembly: its registers and what it has in the TLB
 * and the jump cache go to its place (parked.ts), from which TLB entries are gone then; the other's come from its.
 */
import * as L from './layout.ts';
import { GLOBAL_LIST, JUMP_LIST, type ListLayout, LOCAL_LIST, REGISTERS } from './parked.ts';
import { EMPTY } from './tlb.ts';
import { buildModule, FunctionBody } from './wasm_writer.ts';

/** Addresses of both places. */
export type Exchange = (from: number, to: number) => void;

const FROM = 0,
  TO = 1;
const ENTRY = 16;

/** By the size of memory. */
const modules = new Map<number, WebAssembly.Module>();

export function makeExchange(memory: WebAssembly.Memory, memoryPages: number): Exchange {
  const module = modules.get(memoryPages) ?? compile(memoryPages);
  modules.set(memoryPages, module);
  return new WebAssembly.Instance(module, { e: { memory } }).exports.exchange as Exchange;
}

function compile(memoryPages: number): WebAssembly.Module {
  const functions = [{ body: exchangeFunction(), export: 'exchange' }];
  return new WebAssembly.Module(buildModule({ imports: [], indirect: [], memoryPages, functions }));
}

function exchangeFunction(): FunctionBody {
  const f = new FunctionBody({ params: ['i32', 'i32'], results: [] });
  const frame = { f, at: f.local('i32'), kept: f.local('i32'), end: f.local('i32'), entry: f.local('i32') };
  exchangeRegisters(f);
  for (const list of [LOCAL_LIST, GLOBAL_LIST]) {
    save(frame, list);
    empty(frame, list);
  }
  save(frame, JUMP_LIST);
  for (const list of [LOCAL_LIST, GLOBAL_LIST, JUMP_LIST]) restore(frame, list);
  return f;
}

/** All that is the processor's between two instructions: no helper's arguments, nothing halfway to memory. */
const REGISTER_RANGES: readonly (readonly [start: number, end: number])[] = [
  [L.CONTEXT_START, L.ARGS],
  [L.LINK_FROM, L.STATE_END],
  [L.SYSTEM, L.CONTEXT_END],
];

function exchangeRegisters(f: FunctionBody): void {
  for (const [start, end] of REGISTER_RANGES) {
    for (let at = start; at < end; ) {
      const [type, size] = end - at >= 16 ? ['v128', 16] : ['i64', 8];
      const kept = at - L.CONTEXT_START + REGISTERS;
      f.get(FROM).i32(0).mem(`${type}.load`, at).mem(`${type}.store`, kept);
      f.i32(0).get(TO).mem(`${type}.load`, kept).mem(`${type}.store`, at);
      at += size;
    }
  }
}

interface Frame {
  readonly f: FunctionBody;
  /** Addresses, to which a list's offsets are added: of the word that says where an entry is, of what is kept of it, and the last word's. */
  readonly at: number;
  readonly kept: number;
  readonly end: number;
  readonly entry: number;
}

/** What entries say that are not kept yet. */
function save(frame: Frame, list: ListLayout): void {
  const { f, at, kept, end, entry } = frame;
  f.get(FROM).mem('i32.load', list.saved).tee(at).i32(4).op('i32.shl').get(FROM).op('i32.add').set(kept);
  f.get(at).i32(2).op('i32.shl').get(FROM).op('i32.add').set(at);
  setEnd(f, FROM, list, end);
  forEach(frame, list, () => f.get(kept).get(entry).mem('v128.load').mem('v128.store', list.kept), ONCE);
  f.get(FROM).get(FROM).mem('i32.load', list.count).mem('i32.store', list.saved);
}

function empty(frame: Frame, list: ListLayout): void {
  const { f, at, entry } = frame;
  f.get(FROM).set(at);
  forEach(frame, list, () => f.get(entry).i32(EMPTY).mem('i32.store'));
}

function restore(frame: Frame, list: ListLayout): void {
  const { f, at, kept, end, entry } = frame;
  f.get(TO).tee(at).set(kept);
  setEnd(f, TO, list, end);
  forEach(frame, list, (i) =>
    f
      .get(entry)
      .get(kept)
      .mem('v128.load', list.kept + i * ENTRY)
      .mem('v128.store'),
  );
}

function setEnd(f: FunctionBody, place: number, list: ListLayout, end: number): void {
  f.get(place).mem('i32.load', list.count).i32(2).op('i32.shl').get(place).op('i32.add').set(end);
}

/** There are mostly none, or many. */
const ONCE: readonly number[] = [1],
  OFTEN: readonly number[] = [3, 1];

/** From `at` to `end`, so many entries in a turn as long as there are as many: `one` is for the i-th of its turn. */
function forEach({ f, at, kept, end, entry }: Frame, list: ListLayout, one: (i: number) => void, counts = OFTEN): void {
  for (const count of counts) {
    const over = f.block().depth;
    const again = f.loop().depth;
    f.get(at)
      .i32(4 * count)
      .op('i32.add')
      .get(end)
      .op('i32.gt_u')
      .brIf(f.depth - over);
    for (let i = 0; i < count; i++) {
      f.get(at)
        .mem('i32.load', list.entries + 4 * i)
        .i32(2)
        .op('i32.shl')
        .set(entry);
      one(i);
    }
    f.get(kept)
      .i32(ENTRY * count)
      .op('i32.add')
      .set(kept);
    f.get(at)
      .i32(4 * count)
      .op('i32.add')
      .set(at);
    f.brTo(again);
    f.end().end();
  }
}
