/**
 * Where everything lies in the pseudo-physical memory of a new PV64 domain, by pfn; virtual = VIRT_BASE + pfn * 4096.
 * A domU is laid out as libxenguest does it, the initial domain as Xen itself does (xen:tools/libs/guest/xg_dom_core.c,
 * xen:arch/x86/pv/dom0_build.c):
 *   domU     kernel, ramdisk*, p2m*, start_info, xenstore, console, page tables, boot stack, pad to 4 MiB
 *   initial  kernel, ramdisk*, p2m*, start_info, page tables, boot stack, pad to 4 MiB
 * * behind the padding, and not in the first mapping, when the image has MOD_START_PFN or INIT_P2M.
 */
import { PAGE_SIZE } from '../emulator/memory/machine_memory.ts';
import { ImageError } from './image_error.ts';
import { hex, isGuestRange, type KernelImage } from './kernel_image.ts';
import { type Mapping, PageTablePlan } from './page_table_plan.ts';

export interface PvLayout {
  readonly kernelPfn: number;
  readonly ramdiskPfn: number;
  readonly isRamdiskMapped: boolean;
  readonly startInfoPfn: number;
  /** -1 in the initial domain. */
  readonly xenstorePfn: number;
  readonly consolePfn: number;
  readonly pageTablePfn: number;
  /** Tables of the first mapping, at pageTablePfn. */
  readonly pageTableFrames: number;
  readonly stackPfn: number;
  /** First pfn of the p2m list, and vaddr of it. */
  readonly p2mPfn: number;
  readonly p2mVaddr: bigint;
  /** With INIT_P2M the p2m list's frames and tables as start_info tells them. */
  readonly firstP2mPfn: number;
  readonly p2mFrames: number;
  readonly tables: PageTablePlan;
}

export interface LayoutOptions {
  readonly memoryPages: number;
  readonly ramdiskSize: number;
  readonly isInitial: boolean;
}

/** Room behind the boot stack that a guest may count on. */
const PADDING = 512 * 1024;
const MAPPING_ALIGN = 4 * 1024 * 1024;

function pagesOf(size: number): number {
  return Math.ceil(size / PAGE_SIZE);
}

export function layoutPv(image: KernelImage, options: LayoutOptions): PvLayout | ImageError {
  const { memoryPages, isInitial } = options;
  const p2mSize = memoryPages * 8;
  const isP2mOutside = image.p2mBase !== undefined && isP2mBaseUsable(image.p2mBase, image.virtBase, isInitial);
  const isRamdiskOutside = image.notes.hasUnmappedRamdisk === true;
  const kernelPfn = Number((image.virtStart - image.virtBase) >> 12n);
  if (image.virtEnd - image.virtBase > BigInt(memoryPages * PAGE_SIZE)) return tooSmall(image, options);

  let next = pagesOf(Number(image.virtEnd - image.virtBase));
  const take = (pages: number) => {
    const pfn = next;
    next += pages;
    return pfn;
  };
  let ramdiskPfn = isRamdiskOutside ? -1 : take(pagesOf(options.ramdiskSize));
  let p2mPfn = isP2mOutside ? -1 : take(pagesOf(p2mSize));
  const startInfoPfn = take(1);
  const xenstorePfn = isInitial ? -1 : take(1);
  const consolePfn = isInitial ? -1 : take(1);

  const tables = new PageTablePlan(isInitial ? 'initial' : 'domU');
  const mapping = growMapping(image.virtBase, next, tables.order);
  tables.add(mapping, next);
  const pageTableFrames = tables.frames.length;
  const pageTablePfn = take(pageTableFrames);
  const stackPfn = take(1);

  const mappedPages = mapping.pages;
  if (mappedPages > memoryPages) return tooSmall(image, options);
  const end = image.virtBase + BigInt(mappedPages * PAGE_SIZE);
  if (!isGuestRange(image.virtBase, end)) {
    return new ImageError(`its first mapping ${hex(image.virtBase)}-${hex(end)} reaches where Xen itself is`, 'link it lower');
  }
  // The initial domain's first allocation is a power of two of pages.
  next = isInitial ? 2 ** Math.ceil(Math.log2(mappedPages - (isRamdiskOutside ? 0 : pagesOf(options.ramdiskSize)))) : mappedPages;
  if (isInitial && !isRamdiskOutside) next += pagesOf(options.ramdiskSize);
  if (isRamdiskOutside) ramdiskPfn = take(pagesOf(options.ramdiskSize));

  let p2mVaddr = image.virtBase + BigInt(p2mPfn * PAGE_SIZE);
  const firstP2mPfn = next;
  if (isP2mOutside) {
    p2mVaddr = image.p2mBase!;
    const p2mMapping: Mapping = { vaddr: p2mVaddr, pages: pagesOf(p2mSize), pfn: next };
    if (isInitial) {
      const before = tables.frames.length;
      tables.add(p2mMapping, next);
      next += tables.frames.length - before;
      p2mMapping.pfn = next;
      p2mPfn = take(p2mMapping.pages);
    } else {
      p2mPfn = take(p2mMapping.pages);
      const before = tables.frames.length;
      tables.add(p2mMapping, next);
      next += tables.frames.length - before;
    }
  }
  if (next > memoryPages) return tooSmall(image, options);
  return {
    kernelPfn,
    ramdiskPfn,
    isRamdiskMapped: !isRamdiskOutside,
    startInfoPfn,
    xenstorePfn,
    consolePfn,
    pageTablePfn,
    pageTableFrames,
    stackPfn,
    p2mPfn,
    p2mVaddr,
    firstP2mPfn: isP2mOutside || isInitial ? firstP2mPfn : 0,
    p2mFrames: isP2mOutside ? next - firstP2mPfn : 0,
    tables,
  };
}

/** libxenguest wants the list below the kernel and on a page; Xen takes it wherever it is its own. */
function isP2mBaseUsable(p2mBase: bigint, virtBase: bigint, isInitial: boolean): boolean {
  return isInitial || (p2mBase < virtBase && (p2mBase & 0xfffn) === 0n);
}

/** The smallest mapping, up to a 4 MiB border, with room for its own tables, the boot stack and the padding. */
function growMapping(virtBase: bigint, allocated: number, order: PageTablePlan['order']): Mapping {
  const base = Number(virtBase & 0xffff_ffff_ffffn);
  const needed = (tableFrames: number) => base + (allocated + tableFrames + 1) * PAGE_SIZE + PADDING;
  for (let tableFrames = 0; ; ) {
    const border = needed(tableFrames) / MAPPING_ALIGN;
    // libxenguest goes on to the next border even from right on one.
    const end = (order === 'domU' ? Math.floor(border) + 1 : Math.ceil(border)) * MAPPING_ALIGN;
    const mapping: Mapping = { vaddr: virtBase, pages: (end - base) / PAGE_SIZE, pfn: 0 };
    const trial = new PageTablePlan(order);
    trial.add(mapping, 0);
    if (needed(trial.frames.length) <= end) return mapping;
    tableFrames = trial.frames.length;
  }
}

function tooSmall(image: KernelImage, { memoryPages, ramdiskSize }: LayoutOptions): ImageError {
  const end = Math.ceil(Number(image.virtEnd - image.virtBase) / 2 ** 20);
  const memory = Number((memoryPages / 256).toFixed(2));
  const ramdisk = ramdiskSize > 0 ? `, its ramdisk (${Math.ceil(ramdiskSize / 2 ** 20)} MiB)` : '';
  return new ImageError(
    `the image (up to ${end} MiB)${ramdisk} and its tables need more than the ${memory} MiB of memory`,
    'give more with --memory',
  );
}
