/**
 * SYSCALL where the host performs it (CpuHost.syscall): what the processor does of it as WebAssembly, so that the host is
 * called once, within the loop, and finds everything as after an exit.
 */
import { EFER_SCE } from './control_registers.ts';
import { RF } from './flags.ts';
import { R11, RCX } from './interface.ts';
import { pushIsKnown, pushRecord } from './jump_cache.ts';
import * as L from './layout.ts';
import { FlagReader } from './memory_flags.ts';
import { SHADOWS } from './state.ts';
import { SYSTEM_SYSCALL } from './system/syscall.ts';
import { FunctionBody, type ImportedFunction, type Signature } from './wasm_writer.ts';

/** (length of the instruction) -> whether the loop may go on, for as many instructions as REMAINING says then. */
export const syscallImport: ImportedFunction = { name: 'syscall', signature: { params: ['i32'], results: ['i32'] } };

export const HOST_SYSCALL_SIGNATURE: Signature = { params: ['i32', 'i32'], results: ['i32'] };

/** What a host's SYSCALL calls: the host itself, and what puts a region's flags where they lie. */
interface Callees {
  readonly syscall: number;
  readonly saveLeftFlags: number;
}

/**
 * (record of a system instruction, count) -> the next record, or 0: the loop leaves. REMAINING is the count. Without a host for
 * it the instruction has not happened; else STOP_REASON says that there are news.
 */
export function hostSyscallFunction({ syscall }: Callees): FunctionBody {
  const f = new FunctionBody(HOST_SYSCALL_SIGNATURE);
  load(f, L.STOP_DETAIL).i32(SYSTEM_SYSCALL).op('i32.ne');
  pushIsRefused(f).op('i32.or').if();
  f.i32(0).get(COUNT).mem('i32.store', L.REMAINING);
  f.i32(0).return();
  f.end();
  return performSyscall(f, syscall);
}

/**
 * The same for a SYSCALL that a region meets, whose registers and flags lie where it leaves them. It may go on itself if it gets
 * the record behind the SYSCALL's.
 */
export function regionSyscallFunction({ syscall, saveLeftFlags }: Callees): FunctionBody {
  const f = new FunctionBody(HOST_SYSCALL_SIGNATURE);
  f.call(saveLeftFlags);
  pushIsRefused(f).if();
  f.i32(0).get(COUNT).mem('i32.store', L.REMAINING);
  f.i32(0).i32(L.STOP_SYSTEM).mem('i32.store', L.STOP_REASON);
  f.i32(0).i32(SYSTEM_SYSCALL).mem('i32.store', L.STOP_DETAIL);
  f.i32(0).get(RECORD).mem('i32.store', L.STOP_RECORD);
  f.i32(0).return();
  f.end();
  return performSyscall(f, syscall);
}

const RECORD = 0,
  COUNT = 1;

const load = (f: FunctionBody, offset: number): FunctionBody => f.i32(0).mem('i32.load', offset);

/** Pushes whether there is no host for a SYSCALL now, or the processor would not do one. */
function pushIsRefused(f: FunctionBody): FunctionBody {
  load(f, L.HAS_HOST_SYSCALL);
  return load(f, L.SYSTEM + 8 * L.SYS_EFER)
    .op('i32.and')
    .i32(EFER_SCE)
    .op('i32.and')
    .op('i32.eqz');
}

function performSyscall(f: FunctionBody, syscall: number): FunctionBody {
  const next = f.local('i64');
  const rip = f.local('i64');
  const generation = f.local('i32');
  const rest = f.local('i32');
  const entry = f.local('i32');
  const drops = f.local('i32');
  const result = f.local('i64');
  const aux = f.local('i32');

  f.i32(0).get(COUNT).i32(1).op('i32.sub').tee(COUNT).mem('i32.store', L.REMAINING);
  load(f, L.JUMP_GENERATION).set(generation);
  load(f, L.REGION_DROPS).set(drops);
  f.get(RECORD).mem('i64.load', L.R_RIP_NEXT).set(next);
  f.i32(0).get(next).mem('i64.store', L.RIP);
  f.i32(0)
    .get(next)
    .mem('i64.store', L.GPR + 8 * RCX);
  f.i32(0);
  load(f, L.FLAGS_REST).i32(~RF).op('i32.and').tee(rest);
  f.mem('i32.store', L.FLAGS_REST);
  f.i32(0);
  load(f, L.ACTIVITY).i32(~SHADOWS).op('i32.and');
  f.mem('i32.store', L.ACTIVITY);
  f.i32(0).mem('i64.load', L.FLAG_RESULT).set(result);
  load(f, L.FLAG_AUX).set(aux);
  f.i32(0);
  new FlagReader(
    f,
    () => f.get(result),
    () => f.get(aux),
  ).image();
  f.get(rest).i32(2).op('i32.or').op('i64.extend_i32_u').op('i64.or');
  f.mem('i64.store', L.GPR + 8 * R11);
  f.i32(0).i32(L.STOP_NEWS).mem('i32.store', L.STOP_REASON);

  f.get(next).get(RECORD).mem('i64.load', L.R_RIP).op('i64.sub').op('i32.wrap_i64').call(syscall);
  f.op('i32.eqz').if().i32(0).return().end();
  load(f, L.REMAINING).op('i32.eqz').if().i32(0).return().end();
  // Straight on, if what lies there is what lay there.
  f.i32(0).mem('i64.load', L.RIP).tee(rip).get(next).op('i64.xor');
  load(f, L.JUMP_GENERATION).get(generation).op('i32.xor');
  load(f, L.REGION_DROPS).get(drops).op('i32.xor').op('i32.or').op('i64.extend_i32_u').op('i64.or').op('i64.eqz').if();
  f.get(RECORD).i32(L.RECORD_SIZE).op('i32.add').return();
  f.end();
  pushIsKnown(f, rip, entry).if('i32');
  pushRecord(f, entry).else().i32(0).end();
  return f;
}
