/** The hooks of one engine, by what they listen for. */
import { constants as uc } from './constants.ts';
import { Failure } from './errors.ts';

// biome-ignore lint/suspicious/noExplicitAny: each type of hook has its own arguments
export type Callback = (...args: any[]) => unknown;

export interface Hook {
  readonly type: number;
  readonly callback: Callback;
  readonly userData: unknown;
  /** begin > end: everywhere. */
  readonly begin: bigint;
  readonly end: bigint;
  /** For HOOK_INSN: X86_INS_*. */
  readonly insn: number;
  isDeleted: boolean;
}

const INSTRUCTIONS: readonly (number | undefined)[] = [
  uc.X86_INS_IN,
  uc.X86_INS_OUT,
  uc.X86_INS_SYSCALL,
  uc.X86_INS_SYSENTER,
  uc.X86_INS_CPUID,
];
/** They hang on a translator's inside that is not here. */
const UNSUPPORTED = uc.HOOK_EDGE_GENERATED | uc.HOOK_TCG_OPCODE;
export const VALID_ACCESSES = uc.HOOK_MEM_READ | uc.HOOK_MEM_WRITE | uc.HOOK_MEM_READ_AFTER;

const isEverywhere = ({ begin, end }: Hook): boolean => begin > end;

export class Hooks {
  #hooks: readonly Hook[] = [];
  #types = 0;

  #set(hooks: readonly Hook[]): void {
    this.#hooks = hooks;
    this.#types = hooks.reduce((types, { type }) => types | type, 0);
  }

  add(hook: Hook): void {
    if (hook.type & UNSUPPORTED) throw new Failure(uc.ERR_HOOK);
    if (hook.type & uc.HOOK_INSN && !INSTRUCTIONS.includes(hook.insn)) throw new Failure(uc.ERR_HOOK);
    this.#set([...this.#hooks, hook]);
  }

  delete(hook: Hook): void {
    hook.isDeleted = true;
    this.#set(this.#hooks.filter((other) => other !== hook));
  }

  has(type: number): boolean {
    return (this.#types & type) !== 0;
  }

  /** Calls those of a type that an address concerns, until one says that it is done with (`isDone`). */
  call(type: number, address: bigint, invoke: (hook: Hook) => unknown, isDone: (result: unknown) => boolean = () => false): boolean {
    for (const hook of this.#hooks) {
      if ((hook.type & type) === 0 || hook.isDeleted) continue;
      if (!isEverywhere(hook) && (address < hook.begin || address > hook.end)) continue;
      if (isDone(invoke(hook))) return true;
    }
    return false;
  }

  /** Whether one of a type concerns an address of a range. */
  concerns(type: number, begin: bigint, end: bigint): boolean {
    return this.#hooks.some((hook) => (hook.type & type) !== 0 && (isEverywhere(hook) || (hook.begin <= end && begin <= hook.end)));
  }

  /** Where those of a type lie; undefined: one is everywhere. */
  ranges(type: number): (readonly [bigint, bigint])[] | undefined {
    const found = this.#hooks.filter((hook) => hook.type & type);
    return found.some(isEverywhere) ? undefined : found.map(({ begin, end }) => [begin, end]);
  }
}
