/** The model-specific registers that the CPU itself keeps (SDM 4, APM2 appendix A). */
import type { CpuCore } from '../cpu.ts';
import * as L from '../layout.ts';

const kept: ReadonlyMap<number, number> = new Map([
  [0x174, L.SYS_SYSENTER_CS], [0x175, L.SYS_SYSENTER_ESP], [0x176, L.SYS_SYSENTER_EIP], [0x277, L.SYS_PAT],
  [0xc0000081, L.SYS_STAR], [0xc0000082, L.SYS_LSTAR], [0xc0000083, L.SYS_CSTAR], [0xc0000084, L.SYS_SFMASK],
  [0xc0000102, L.SYS_KERNEL_GS_BASE], [0xc0000103, L.SYS_TSC_AUX],
]);

export function readMsr(cpu: CpuCore, index: number): bigint | undefined {
  if (index === 0xc0000080) return cpu.efer;
  if (index === 0xc0000100) return cpu.state.view.getBigUint64(L.SEG_BASE + 32, true);
  if (index === 0xc0000101) return cpu.state.view.getBigUint64(L.SEG_BASE + 40, true);
  const at = kept.get(index);
  return at === undefined ? undefined : cpu.state.sys[at];
}

export function writeMsr(cpu: CpuCore, index: number, value: bigint): boolean {
  if (index === 0xc0000080) cpu.efer = value;
  else if (index === 0xc0000100) cpu.state.view.setBigUint64(L.SEG_BASE + 32, value, true);
  else if (index === 0xc0000101) cpu.state.view.setBigUint64(L.SEG_BASE + 40, value, true);
  else {
    const at = kept.get(index);
    if (at === undefined) return false;
    cpu.state.sys[at] = value;
  }
  return true;
}
