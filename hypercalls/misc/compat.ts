/**
 * event_channel_op_compat and physdev_op_compat: the sub-operation is the first word of the argument, what is now the
 * whole argument stands behind it (xen:common/compat.c do_event_channel_op_compat, xen:arch/x86/physdev.c).
 */

import { errno } from '../abi/errno.ts';
import { event_channel_op } from '../abi/event_channel.ts';
import { physdev_op } from '../abi/physdev.ts';
import { event_channel_op_compat, physdev_op_compat } from '../abi/xen_calls.ts';
import { type Call, MADE_AGAIN } from '../call.ts';
import { copyFromGuest } from '../guest_memory.ts';
import { implement } from '../implement.ts';

/** sizeof(struct evtchn_op), sizeof(struct physdev_op), and where their unions begin. */
const EVTCHN_OP = { size: 28, argument: 4n };
const PHYSDEV_OP = { size: 24, argument: 8n };
/** Later sub-operations came with the new call. */
const LAST_EVTCHN_COMPAT = event_channel_op.body.unmask.cmd;

const bytes = new Uint8Array(EVTCHN_OP.size);
const view = new DataView(bytes.buffer);
const args = new BigUint64Array(6);
const argWords = new Int32Array(args.buffer);

function perform(call: Call, nr: number, cmd: number, pointer: bigint): number | bigint {
  args.fill(0n);
  args[0] = BigInt(cmd);
  args[1] = BigInt.asUintN(64, pointer);
  const outcome = call.perform(nr, argWords, 0);
  if (outcome === MADE_AGAIN) throw new Error(`bug: hypercall ${nr} of an old guest wants to be continued`);
  return outcome;
}

export const compatFamily = [
  implement(event_channel_op_compat, (call, { uop }) => {
    if (!copyFromGuest(call.host, uop, bytes, 0, EVTCHN_OP.size)) return 'EFAULT';
    const cmd = view.getUint32(0, true);
    return cmd > LAST_EVTCHN_COMPAT ? -errno.ENOSYS : perform(call, event_channel_op.nr, cmd, uop + EVTCHN_OP.argument);
  }),
  implement(physdev_op_compat, (call, { uop }) => {
    if (!copyFromGuest(call.host, uop, bytes, 0, PHYSDEV_OP.size)) return 'EFAULT';
    return perform(call, physdev_op.nr, view.getUint32(0, true), uop + PHYSDEV_OP.argument);
  }),
];
