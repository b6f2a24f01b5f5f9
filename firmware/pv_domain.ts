/**
 * Builds a PV64 domain from a kernel image, up to its first instruction: memory, the loaded image, start_info and
 * shared_info, hypercall page, p2m, page tables taken through the same checks as a guest's own, and the first vCPU's
 * registers. The machine sets up what belongs to subsystems (ports, grants, xenstore) from what is returned here.
 */
import type { Cpu } from '../emulator/cpu/interface.ts';
import { RSI, RSP } from '../emulator/cpu/interface.ts';
import type { Domain } from '../emulator/domain.ts';
import { GDT_VIRT_START, LAST_RESERVED_GDT_BYTE, prepareVcpuArea } from '../emulator/memory/address_space.ts';
import { FRAME_PINNED, type MachineMemory, OWNER_RING, PAGE_SIZE } from '../emulator/memory/machine_memory.ts';
import { PGT_l4_page_table } from '../emulator/memory/page_type.ts';
import { getPageAndType } from '../emulator/memory/page_types.ts';
import * as pte from '../emulator/memory/pte.ts';
import { setKernelTable } from '../emulator/memory/pv_cr3.ts';
import { SIF_INITDOMAIN, SIF_MOD_START_PFN, SIF_PRIVILEGED, shared_info, vcpu_info, XEN_LEGACY_MAX_VCPUS } from '../hypercalls/abi/xen.ts';
import { fillHypercallPage } from './hypercall_page.ts';
import { ImageError } from './image_error.ts';
import { hex, type KernelImage, readKernelImage } from './kernel_image.ts';
import { layoutPv, type PvLayout } from './pv_layout.ts';
import { DOM0_VGA_INFO_OFFSET, DOM0_VGA_INFO_SIZE, encodeText, MAX_GUEST_CMDLINE, SIF_PM_DEFAULT, start_info } from './start_info.ts';

export interface PvBuildOptions {
  cmdline?: string;
  ramdisk?: Uint8Array;
  /** Size of the domain; at most domain.maxPages. */
  memoryPages: number;
  /** Event-channel ports already allocated for the domU's xenstore and console; 0: it has none. */
  xenstorePort?: number;
  consolePort?: number;
}

/** The built domain, and the state in which its first vCPU starts. */
export interface PvBoot {
  readonly image: KernelImage;
  readonly rip: bigint;
  readonly rsp: bigint;
  /** Vaddr of start_info. */
  readonly rsi: bigint;
  readonly l4Mfn: number;
  readonly startInfoMfn: number;
  /** Machine frames of the rings, -1 in the initial domain. */
  readonly xenstoreMfn: number;
  readonly consoleMfn: number;
  readonly sharedInfoMfn: number;
}

/** What ring -1 needs for itself beside the domain's memory: shared_info, per-domain tables. */
const RING_FRAMES = 32;

/** Flags as libxenguest and Xen write them before any check; ring -1 then adds PAGE_USER and the like. */
const L1_FLAGS = pte.PAGE_PRESENT | pte.PAGE_RW | pte.PAGE_ACCESSED;
const UPPER_FLAGS = L1_FLAGS | pte.PAGE_DIRTY | pte.PAGE_USER;

/** Needs a domain with its vCPUs and no memory yet. On an ImageError nothing of the machine has changed. */
export function buildPvDomain(memory: MachineMemory, domain: Domain, file: Uint8Array, options: PvBuildOptions): PvBoot | ImageError {
  const image = readKernelImage(file);
  if (image instanceof ImageError) return image;
  const ramdisk = options.ramdisk ?? new Uint8Array(0);
  const layout = layoutPv(image, { memoryPages: options.memoryPages, ramdiskSize: ramdisk.length, isInitial: domain.isInitial });
  if (layout instanceof ImageError) return layout;
  const hypercallPfn = findHypercallPage(image, options.memoryPages);
  if (hypercallPfn instanceof ImageError) return hypercallPfn;
  if (memory.freeCount < options.memoryPages + RING_FRAMES) {
    return new ImageError(`the machine has no ${options.memoryPages / 256} MiB of free memory`, 'give less with --memory');
  }

  memory.domains.set(domain.id, domain);
  const p2m = Array.from({ length: options.memoryPages }, (_, pfn) => {
    const mfn = memory.allocate(domain.id);
    memory.setM2p(mfn, BigInt(pfn));
    return mfn;
  });
  const guest = new GuestFrames(memory, p2m);
  for (const { offset, fileSize, paddr } of image.segments) {
    guest.write(Number(paddr + image.virtOffset - image.virtBase), image.elf.bytes.subarray(offset, offset + fileSize));
  }
  if (ramdisk.length > 0) guest.write(layout.ramdiskPfn * PAGE_SIZE, ramdisk);
  if (hypercallPfn >= 0) fillHypercallPage(memory.frameBytes(p2m[hypercallPfn]!));
  const list = new BigUint64Array(p2m.map((mfn) => BigInt(mfn)));
  guest.write(layout.p2mPfn * PAGE_SIZE, new Uint8Array(list.buffer));

  domain.sharedInfoMfn = buildSharedInfo(memory, domain);
  writeStartInfo(memory, domain, image, layout, options, p2m);
  writePageTables(memory, layout, p2m);
  const l4Mfn = p2m[layout.pageTablePfn]!;
  adoptPageTables(memory, domain, l4Mfn);
  return {
    image,
    rip: image.virtEntry,
    rsp: vaddrOf(image, layout.stackPfn + 1),
    rsi: vaddrOf(image, layout.startInfoPfn),
    l4Mfn,
    startInfoMfn: p2m[layout.startInfoPfn]!,
    xenstoreMfn: p2m[layout.xenstorePfn] ?? -1,
    consoleMfn: p2m[layout.consolePfn] ?? -1,
    sharedInfoMfn: domain.sharedInfoMfn,
  };
}

