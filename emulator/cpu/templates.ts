/**
 * Templates: rows lowered for one shape, cached by shape, compiled to handlers in batches on first need. A template's
 * index is its handler's place in the function table.
 */
import { Builder } from './builder.ts';
import { handlerImports } from './emitter.ts';
import { emitHandler } from './handlers.ts';
import type { HotTemplate } from './interpreter.ts';
import { type Op, verify } from './ir.ts';
import { FIRST_REGION, FIRST_TEMPLATE } from './layout.ts';
import { type Shape, shapeKey } from './shape.ts';
import { buildModule, type FunctionBody } from './wasm_writer.ts';

export function lower(shape: Shape): readonly Op[] {
  const builder = new Builder(shape);
  shape.row.lower(builder);
  verify(builder.ops, shape.row.name);
  return builder.ops;
}

export class Templates {
  readonly #indices = new Map<number, number>();
  readonly #ending = new Set<number>();
  readonly #ops = new Map<number, readonly Op[]>();
  readonly #table: WebAssembly.Table;
  readonly #imports: Record<string, unknown>;
  readonly #memoryPages: number;
  #next = FIRST_TEMPLATE;
  #pending: { index: number; body: FunctionBody }[] = [];

  /** `imports`: the handler imports by name, memory and table. */
  constructor(table: WebAssembly.Table, memoryPages: number, imports: Record<string, unknown>) {
    this.#table = table;
    this.#memoryPages = memoryPages;
    this.#imports = imports;
  }

  /** Gives the hot templates the first indices; the loop has their code, and calls their functions when that will not do. */
  reserve(hot: readonly HotTemplate[]): void {
    for (const { shape, ops } of hot) this.#pending.push({ index: this.#add(shapeKey(shape), ops), body: emitHandler(shape, ops) });
  }

  #add(key: number, ops: readonly Op[]): number {
    const index = this.#next++;
    if (index >= FIRST_REGION) throw new Error('bug: more templates than a record can name');
    const last = ops.at(-1);
    if (last && (last.k === 'jump' || last.k === 'system' || (last.k === 'fault' && !last.cond))) this.#ending.add(index);
    this.#indices.set(key, index);
    return index;
  }

  /** Whether the instruction never falls through to the next record. */
  ends(index: number): boolean {
    return this.#ending.has(index);
  }

  /** The lowered form of a shape. */
  ops(shape: Shape): readonly Op[] {
    const key = shapeKey(shape);
    let ops = this.#ops.get(key);
    if (!ops) {
      ops = lower(shape);
      this.#ops.set(key, ops);
    }
    return ops;
  }

  get count(): number {
    return this.#next - FIRST_TEMPLATE;
  }

  /** The handler index for a shape; `compile` before it runs. */
  index(shape: Shape): number {
    const key = shapeKey(shape);
    const present = this.#indices.get(key);
    if (present !== undefined) return present;
    const ops = this.ops(shape);
    const index = this.#add(key, ops);
    this.#pending.push({ index, body: emitHandler(shape, ops) });
    return index;
  }

  /** Compiles what `index` has newly handed out, as one module. */
  compile(): void {
    if (this.#pending.length === 0) return;
    const functions = this.#pending.map(({ index, body }) => ({ body, export: `h${index}` }));
    const bytes = buildModule({ imports: handlerImports, indirect: [], memoryPages: this.#memoryPages, functions });
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { e: this.#imports });
    for (const { index } of this.#pending) this.#table.set(index, exports[`h${index}`]);
    this.#pending = [];
  }
}
