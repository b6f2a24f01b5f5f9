/** multicall: several calls, one after the other; each one's RAX goes into its entry (xen:common/multicall.c). */
import { errno } from '../abi/errno.ts';
import { AGAIN } from '../abi/hypercall.ts';
import { type multicall, multicall_entry } from '../abi/xen_calls.ts';
import { type Call, MADE_AGAIN } from '../call.ts';
import { copyToGuest, writeU64 } from '../guest_memory.ts';
import type { HandlerOf } from '../implement.ts';

/** iret replaces the registers, and so ends the multicall. */
const IRET = 23n;
const ENOSYS = BigInt.asUintN(64, BigInt(-errno.ENOSYS));

const args = new BigUint64Array(6);
const argBytes = new Uint8Array(args.buffer);

export const performMulticall: HandlerOf<typeof multicall.params, typeof multicall.body> = {
  begin(call) {
    if (call.isInMulticall) return 'EINVAL';
    call.isInMulticall = true;
  },

  each(call: Call, entry, _registers, pointer) {
    if (entry.op > 0xffff_ffffn) return { result: ENOSYS };
    for (let i = 0; i < 6; i++) args[i] = entry.args[i]!;
    const outcome = call.perform(Number(entry.op), args);
    if (outcome !== MADE_AGAIN) {
      const result = BigInt.asUintN(64, BigInt(outcome));
      if (entry.op !== IRET) return { result };
      writeU64(call.host, pointer + BigInt(multicall_entry.offset.result), result);
      return result;
    }
    return copyToGuest(call.host, pointer + BigInt(multicall_entry.offset.args), argBytes) ? AGAIN : 'EFAULT';
  },

  end(call) {
    call.isInMulticall = false;
  },
};