function vaddrOf(image: KernelImage, pfn: number): bigint {
  return BigInt.asUintN(64, image.virtBase + BigInt(pfn * PAGE_SIZE));
}

/** The domain's memory by pseudo-physical address. */
class GuestFrames {
  private readonly memory: MachineMemory;
  private readonly p2m: readonly number[];

  constructor(memory: MachineMemory, p2m: readonly number[]) {
    this.memory = memory;
    this.p2m = p2m;
  }

  write(address: number, source: Uint8Array): void {
    for (let done = 0; done < source.length; ) {
      const at = address + done;
      const size = Math.min(source.length - done, PAGE_SIZE - (at % PAGE_SIZE));
      const maddr = this.p2m[Math.floor(at / PAGE_SIZE)]! * PAGE_SIZE + (at % PAGE_SIZE);
      this.memory.bytes.set(source.subarray(done, done + size), maddr);
      this.memory.written(maddr, size);
      done += size;
    }
  }
}

/** Pfn of the page that the image wants filled, -1 when it wants none. */
function findHypercallPage(image: KernelImage, memoryPages: number): number | ImageError {
  const { hypercallPage } = image.notes;
  if (hypercallPage === undefined) return -1;
  if (hypercallPage < image.virtBase || hypercallPage & 0xfffn || (hypercallPage - image.virtBase) >> 12n >= BigInt(memoryPages)) {
    return new ImageError(`HYPERCALL_PAGE ${hex(hypercallPage)} is no page of the image`, 'align it to 4096 bytes inside the image');
  }
  return Number((hypercallPage - image.virtBase) >> 12n);
}

function buildSharedInfo(memory: MachineMemory, domain: Domain): number {
  const mfn = memory.allocateShared(domain.id);
  if (mfn < 0) throw new Error('out of machine memory for ring -1 itself');
  const start = mfn * PAGE_SIZE + shared_info.offset.vcpu_info;
  for (let id = 0; id < XEN_LEGACY_MAX_VCPUS; id++) memory.bytes[start + id * vcpu_info.size + vcpu_info.offset.evtchn_upcall_mask] = 1;
  for (const vcpu of domain.vcpus.slice(0, XEN_LEGACY_MAX_VCPUS)) {
    vcpu.vcpuInfoMaddr = start + vcpu.id * vcpu_info.size;
    vcpu.hasVcpuInfo = true;
  }
  const others = domain.vcpus.slice(XEN_LEGACY_MAX_VCPUS);
  if (others.length > 0) {
    const unseen = memory.allocate(OWNER_RING);
    if (unseen < 0) throw new Error('out of machine memory for ring -1 itself');
    for (const vcpu of others) vcpu.vcpuInfoMaddr = unseen * PAGE_SIZE;
  }
  return mfn;
}

function writeStartInfo(
  memory: MachineMemory,
  domain: Domain,
  image: KernelImage,
  layout: PvLayout,
  options: PvBuildOptions,
  p2m: readonly number[],
): void {
  const ramdiskSize = options.ramdisk?.length ?? 0;
  const mfnOf = (pfn: number) => BigInt(p2m[pfn] ?? 0);
  let flags = domain.isInitial ? SIF_INITDOMAIN | SIF_PRIVILEGED | SIF_PM_DEFAULT : 0;
  if (ramdiskSize > 0 && !layout.isRamdiskMapped) flags |= SIF_MOD_START_PFN;
  let modStart = 0n;
  if (ramdiskSize > 0) modStart = layout.isRamdiskMapped ? vaddrOf(image, layout.ramdiskPfn) : BigInt(layout.ramdiskPfn);
  const extension = domain.isInitial && image.notes.paeMode?.startsWith('yes') ? 'p' : '';
  const base = p2m[layout.startInfoPfn]! * PAGE_SIZE;
  start_info.write(memory.view, base, {
    magic: encodeText(`xen-3.0-x86_64${extension}`, 32),
    nr_pages: BigInt(options.memoryPages),
    shared_info: BigInt(domain.sharedInfoMfn * PAGE_SIZE),
    flags,
    store_mfn: mfnOf(layout.xenstorePfn),
    store_evtchn: domain.isInitial ? 0 : (options.xenstorePort ?? 0),
    console_mfn: domain.isInitial ? BigInt(DOM0_VGA_INFO_OFFSET) | (BigInt(DOM0_VGA_INFO_SIZE) << 32n) : mfnOf(layout.consolePfn),
    console_evtchn: domain.isInitial ? 0 : (options.consolePort ?? 0),
    pt_base: vaddrOf(image, layout.pageTablePfn),
    nr_pt_frames: BigInt(layout.pageTableFrames),
    mfn_list: layout.p2mVaddr,
    mod_start: modStart,
    mod_len: BigInt(ramdiskSize),
    cmd_line: encodeText(options.cmdline ?? '', MAX_GUEST_CMDLINE),
    first_p2m_pfn: BigInt(layout.firstP2mPfn),
    nr_p2m_frames: BigInt(layout.p2mFrames),
  });
}

