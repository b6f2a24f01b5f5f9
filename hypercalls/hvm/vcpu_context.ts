/**
 * VCPUOP_initialise of an HVM guest: a vCPU's first registers out of its struct vcpu_hvm_context, in protected mode or in
 * long mode (xen:arch/x86/hvm/domain.c arch_set_info_hvm_guest).
 */
import type { SegmentName } from '../../emulator/cpu/interface.ts';
import type { Host } from '../../emulator/host.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { VCPU_HVM_MODE_32B, VCPU_HVM_MODE_64B, vcpu_hvm_context, vcpu_hvm_x86_32, vcpu_hvm_x86_64 } from '../abi/hvm_vcpu.ts';
import type { ValueOf } from '../abi/types.ts';
import { isCanonical } from '../pv_cpu/canonical.ts';

type Registers32 = ValueOf<typeof vcpu_hvm_x86_32>;
type Registers64 = ValueOf<typeof vcpu_hvm_x86_64>;

const CR0_ET = 0x10n;
const CR0_PG = 1n << 31n;
const CR4_PAE = 0x20n;
/** What a guest may set, SDM 3A 2.5: all up to OSXMMEXCPT, UMIP, FSGSBASE, OSXSAVE, SMEP, SMAP. */
const CR4_VALID = 0x35_0fffn;
const EFER_LME = 0x100n;
/** SCE, LME, LMA, NXE. */
const EFER_VALID = 0xd01n;
const RFLAGS_FIXED = 2n;

const ATTRIBUTE_S = 0x10;
const ATTRIBUTE_DPL = 0x60;
const ATTRIBUTE_P = 0x80;
const ATTRIBUTE_G = 0x800;
const TYPE_CODE = 8;
const TYPE_WRITABLE = 2;
const TYPE_TSS_BUSY = 0xb;
const FLAT_LIMIT = 0xffff_ffff;
const FLAT_DATA = 0xc93;
const LONG_CODE = 0xa9b;

const bytes = new Uint8Array(vcpu_hvm_context.size);
const view = new DataView(bytes.buffer);

/** Where the caller puts the guest's struct. */
export const hvmContextBytes = bytes;

interface Descriptor {
  readonly base: number;
  readonly limit: number;
  /** As in bits 40-55 of a descriptor, without the limit's. */
  readonly attributes: number;
}
type Descriptors = Record<'cs' | 'ds' | 'ss' | 'es' | 'tr', Descriptor>;

/** Takes over what `hvmContextBytes` holds for `vcpu`, which has never run. */
export function initialiseHvm(host: Host, vcpu: Vcpu): 'EINVAL' | undefined {
  const { mode, pad } = vcpu_hvm_context.read(view, 0);
  if (pad !== 0) return 'EINVAL';
  const at = vcpu_hvm_context.offset.cpu_regs;
  if (mode === VCPU_HVM_MODE_32B) return initialise32(host, vcpu, vcpu_hvm_x86_32.read(view, at));
  return mode === VCPU_HVM_MODE_64B ? initialise64(host, vcpu, vcpu_hvm_x86_64.read(view, at)) : 'EINVAL';
}

