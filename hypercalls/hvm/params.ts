/** HVM_PARAM_*: what an HVM domain's builder tells it and what it tells ring -1 (xen:arch/x86/hvm/hvm.c hvm_allow_set_param). */
import type { Domain } from '../../emulator/domain.ts';
import { defineSlot } from '../../emulator/slot.ts';

export const HVM_PARAM_CALLBACK_IRQ = 0;
export const HVM_PARAM_STORE_PFN = 1;
export const HVM_PARAM_STORE_EVTCHN = 2;
const HVM_PARAM_VM86_TSS = 15;
export const HVM_PARAM_CONSOLE_PFN = 17;
export const HVM_PARAM_CONSOLE_EVTCHN = 18;
const HVM_PARAM_ACPI_IOPORTS_LOCATION = 19;
const HVM_PARAM_VM_GENERATION_ID_ADDR = 34;
const HVM_PARAM_ALTP2M = 35;
const HVM_PARAM_X87_FIP_WIDTH = 36;
const HVM_PARAM_VM86_TSS_SIZED = 37;
/** A number that is not below it is refused before the domain is looked at. */
export const HVM_NR_PARAMS = 39;

/** Numbers that mean nothing (any more). */
const UNKNOWN = new Set([4, 13, 20, 21, 22, 23, 24, 25, 26, 30]);
const READABLE = new Set([
  HVM_PARAM_CALLBACK_IRQ,
  HVM_PARAM_STORE_PFN,
  HVM_PARAM_STORE_EVTCHN,
  HVM_PARAM_VM86_TSS,
  HVM_PARAM_CONSOLE_PFN,
  HVM_PARAM_CONSOLE_EVTCHN,
  HVM_PARAM_ACPI_IOPORTS_LOCATION,
  HVM_PARAM_VM_GENERATION_ID_ADDR,
  HVM_PARAM_ALTP2M,
  HVM_PARAM_X87_FIP_WIDTH,
  HVM_PARAM_VM86_TSS_SIZED,
]);
const WRITABLE = new Set([
  HVM_PARAM_CALLBACK_IRQ,
  HVM_PARAM_STORE_EVTCHN,
  HVM_PARAM_VM86_TSS,
  HVM_PARAM_CONSOLE_EVTCHN,
  HVM_PARAM_ACPI_IOPORTS_LOCATION,
  HVM_PARAM_VM_GENERATION_ID_ADDR,
  HVM_PARAM_X87_FIP_WIDTH,
  HVM_PARAM_VM86_TSS_SIZED,
]);
/** Bytes of the x87 instruction pointer; 0: by what is in it. */
const FIP_WIDTHS = new Set([0n, 4n, 8n]);

export const hvmParams = defineSlot<Domain, Map<number, bigint>>(() => new Map(), { name: 'hvm.params' });

export function getParam(domain: Domain, index: number): bigint | 'EINVAL' | 'EPERM' {
  if (isUnknown(index)) return 'EINVAL';
  return READABLE.has(index) ? (hvmParams.of(domain).get(index) ?? 0n) : 'EPERM';
}

export function setParam(domain: Domain, index: number, value: bigint): 'EINVAL' | 'EPERM' | 'ENODEV' | undefined {
  if (isUnknown(index)) return 'EINVAL';
  if (!WRITABLE.has(index)) return 'EPERM';
  // Its ports are a device model's or, in a PVH guest, fixed.
  if (index === HVM_PARAM_ACPI_IOPORTS_LOCATION) return 'ENODEV';
  if (index === HVM_PARAM_X87_FIP_WIDTH && !FIP_WIDTHS.has(value)) return 'EINVAL';
  hvmParams.of(domain).set(index, value);
  return undefined;
}

const isUnknown = (index: number): boolean => UNKNOWN.has(index);
