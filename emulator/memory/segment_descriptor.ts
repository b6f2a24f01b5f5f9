/**
 * What a PV64 guest may have in its GDT and LDT (xen:arch/x86/pv/descriptor-tables.c, SDM 3A 3.4.5): no descriptor of
 * ring 0 to 2, no system descriptor but a call gate, and that only such that using it faults.
 */
export const FIRST_RESERVED_GDT_PAGE = 14;
export const FIRST_RESERVED_GDT_ENTRY = FIRST_RESERVED_GDT_PAGE * 512;
export const FLAT_RING3_CS64 = 0xe033;

const SEGMENT_TYPE = 0xfn << 40n;
const SEGMENT_S = 1n << 44n;
const SEGMENT_DPL = 3n << 45n;
const SEGMENT_P = 1n << 47n;
const CALL_GATE = 0xcn << 40n;

function isGateSelector(selector: number): boolean {
  return selector >>> 3 < FIRST_RESERVED_GDT_ENTRY || selector === FLAT_RING3_CS64 || (selector & 4) !== 0;
}

/** The descriptor as it may stand in a table, or undefined when there is no harmless form of it (xen check_descriptor). */
export function sanitizeDescriptor(descriptor: bigint): bigint | undefined {
  if (!(descriptor & SEGMENT_P)) return descriptor;
  if (descriptor & SEGMENT_S) return descriptor | SEGMENT_DPL;
  if ((descriptor & SEGMENT_TYPE) === 0n) return descriptor;
  if ((descriptor & SEGMENT_TYPE) !== CALL_GATE) return undefined;
  const selector = Number((descriptor >> 16n) & 0xffffn);
  if (!isGateSelector(selector) || (descriptor >> 32n) & 0xffn) return undefined;
  // DPL 0 makes every use fault; ring -1 then finds the guest's DPL, raised to 3, in the selector's RPL.
  return (descriptor & ~SEGMENT_DPL) | (3n << 16n);
}
