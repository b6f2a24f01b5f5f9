/** The part of the WebAssembly JavaScript interface that the CPU package uses; the pure folders have neither DOM nor Node types. */
declare namespace WebAssembly {
  class Memory {
    constructor(descriptor: { initial: number; maximum?: number; shared?: boolean });
    readonly buffer: ArrayBuffer;
  }
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, unknown>>);
    readonly exports: Record<string, unknown>;
  }
  class Table {
    constructor(descriptor: { element: 'anyfunc'; initial: number; maximum?: number });
    grow(delta: number): number;
    get(index: number): unknown;
    set(index: number, value: unknown): void;
    readonly length: number;
  }
  function compile(bytes: Uint8Array): Promise<Module>;
}
