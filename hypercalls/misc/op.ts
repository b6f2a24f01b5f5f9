/** multicall and vm_assist. */
import { multicall, VMASST_TYPE, vm_assist } from '../abi/xen_calls.ts';
import { implement } from '../implement.ts';
import { performMulticall } from './multicall.ts';

const ASSISTS = Object.values(VMASST_TYPE).reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);
/** All others are about page tables and the like. */
const HVM_ASSISTS = 1n << BigInt(VMASST_TYPE.runstate_update_flag);

const vmAssist = implement(
  vm_assist,
  {
    enable(call, { type }) {
      call.domain.vmAssist |= 1n << BigInt(type);
    },
    disable(call, { type }) {
      call.domain.vmAssist &= ~(1n << BigInt(type));
    },
  },
  (call, { type }) => {
    const assists = call.domain.type === 'pv' ? ASSISTS : HVM_ASSISTS;
    return type < 64 && ((assists >> BigInt(type)) & 1n) !== 0n ? undefined : 'EINVAL';
  },
);

export const miscFamily = [implement(multicall, performMulticall), vmAssist];
