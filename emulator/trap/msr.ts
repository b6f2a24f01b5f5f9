/**
 * The MSRs of a PV64 guest's kernel (xen:arch/x86/msr.c, pv/emul-priv-op.c read_msr and write_msr; values as Xen 4.17 on an
 * AMD CPU shows them). What is not in the table is #GP.
 */

import { isCanonical } from '../../hypercalls/pv_cpu/canonical.ts';
import { MSR_FS_BASE, MSR_GS_BASE, MSR_SHADOW_GS_BASE } from '../../hypercalls/pv_cpu/mode.ts';
import { guestNs } from '../guest_time.ts';
import { PAGE_SIZE } from '../memory/machine_memory.ts';
import { PGT_writable_page } from '../memory/page_type.ts';
import { getPageAndType, putPageAndType } from '../memory/page_types.ts';
import { defineSlot } from '../slot.ts';
import type { Vcpu } from '../vcpu.ts';
import type { TrapHost } from './trap_host.ts';

const MSR_IA32_TSC = 0x10;
const MSR_MCG_STATUS = 0x17a;
const MSR_TSC_AUX = 0xc000_0103;
const MSR_EFER = 0xc000_0080;
/** Writing a frame's address fills it with the hypercall page (leaf 0x40000002). */
const MSR_HYPERCALL_PAGE = 0x4000_0000;
/** SCE LME LMA NXE. */
const EFER = 0xd01n;

interface Row {
  readonly first: number;
  readonly last: number;
  /** What RDMSR gives; undefined: #GP. */
  readonly value: bigint | undefined;
  /** Whether WRMSR is accepted, and then forgotten: any value, 0 alone, or none. */
  readonly writable: 'any' | 'zero' | 'none';
  /** #GP for all but the initial domain. */
  readonly isInitialOnly: boolean;
}

const row = (first: number, last: number, value: bigint | undefined, access: 'ro' | 'rw' | 'rz' | 'wo' | 'dom0'): Row => ({
  first,
  last,
  value,
  writable: access === 'rz' ? 'zero' : access === 'rw' || access === 'wo' ? 'any' : 'none',
  isInitialOnly: access === 'dom0',
});

// biome-ignore format: one register or group a line
const ROWS: readonly Row[] = [
  row(0x0000_0000, 0x0000_0001, 0n,                    'ro'), // P5_MC_ADDR, P5_MC_TYPE
  row(0x0000_001b, 0x0000_001b, 0xfee0_0900n,          'ro'), // APIC_BASE: enabled, boot CPU
  row(0x0000_008b, 0x0000_008b, 0x0100_0065n,          'ro'), // microcode revision
  row(0x0000_00ce, 0x0000_00ce, 0n,                    'ro'), // PLATFORM_INFO
  row(0x0000_00e7, 0x0000_00e8, undefined,             'wo'), // MPERF, APERF
  row(0x0000_0140, 0x0000_0140, 0n,                    'rz'), // MISC_FEATURES_ENABLES
  row(0x0000_0179, 0x0000_0179, 2n,                    'rw'), // MCG_CAP: two banks
  row(0x0000_017b, 0x0000_017b, 0n,                    'rw'), // MCG_CTL
  row(0x0000_01a0, 0x0000_01a0, 0x80_1801n,              'rw'), // MISC_ENABLE: no BTS, no PEBS, no xTPR
  row(0x0000_0277, 0x0000_0277, 0x0501_0007_0406n,       'ro'), // PAT
  row(0x0000_0280, 0x0000_029f, 0n,                    'rw'), // MC0_CTL2 ...
  row(0x0000_0345, 0x0000_0345, 0n,                    'ro'), // PERF_CAPABILITIES
  row(0x0000_0400, 0x0000_0400, 0xffff_ffff_ffff_ffffn, 'rw'), // MC0_CTL
  row(0x0000_0401, 0x0000_0403, 0n,                    'rz'), // MC0_STATUS, ADDR, MISC
  row(0x0000_0404, 0x0000_0404, 0xffff_ffff_ffff_ffffn, 'rw'), // MC1_CTL
  row(0x0000_0405, 0x0000_0407, 0n,                    'rz'), // MC1_STATUS, ADDR, MISC
  row(0x0000_0408, 0x0000_047f, 0n,                    'rw'), // banks that are not there
  row(0xc001_0000, 0xc001_0007, 0n,                    'rw'), // K7 performance counters
  row(0xc001_0010, 0xc001_0010, 0n,                    'dom0'), // SYSCFG
  row(0xc001_0015, 0xc001_0015, 0n,                    'rw'), // HWCR
  row(0xc001_0016, 0xc001_001a, 0n,                    'dom0'), // IORR_BASE, IORR_MASK, TOP_MEM
  row(0xc001_001d, 0xc001_001d, 0n,                    'dom0'), // TOP_MEM2
  row(0xc001_001f, 0xc001_001f, 0n,                    'rw'), // NB_CFG
  row(0xc001_0041, 0xc001_0042, 0n,                    'rw'), // FID_VID
  row(0xc001_0061, 0xc001_006b, 0n,                    'rw'), // P-states
  row(0xc001_0112, 0xc001_0113, 0n,                    'dom0'), // TSEG base and mask
  row(0xc001_0200, 0xc001_020b, 0n,                    'rw'), // family 15h performance counters
  row(0xc001_1029, 0xc001_1029, 2n,                    'rw'), // DE_CFG: LFENCE serialises
];

