/** Moves the state that vectors and programs are recorded in (vectors.ts) into and out of our CPU. */
import { ARITHMETIC } from '../../emulator/cpu/flags.ts';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { FTW, MXCSR, ST, XMM } from '../../emulator/cpu/layout.ts';
import { CODE_ADDRESS, type MachineState, WINDOW_ADDRESS, WINDOW_SIZE } from './vectors.ts';

/** RIP is CODE_ADDRESS afterwards. */
export function loadState(cpu: CpuCore, state: MachineState): void {
  const { view } = cpu.state;
  const registers = new Uint8Array(view.buffer);
  cpu.gpr.set(state.gpr);
  cpu.rflags = BigInt(state.flags);
  cpu.rip = BigInt(CODE_ADDRESS);
  view.setUint32(MXCSR, state.mxcsr, true);
  view.setUint16(FTW, 0, true);
  registers.set(state.xmm, XMM);
  for (let i = 0; i < 8; i++) registers.set(state.mmx.subarray(i * 8, i * 8 + 8), ST + i * 16);
  cpu.memory.bytes.set(state.window, WINDOW_ADDRESS);
}

export function saveState(cpu: CpuCore): MachineState {
  const { view } = cpu.state;
  const registers = new Uint8Array(view.buffer);
  return {
    gpr: [...cpu.gpr],
    flags: (Number(cpu.rflags) & (ARITHMETIC | 0x400)) | 0x202,
    xmm: registers.slice(XMM, XMM + 256),
    mmx: Uint8Array.from({ length: 64 }, (_, i) => registers[ST + (i >> 3) * 16 + (i & 7)]!),
    mxcsr: view.getUint32(MXCSR, true),
    window: cpu.memory.bytes.slice(WINDOW_ADDRESS, WINDOW_ADDRESS + WINDOW_SIZE),
  };
}
