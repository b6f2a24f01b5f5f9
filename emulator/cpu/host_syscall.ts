/**
 * SYSCALL where the host performs it (CpuHost.syscall): what the processor does of it as WebAssembly, so that the host is
 * called once, within the loop, and finds everything as after an exit.
 */
import { EFER_SCE } from './control_registers.ts';
import { RF } from './flags.ts';
import { R11, RCX } from './interface.ts';
import { pushIsKnown, pushRecord } from './jump_cache.ts';
import * as L from './layout.ts';
import { MemoryFlags } from './memory_flags.ts';
import { SHADOWS } from './state.ts';
import { SYSTEM_SYSCALL } from './system/syscall.ts';
import { FunctionBody, type ImportedFunction } from './wasm_writer.ts';

/** (length of the instruction) -> whether the loop may go on, for as many instructions as REMAINING says then. */
export const syscallImport: ImportedFunction = { name: 'syscall', signature: { params: ['i32'], results: ['i32'] } };

/**
 * (record of a system instruction, count) -> the next record, or 0: the loop leaves. REMAINING is the count. Without a host for
 * it the instruction has not happened; else STOP_REASON says that there are news.
 */
export function hostSyscallFunction(syscallIndex: number): FunctionBody {
  const f = new FunctionBody({ params: ['i32', 'i32'], results: ['i32'] });
  const record = 0,
    count = 1;
  const next = f.local('i64');
  const rip = f.local('i64');
  const generation = f.local('i32');
  const rest = f.local('i32');
  const entry = f.local('i32');
  const load = (offset: number): FunctionBody => f.i32(0).mem('i32.load', offset);

  load(L.STOP_DETAIL).i32(SYSTEM_SYSCALL).op('i32.ne');
  load(L.HAS_HOST_SYSCALL).op('i32.eqz').op('i32.or');
  load(L.SYSTEM + 8 * L.SYS_EFER)
    .i32(EFER_SCE)
    .op('i32.and')
    .op('i32.eqz')
    .op('i32.or')
    .if();
  f.i32(0).get(count).mem('i32.store', L.REMAINING);
  f.i32(0).return();
  f.end();

  f.i32(0).get(count).i32(1).op('i32.sub').tee(count).mem('i32.store', L.REMAINING);
  load(L.JUMP_GENERATION).set(generation);
  f.get(record).mem('i64.load', L.R_RIP_NEXT).set(next);
  f.i32(0).get(next).mem('i64.store', L.RIP);
  f.i32(0)
    .get(next)
    .mem('i64.store', L.GPR + 8 * RCX);
  f.i32(0);
  load(L.FLAGS_REST).i32(~RF).op('i32.and').tee(rest);
  f.mem('i32.store', L.FLAGS_REST);
  f.i32(0);
  load(L.ACTIVITY).i32(~SHADOWS).op('i32.and');
  f.mem('i32.store', L.ACTIVITY);
  f.i32(0);
  new MemoryFlags(f).image();
  f.get(rest).i32(2).op('i32.or').op('i64.extend_i32_u').op('i64.or');
  f.mem('i64.store', L.GPR + 8 * R11);
  f.i32(0).i32(L.STOP_NEWS).mem('i32.store', L.STOP_REASON);

  f.get(next).get(record).mem('i64.load', L.R_RIP).op('i64.sub').op('i32.wrap_i64').call(syscallIndex);
  f.op('i32.eqz');
  load(L.REMAINING).op('i32.eqz').op('i32.or').if().i32(0).return().end();
  // Straight on, if what lies there is what lay there.
  f.i32(0).mem('i64.load', L.RIP).tee(rip).get(next).op('i64.eq');
  load(L.JUMP_GENERATION).get(generation).op('i32.eq').op('i32.and').if();
  f.get(record).i32(L.RECORD_SIZE).op('i32.add').return();
  f.end();
  pushIsKnown(f, rip, entry).if('i32');
  pushRecord(f, entry).else().i32(0).end();
  return f;
}
