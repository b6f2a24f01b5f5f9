/** multicall: several calls, one after the other; each one's RAX goes into its entry (xen:common/multicall.c). */
import { PAGE_SHIFT, PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { errno } from '../abi/errno.ts';
import { AGAIN } from '../abi/hypercall.ts';
import { type multicall, multicall_entry } from '../abi/xen_calls.ts';
import { type Call, copyWords, left, MADE_AGAIN, type Outcome, registerWords, structView, structWords } from '../call.ts';
import { placeStruct, writeStruct } from '../guest_memory.ts';
import { type HandlerOf, NOT_IN_PLACE, WRITTEN } from '../implement.ts';

/** iret replaces the registers, and so ends the multicall. */
const IRET = 23;
const { size, offset } = multicall_entry;
const RESULT_SIZE = offset.args - offset.result;

function storeResult(view: DataView, at: number, outcome: Exclude<Outcome, undefined>): void {
  if (typeof outcome === 'number' && outcome === (outcome | 0)) {
    view.setInt32(at, outcome, true);
    view.setInt32(at + 4, outcome >> 31, true);
  } else {
    view.setBigInt64(at, BigInt.asIntN(64, BigInt(outcome)), true);
  }
}

/** By the lower half; of one with an upper half `each` knows. */
const mayBeIret = (view: DataView, at: number): boolean => view.getUint32(at + offset.op, true) === IRET;

/** The call that the entry at `at` asks for. */
function perform(call: Call, view: DataView, at: number): Outcome {
  if (view.getInt32(at + offset.op + 4, true) !== 0) return -errno.ENOSYS;
  return call.perform(view.getUint32(at + offset.op, true), view, at + offset.args);
}

/** Copies a part of entry `index`, which is in the struct, to the guest. */
const writePart = (call: Call, index: number, start: number, end: number): boolean =>
  writeStruct(call.host, registerWords[0]!, registerWords[1]!, index * size, start, end);

/** The entry asks for what is left to do; false: it cannot be written. */
function writeLeft(call: Call, index: number): boolean {
  copyWords(structWords, offset.args / 4, left.words, 0, 2 * left.count);
  return writePart(call, index, offset.args, offset.args + 8 * left.count);
}

/** An entry in the page of the one just done, for which it need not be looked up: its number, and where it lies. */
let nextIndex = 0;
let nextAt = 0;

export const performMulticall: HandlerOf<typeof multicall.params, typeof multicall.body> = {
  begin(call) {
    if (call.isInMulticall) return 'EINVAL';
    call.isInMulticall = true;
    nextIndex = 0;
  },

  /** Most entries are performed where they lie. */
  inPlace(call, index) {
    const { host } = call;
    const { memory } = host;
    const { view } = memory;
    const low = registerWords[0]!;
    const high = registerWords[1]!;
    const at = index === nextIndex ? nextAt : placeStruct(host, low, high, index * size, size);
    if (at < 0 || mayBeIret(view, at)) return NOT_IN_PLACE;
    const outcome = perform(call, view, at);
    if (outcome === MADE_AGAIN) return writeLeft(call, index) ? MADE_AGAIN : -errno.EFAULT;
    // The call may have changed what lies there.
    const result = placeStruct(host, low, high, index * size + offset.result, RESULT_SIZE);
    if (result < 0) return -errno.EFAULT;
    storeResult(view, result, outcome);
    memory.written(result, RESULT_SIZE);
    nextAt = result - offset.result + size;
    nextIndex = (nextAt & (PAGE_SIZE - 1)) <= PAGE_SIZE - size && nextAt >>> PAGE_SHIFT === result >>> PAGE_SHIFT ? index + 1 : 0;
    return 0;
  },

  /** The nested call may use the struct for its own. */
  each(call, _entry, _registers, index) {
    const isIret = mayBeIret(structView, 0) && structView.getUint32(offset.op + 4, true) === 0;
    const outcome = perform(call, structView, 0);
    if (outcome === MADE_AGAIN) return writeLeft(call, index) ? AGAIN : 'EFAULT';
    storeResult(structView, offset.result, outcome);
    if (!isIret) return WRITTEN;
    writePart(call, index, offset.result, offset.args);
    return structView.getBigUint64(offset.result, true);
  },

  end(call) {
    call.isInMulticall = false;
  },
};