function initialise32(host: Host, vcpu: Vcpu, r: Registers32): 'EINVAL' | undefined {
  const descriptor = (base: number, limit: number, ar: number, accessed: number): Descriptor => ({
    base,
    limit: ar & ATTRIBUTE_G ? (limit << 12) | 0xfff : limit,
    attributes: ar & ATTRIBUTE_P ? ar | accessed : ar,
  });
  const segments: Descriptors = {
    cs: descriptor(r.cs_base, r.cs_limit, r.cs_ar, 1),
    ds: descriptor(r.ds_base, r.ds_limit, r.ds_ar, 1),
    ss: descriptor(r.ss_base, r.ss_limit, r.ss_ar, 1),
    es: descriptor(r.es_base, r.es_limit, r.es_ar, 1),
    tr: descriptor(r.tr_base, r.tr_limit, r.tr_ar, 2),
  };
  for (const [name, { attributes }] of Object.entries(segments)) if (!isSegmentSane(name, attributes)) return 'EINVAL';
  if (r.eip > segments.cs.limit >>> 0 || r.esp > segments.ss.limit >>> 0) return 'EINVAL';
  if (BigInt(r.cr4) & ~CR4_VALID || r.efer & ~EFER_VALID) return 'EINVAL';
  const gpr = [r.eax, r.ecx, r.edx, r.ebx, r.esp, r.ebp, r.esi, r.edi].map(BigInt);
  load(host, vcpu, segments, {
    ...r,
    gpr,
    rip: BigInt(r.eip),
    rflags: BigInt(r.eflags),
    cr0: BigInt(r.cr0),
    cr3: BigInt(r.cr3),
    cr4: BigInt(r.cr4),
  });
  return undefined;
}

function initialise64(host: Host, vcpu: Vcpu, r: Registers64): 'EINVAL' | undefined {
  if (!(r.cr0 & CR0_PG) || !(r.cr4 & CR4_PAE) || !(r.efer & EFER_LME)) return 'EINVAL';
  if (!isCanonical(r.rip) || r.cr4 & ~CR4_VALID || r.efer & ~EFER_VALID) return 'EINVAL';
  const flat = { base: 0, limit: FLAT_LIMIT, attributes: FLAT_DATA };
  const segments = {
    cs: { ...flat, attributes: LONG_CODE },
    ds: flat,
    ss: flat,
    es: flat,
    tr: { base: 0, limit: 0x67, attributes: ATTRIBUTE_P | TYPE_TSS_BUSY },
  };
  load(host, vcpu, segments, { ...r, gpr: [r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi] });
  return undefined;
}

/** Of a segment with its hidden bits as the guest gave them. */
function isSegmentSane(name: string, attributes: number): boolean {
  if (attributes >> 12 !== 0) return false;
  if (attributes === 0) return name === 'ds' || name === 'es';
  const type = attributes & 0xf;
  if (!(attributes & ATTRIBUTE_P)) return false;
  if (name === 'tr') return !(attributes & ATTRIBUTE_S) && type === TYPE_TSS_BUSY;
  if (!(attributes & ATTRIBUTE_S)) return false;
  if (name === 'cs') return (type & TYPE_CODE) !== 0 && !(attributes & ATTRIBUTE_DPL);
  if (name === 'ss') return !(type & TYPE_CODE) && (type & TYPE_WRITABLE) !== 0 && !(attributes & ATTRIBUTE_DPL);
  return !(type & TYPE_CODE) || (type & TYPE_WRITABLE) !== 0;
}

interface CommonRegisters {
  readonly gpr: readonly bigint[];
  readonly rip: bigint;
  readonly rflags: bigint;
  readonly cr0: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
}

function load(host: Host, vcpu: Vcpu, segments: Descriptors, registers: CommonRegisters): void {
  const { cpu } = host;
  host.withRegisters(vcpu, () => {
    cpu.gpr.fill(0n);
    for (const [i, value] of registers.gpr.entries()) cpu.gpr[i] = value;
    cpu.rip = registers.rip;
    cpu.rflags = registers.rflags | RFLAGS_FIXED;
    cpu.efer = registers.efer;
    cpu.cr4 = registers.cr4;
    cpu.cr3 = registers.cr3;
    cpu.cr0 = registers.cr0 | CR0_ET;
    for (const [name, { base, limit, attributes }] of Object.entries(segments)) {
      const hidden = (attributes & 0xff) | ((attributes & 0xf00) << 4);
      cpu.setSegment(name as SegmentName, { selector: 0, base: BigInt(base), limit: limit >>> 0, attributes: hidden });
    }
  });
  vcpu.isInitialised = true;
}
