/** The part of capstone-wasm that is used here; its own types are not reachable through its exports. */
declare module 'capstone-wasm' {
  export interface Insn {
    readonly address: number | bigint;
    readonly size: number;
    readonly bytes: Uint8Array;
    readonly mnemonic: string;
    readonly opStr: string;
  }
  export class Capstone {
    constructor(arch: number, mode: number);
    /** Throws when the first bytes are no instruction. */
    disasm(data: Uint8Array, options?: { address?: bigint; count?: number }): Insn[];
    close(): void;
  }
  export const Const: { readonly CS_ARCH_X86: number; readonly CS_MODE_32: number; readonly CS_MODE_64: number };
  export function loadCapstone(): Promise<void>;
}