const find = ({ current }: TrapHost, index: number): Row | undefined =>
  ROWS.find(({ first, last, isInitialOnly }) => index >= first && index <= last && (!isInitialOnly || current.domain.isInitial));

/** What a vCPU wrote to MCG_STATUS. */
const machineCheck = defineSlot<Vcpu, { status: bigint }>(() => ({ status: 0n }), { name: 'trap.machine_check' });

/** What RDMSR gives; undefined: #GP. */
export function readMsr(host: TrapHost, index: number): bigint | undefined {
  switch (index) {
    case MSR_IA32_TSC:
      return BigInt(host.clock.tscAt(guestNs(host, host.current.domain)));
    case MSR_EFER:
      return EFER;
    case MSR_HYPERCALL_PAGE:
      return 0n;
    case MSR_FS_BASE:
    case MSR_GS_BASE:
    case MSR_SHADOW_GS_BASE:
    case MSR_TSC_AUX:
      return host.cpu.readMsr(index);
    case MSR_MCG_STATUS:
      return machineCheck.of(host.current).status;
    default:
      return find(host, index)?.value;
  }
}

/** False: #GP. */
export function writeMsr(host: TrapHost, index: number, value: bigint): boolean {
  switch (index) {
    case MSR_EFER:
      return value === EFER;
    case MSR_HYPERCALL_PAGE:
      return placeHypercallPage(host, value);
    case MSR_FS_BASE:
    case MSR_GS_BASE:
    case MSR_SHADOW_GS_BASE:
      return isCanonical(value) && host.cpu.writeMsr(index, value);
    case MSR_TSC_AUX:
      return value <= 0xffff_ffffn && host.cpu.writeMsr(index, value);
    case MSR_MCG_STATUS:
      machineCheck.of(host.current).status = value;
      return true;
    default: {
      const writable = find(host, index)?.writable;
      return writable === 'any' || (writable === 'zero' && value === 0n);
    }
  }
}

/** xen:arch/x86/traps.c wrmsr_hypervisor_regs; the low bits name one of Xen's hypercall pages, of which there is one. */
function placeHypercallPage({ memory, current, fillHypercallPage }: TrapHost, value: bigint): boolean {
  const mfn = Number(value >> 12n);
  if (value & 0xfffn || getPageAndType(memory, mfn, PGT_writable_page, current.domain.id) !== undefined) return false;
  fillHypercallPage(memory.frameBytes(mfn));
  memory.written(mfn * PAGE_SIZE, PAGE_SIZE);
  putPageAndType(memory, mfn);
  return true;
}
