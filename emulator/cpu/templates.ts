/**
 * Templates: rows lowered for one shape, cached by shape, compiled to handlers in batches on first need. A template's
 * index is its handler's place in the function table. What does not depend on the CPU all CPUs of the process share.
 */
import { Builder } from './builder.ts';
import { handlerImports } from './emitter.ts';
import { emitHandler } from './handlers.ts';
import type { HotTemplate } from './interpreter.ts';
import { type Op, verify } from './ir.ts';
import { FIRST_REGION, FIRST_TEMPLATE } from './layout.ts';
import { ANY_CONDITION, conditionMask } from './sequence_flags.ts';
import { type Shape, shapeKey } from './shape.ts';
import { buildModule, type FunctionBody } from './wasm_writer.ts';

export function lower(shape: Shape): readonly Op[] {
  const builder = new Builder(shape);
  shape.row.lower(builder);
  verify(builder.ops, shape.row.name);
  return builder.ops;
}

/** What is made of a shape, by its key. */
interface Template {
  readonly ops: readonly Op[];
  readonly body: FunctionBody;
  /** The body's bytes as characters. */
  readonly code: string;
}
const loweredShapes = new Map<number, readonly Op[]>();
const templates = new Map<number, Template>();

function opsOf(shape: Shape, key: number): readonly Op[] {
  let ops = loweredShapes.get(key);
  if (!ops) {
    ops = lower(shape);
    loweredShapes.set(key, ops);
  }
  return ops;
}

function templateOf(shape: Shape, key: number): Template {
  let template = templates.get(key);
  if (!template) {
    const ops = opsOf(shape, key);
    const body = emitHandler(shape, ops);
    template = { ops, body, code: String.fromCharCode(...body.encode()) };
    templates.set(key, template);
  }
  return template;
}

/** Modules of the hot templates' handlers, by the list of those, then by the size of memory. */
const hotModules = new WeakMap<readonly HotTemplate[], Map<number, WebAssembly.Module>>();

export class Templates {
  readonly #indices = new Map<number, number>();
  /** The same by the shape itself: decoding makes the same object of the same shape. */
  readonly #byShape = new WeakMap<Shape, number>();
  /** Shapes whose handlers come out the same share one. */
  readonly #byCode = new Map<string, number>();
  readonly #ending = new Set<number>();
  /** Pairs that run as one: by both indices (0 for any conditional branch), the pair's; and the index of its first by the pair's. */
  readonly #pairs = new Map<number, number>();
  /** Conditional branches that can be any, with their masks (sequence_flags.ts). */
  readonly #masks = new Map<number, number>();
  readonly #firsts = new Map<number, number>();
  readonly #table: WebAssembly.Table;
  readonly #imports: Record<string, unknown>;
  readonly #memoryPages: number;
  #next = FIRST_TEMPLATE;
  #pending: { index: number; body: FunctionBody }[] = [];

  /**
   * `imports`: the handler imports by name, memory and table. The hot templates get the first indices. The loop has their
   * code, and calls their functions when that will not do: of a pair, that of the first.
   */
  constructor(table: WebAssembly.Table, memoryPages: number, imports: Record<string, unknown>, hot: readonly HotTemplate[]) {
    this.#table = table;
    this.#memoryPages = memoryPages;
    this.#imports = imports;
    hot.forEach(([first, second], i) => {
      const index = FIRST_TEMPLATE + i;
      const firstIndex = this.index(first.shape);
      if (second) {
        this.#pairs.set(pairKey(firstIndex, conditionOf(second.ops) === ANY_CONDITION ? 0 : this.index(second.shape)), index);
        this.#firsts.set(index, firstIndex);
      }
      this.#next = index + 1;
    });
    const modules = hotModules.get(hot) ?? new Map<number, WebAssembly.Module>();
    hotModules.set(hot, modules);
    const module = modules.get(memoryPages) ?? this.#build();
    modules.set(memoryPages, module);
    this.#install(module);
    for (const [index, first] of this.#firsts) table.set(index, table.get(first));
  }

  /** Whether the instruction never falls through to the next record. */
  ends(index: number): boolean {
    return this.#ending.has(index);
  }

  /** The index for two instructions in sequence, if they run as one. */
  pair(first: number, second: number): number | undefined {
    return this.#pairs.get(pairKey(first, second)) ?? (this.#masks.has(second) ? this.#pairs.get(pairKey(first, 0)) : undefined);
  }

  /** What the record of a conditional branch needs beside its fields. */
  mask(index: number): number | undefined {
    return this.#masks.get(index);
  }

  /** The index for the first of a pair alone; an index that is no pair's is its own. */
  first(index: number): number {
    return this.#firsts.get(index) ?? index;
  }

  /** The lowered form of a shape. */
  ops(shape: Shape): readonly Op[] {
    return opsOf(shape, shapeKey(shape));
  }

  get count(): number {
    return this.#next - FIRST_TEMPLATE;
  }

  /** The handler index for a shape; `compile` before it runs. */
  index(shape: Shape): number {
    let index = this.#byShape.get(shape);
    if (index === undefined) {
      index = this.#find(shape);
      this.#byShape.set(shape, index);
    }
    return index;
  }

  #find(shape: Shape): number {
    const key = shapeKey(shape);
    const present = this.#indices.get(key);
    if (present !== undefined) return present;
    const { ops, body, code } = templateOf(shape, key);
    let index = this.#byCode.get(code);
    if (index === undefined) {
      index = this.#next++;
      if (index >= FIRST_REGION) throw new Error('bug: more templates than a record can name');
      this.#byCode.set(code, index);
      this.#pending.push({ index, body });
      const condition = conditionOf(ops);
      const mask = condition === undefined ? undefined : conditionMask(condition);
      if (mask !== undefined) this.#masks.set(index, mask);
      const last = ops.at(-1);
      if (last && (last.k === 'jump' || last.k === 'system' || (last.k === 'fault' && !last.cond))) this.#ending.add(index);
    }
    this.#indices.set(key, index);
    return index;
  }

  /** Compiles what `index` has newly handed out, as one module. */
  compile(): void {
    if (this.#pending.length > 0) this.#install(this.#build());
  }

  #build(): WebAssembly.Module {
    const functions = this.#pending.map(({ index, body }) => ({ body, export: `h${index}` }));
    return new WebAssembly.Module(buildModule({ imports: handlerImports, indirect: [], memoryPages: this.#memoryPages, functions }));
  }

  #install(module: WebAssembly.Module): void {
    const { exports } = new WebAssembly.Instance(module, { e: this.#imports });
    for (const { index } of this.#pending) this.#table.set(index, exports[`h${index}`]);
    this.#pending = [];
  }
}

/** The condition of a conditional branch that is nothing else. */
function conditionOf(ops: readonly Op[]): number | undefined {
  const [cond, branch] = ops;
  return ops.length === 2 && cond?.k === 'cond' && branch?.k === 'branch' ? cond.cc : undefined;
}

const pairKey = (first: number, second: number): number => first * FIRST_REGION + second;