function writePageTables(memory: MachineMemory, layout: PvLayout, p2m: readonly number[]): void {
  const tablePfns = new Set(layout.tables.frames.map(({ pfn }) => pfn));
  layout.tables.forEachEntry((tablePfn, slot, pfn, level) => {
    const flags = level > 1 ? UPPER_FLAGS : tablePfns.has(pfn) ? L1_FLAGS & ~pte.PAGE_RW : L1_FLAGS;
    memory.view.setBigUint64(p2m[tablePfn]! * PAGE_SIZE + slot * 8, pte.entryOf(p2m[pfn]!, flags), true);
  });
}

/** Pins the L4, which checks all tables, and makes it the first vCPU's. */
function adoptPageTables(memory: MachineMemory, domain: Domain, l4Mfn: number): void {
  const vcpu = domain.vcpus[0];
  if (vcpu === undefined) throw new Error('bug: a domain is built before it has a vCPU');
  const refusal = getPageAndType(memory, l4Mfn, PGT_l4_page_table, domain.id);
  if (refusal !== undefined) throw new Error(`bug: the domain builder's page tables are refused (${refusal})`);
  memory.flags[l4Mfn]! |= FRAME_PINNED;
  for (const each of domain.vcpus) prepareVcpuArea(memory, each);
  setKernelTable(memory, vcpu, l4Mfn);
}

const CR0_PE_MP_ET_NE_WP_AM_PG = 0x8005_0033n;
/** PAE, PGE (user pages survive a switch to the kernel's tables), OSFXSR, OSXMMEXCPT. */
const CR4_FOR_PV = 0x6a0n;
/** SCE, LME, LMA, NXE. */
const EFER_FOR_PV = 0xd01n;
const TSS_SELECTOR = 0xe040;
/** Where Xen's own image begins. */
const XEN_VIRT_START = 0xffff_82d0_4000_0000n;
const FLAT_RING3_CS64 = 0xe033;
const FLAT_RING3_SS64 = 0xe02b;

/** What is on the core of a vCPU before it gets registers of its own: a PV guest's kernel mode with everything zero. */
export function loadUnbornRegisters(cpu: Cpu, vcpuId: number): void {
  cpu.gpr.fill(0n);
  cpu.rip = 0n;
  cpu.rflags = 0x202n;
  cpu.cr0 = CR0_PE_MP_ET_NE_WP_AM_PG;
  cpu.cr4 = CR4_FOR_PV;
  cpu.efer = EFER_FOR_PV;
  cpu.gdtr = { base: GDT_VIRT_START(vcpuId), limit: LAST_RESERVED_GDT_BYTE };
  // SIDT shows it, as Xen's is: no gate is ever looked up.
  cpu.idtr = { base: XEN_VIRT_START, limit: 256 * 16 - 1 };
  const nullSegment = { selector: 0, base: 0n, limit: 0, attributes: 0 };
  for (const name of ['ds', 'es', 'fs', 'gs', 'ldtr'] as const) cpu.setSegment(name, nullSegment);
  // STR shows it; it reaches nothing, so that every I/O instruction faults.
  cpu.setSegment('tr', { selector: TSS_SELECTOR, base: 0n, limit: 0, attributes: 0x8b });
  cpu.setSegment('ss', { selector: FLAT_RING3_SS64, base: 0n, limit: 0xffff_ffff, attributes: 0xc0f3 });
  cpu.setSegment('cs', { selector: FLAT_RING3_CS64, base: 0n, limit: 0xffff_ffff, attributes: 0xa0fb });
}

/** Puts the first vCPU's state on the core, which holds an unborn one (xen:public/arch-x86_64 entry state). */
export function loadBootRegisters(cpu: Cpu, boot: PvBoot): void {
  cpu.gpr[RSP] = boot.rsp;
  cpu.gpr[RSI] = boot.rsi;
  cpu.rip = boot.rip;
  cpu.cr3 = BigInt(boot.l4Mfn * PAGE_SIZE);
}
