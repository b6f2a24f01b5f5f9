/** multicall: several calls, one after the other; each one's RAX goes into its entry (xen:common/multicall.c). */
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { errno } from '../abi/errno.ts';
import { AGAIN } from '../abi/hypercall.ts';
import { type multicall, multicall_entry } from '../abi/xen_calls.ts';
import { type Call, copyWords, MADE_AGAIN, registerWords, structView, structWords } from '../call.ts';
import { placeStruct, writeStruct } from '../guest_memory.ts';
import { type HandlerOf, WRITTEN } from '../implement.ts';

/** iret replaces the registers, and so ends the multicall. */
const IRET = 23;
const { size, offset } = multicall_entry;
const { op: OP, result: RESULT, args: ARGS } = offset;
const RESULT_SIZE = ARGS - RESULT;

function storeResult(view: DataView, at: number, outcome: number | bigint): void {
  if (typeof outcome !== 'number' || outcome !== (outcome | 0)) return storeBig(view, at, outcome);
  view.setInt32(at, outcome, true);
  view.setInt32(at + 4, outcome >> 31, true);
}

function storeBig(view: DataView, at: number, outcome: number | bigint): void {
  view.setBigInt64(at, BigInt.asIntN(64, BigInt(outcome)), true);
}

/** The registers of the multicall that runs: its calls leave theirs. */
const own = new Int32Array(2 * 2);
const keepOwn = (): void => copyWords(own, 0, registerWords, 0, own.length);
const putBackOwn = (): void => copyWords(registerWords, 0, own, 0, own.length);

/** Copies a part of entry `index`, which is in the struct, to the guest. */
const writePart = (call: Call, index: number, start: number, end: number): boolean =>
  writeStruct(call, own[0]!, own[1]!, index * size, start, end);

/** The entry asks for what is left to do; false: it cannot be written. */
function writeLeft(call: Call, index: number): boolean {
  copyWords(structWords, ARGS / 4, registerWords, 0, 2 * call.leftCount);
  return writePart(call, index, ARGS, ARGS + 8 * call.leftCount);
}

/** Where entry `index` lies, -1: not in one page, or it cannot be written. */
const placeEntry = (call: Call, index: number): number => placeStruct(call.host, own[0]!, own[1]!, index * size, size);

/** What ended the calls that were performed in place. */
let ending: 'EFAULT' | typeof AGAIN | undefined;

export const performMulticall: HandlerOf<typeof multicall.params, typeof multicall.body> = {
  begin(call) {
    if (call.isInMulticall) return 'EINVAL';
    call.isInMulticall = true;
    keepOwn();
  },

  /** Most entries are performed where they lie. */
  inPlace(call, first, end) {
    const { cpu, memory } = call.host;
    const { view } = memory;
    let at = -1;
    let flushes = -1;
    for (let index = first; index < end; index++) {
      if (at < 0) {
        at = placeEntry(call, index);
        flushes = cpu.flushes;
        if (at < 0) return index;
      }
      const nr = view.getUint32(at + OP, true);
      const isSmall = view.getInt32(at + OP + 4, true) === 0;
      if (nr === IRET && isSmall) return index;
      const outcome = isSmall ? call.perform(nr, view, at + ARGS) : -errno.ENOSYS;
      if (outcome === MADE_AGAIN) {
        ending = writeLeft(call, index) ? AGAIN : 'EFAULT';
        return index;
      }
      if (cpu.flushes !== flushes) {
        at = placeEntry(call, index);
        flushes = cpu.flushes;
        if (at < 0) {
          ending = 'EFAULT';
          return index;
        }
      }
      storeResult(view, at + RESULT, outcome);
      memory.written(at + RESULT, RESULT_SIZE);
      at += size;
      const inPage = at & (PAGE_SIZE - 1);
      if (inPage < size || inPage > PAGE_SIZE - size) at = -1;
    }
    return end;
  },

  /** The nested call may use the struct for its own. */
  each(call, _entry, _registers, index) {
    if (ending !== undefined) return ending;
    const nr = structView.getUint32(OP, true);
    const isSmall = structView.getUint32(OP + 4, true) === 0;
    const outcome = isSmall ? call.perform(nr, structView, ARGS) : -errno.ENOSYS;
    if (outcome === MADE_AGAIN) return writeLeft(call, index) ? AGAIN : 'EFAULT';
    storeResult(structView, RESULT, outcome);
    if (nr !== IRET || !isSmall) return WRITTEN;
    writePart(call, index, RESULT, ARGS);
    return structView.getBigUint64(RESULT, true);
  },

  end(call) {
    putBackOwn();
    ending = undefined;
    call.isInMulticall = false;
  },
};
